"""The child programs, run with libraries and devices made for the test."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import struct
import subprocess
import sys

import pytest

from ssd_edge.machine.children import driver, opencv, pyav, v4l2

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these are Linux's libraries and devices")

CC = shutil.which("cc") or shutil.which("gcc")
compiled = pytest.mark.skipif(CC is None, reason="there is no C compiler")

# Signatures of <cuda.h>, CUDA 13.0.
LIBCUDA = r"""
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return flags ? 1 : INIT; }
int cuDriverGetVersion(int* release) { *release = 12060; return 0; }
int cuDeviceGetCount(int* count) { *count = 2; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = 100 + ordinal; return ordinal < 2 ? 0 : 101; }
int cuDeviceGetName(char* name, int length, int device) {
  strncpy(name, device == 100 ? "Orin" : "NVIDIA GeForce RTX 4090", length);
  return device < 100;
}
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = device == 100 ? 64ul << 30 : 24ul << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  int orin = device == 100;
  switch (attribute) {
    case 75: *value = 8; return 0;             /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR */
    case 76: *value = orin ? 7 : 9; return 0;  /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR */
    case 18: *value = orin; return 0;          /* CU_DEVICE_ATTRIBUTE_INTEGRATED */
  }
  return 1;
}
"""


def libcuda(folder, init=0):
    source, library = folder / "cuda.c", folder / "libcuda.so.1"
    source.write_text(LIBCUDA)
    subprocess.run([CC, "-shared", "-fPIC", f"-DINIT={init}", "-o", library, source], check=True)
    return str(library)


@compiled
def test_a_driver_with_two_gpus(tmp_path):
    orin = {"name": "Orin", "compute_capability": [8, 7], "memory": 64 << 30, "integrated": True}
    card = {"name": "NVIDIA GeForce RTX 4090", "compute_capability": [8, 9], "memory": 24 << 30, "integrated": False}
    assert driver.answer(libcuda(tmp_path)) == {"cuda": [12, 6], "gpus": [orin, card]}


@compiled
@pytest.mark.parametrize("error", [100, 803, 999])
def test_a_driver_that_does_not_start(tmp_path, error):
    assert driver.answer(libcuda(tmp_path, error)) == {"error": error}


def test_no_driver(tmp_path):
    assert driver.LIBRARY == "libcuda.so.1"
    assert "cannot open shared object file" in driver.answer("libnosuch.so.1")["missing"]
    (tmp_path / "libcuda.so.1").write_text("")  # like a stub of WSL, or a damaged file
    assert "file too short" in driver.answer(str(tmp_path / "libcuda.so.1"))["missing"]


def test_the_numbers_are_those_of_cuda():
    bindings = pytest.importorskip("cuda.bindings.driver")
    attributes = bindings.CUdevice_attribute
    assert driver._MAJOR == attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    assert driver._MINOR == attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
    assert driver._INTEGRATED == attributes.CU_DEVICE_ATTRIBUTE_INTEGRATED


# Cameras. The kernel's side is simulated below, and its numbers are compared with the header.

HEADER = r"""
#include <linux/videodev2.h>
#include <stddef.h>
#include <stdio.h>
#define AT(type, field) offsetof(struct type, field)
int main(void) {
  printf("[%lu, %lu, %lu, ", (unsigned long)VIDIOC_QUERYCAP, (unsigned long)VIDIOC_ENUM_FMT,
         (unsigned long)VIDIOC_ENUM_FRAMESIZES);
  printf("%lu, %zu, %zu, %zu, ", (unsigned long)VIDIOC_ENUM_FRAMEINTERVALS, sizeof(struct v4l2_frmivalenum),
         AT(v4l2_frmivalenum, height), AT(v4l2_frmivalenum, stepwise.max));
  printf("%zu, %zu, %zu, ", sizeof(struct v4l2_capability), sizeof(struct v4l2_fmtdesc),
         sizeof(struct v4l2_frmsizeenum));
  printf("%zu, %zu, %zu, ", AT(v4l2_capability, card), AT(v4l2_capability, bus_info), AT(v4l2_capability, device_caps));
  printf("%zu, %zu, %zu, ", AT(v4l2_fmtdesc, type), AT(v4l2_fmtdesc, pixelformat), AT(v4l2_frmsizeenum, discrete));
  printf("%zu, %zu, ", AT(v4l2_frmsizeenum, stepwise.max_width), AT(v4l2_frmsizeenum, stepwise.max_height));
  printf("%u, %u, %u, %u, %u]", V4L2_CAP_VIDEO_CAPTURE, V4L2_CAP_VIDEO_CAPTURE_MPLANE, V4L2_BUF_TYPE_VIDEO_CAPTURE,
         V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, V4L2_FRMSIZE_TYPE_DISCRETE);
}
"""


@compiled
def test_numbers_and_layouts_are_those_of_the_kernel(tmp_path):
    source, program = tmp_path / "v4l2.c", tmp_path / "v4l2"
    source.write_text(HEADER)
    if subprocess.run([CC, "-o", program, source], capture_output=True, check=False).returncode:
        pytest.skip("the kernel's headers are not installed")
    values = json.loads(subprocess.run([program], capture_output=True, check=True).stdout)
    question, size, height, longest = values[3:7]
    del values[3:7]
    assert (question, size) == (v4l2._ENUM_INTERVALS, v4l2._INTERVAL.size)
    assert v4l2._INTERVAL.unpack(_marked(size, height, 480))[3] == 480
    assert v4l2._INTERVAL.unpack(_marked(size, longest, 7))[5 + 2] == 7
    assert values[:3] == [v4l2._QUERYCAP, v4l2._ENUM_FMT, v4l2._ENUM_FRAMESIZES]
    assert values[3:6] == [v4l2._CAPABILITY.size, v4l2._FORMAT.size, v4l2._SIZE.size]
    card, bus, device_caps, buffer_type, pixel_format, discrete, most_width, most_height = values[6:14]
    assert (card, bus, device_caps) == (16, 48, 88)
    assert v4l2._CAPABILITY.unpack(_marked(v4l2._CAPABILITY.size, device_caps, 7))[5] == 7
    assert v4l2._FORMAT.unpack(_marked(v4l2._FORMAT.size, buffer_type, 9))[1] == 9
    assert (
        v4l2._FORMAT.unpack(_marked(v4l2._FORMAT.size, pixel_format, int.from_bytes(b"MJPG", "little")))[4] == b"MJPG"
    )
    assert v4l2._SIZE.unpack(_marked(v4l2._SIZE.size, discrete, 640))[3] == 640
    assert v4l2._SIZE.unpack(_marked(v4l2._SIZE.size, most_width, 1920))[3 + 1] == 1920
    assert v4l2._SIZE.unpack(_marked(v4l2._SIZE.size, most_height, 1080))[3 + 4] == 1080
    single, multi, of_single, of_multi, one_size = values[14:]
    assert (single, multi) == (v4l2._SINGLE, v4l2._MULTI)
    assert {single: of_single, multi: of_multi} == v4l2._BUFFER_TYPES
    assert one_size == 1


def _marked(size, place, value):
    """Make zeros with an int32 at a place."""
    content = bytearray(size)
    struct.pack_into("=I", content, place, value)
    return bytes(content)


class Kernel:
    """Simulated kernel with one camera: formats in order, each with sizes, or with one range."""

    def __init__(self, caps, formats, endless=False):
        self.caps, self.formats, self.endless = caps, formats, endless

    def __call__(self, device, question, content):
        if question == v4l2._QUERYCAP:
            return v4l2._CAPABILITY.pack(b"uvcvideo", b"HD Pro Webcam C920", b"usb-0000:00:14.0-3", 0, 0, self.caps)
        index, second = struct.unpack_from("=I4s", content)
        if question == v4l2._ENUM_FMT:
            assert int.from_bytes(second, "little") == v4l2._BUFFER_TYPES[self.caps & (v4l2._SINGLE | v4l2._MULTI)]
            name = self._of(list(self.formats), index)
            return v4l2._FORMAT.pack(index, 1, 0, b"", name.encode())
        if question == v4l2._ENUM_INTERVALS:
            width = struct.unpack_from("=I4sI", content)[2]
            if width > 2000:  # a range, in seconds: from 1/60 to 1/2
                return v4l2._INTERVAL.pack(index, second, width, 0, 3, 1, 60, 1, 2, 0, 0)
            above, below = self._of({640: [(1, 30), (1001, 15000)]}.get(width, []) or [()] * self.endless, index)
            return v4l2._INTERVAL.pack(index, second, width, 0, 1, above, below, 0, 0, 0, 0)
        assert question == v4l2._ENUM_FRAMESIZES
        sizes = self.formats[second.decode()]
        if isinstance(sizes, tuple):
            (width, height) = sizes
            return v4l2._SIZE.pack(index, second, 3, 2, width, 2, 4, height, 2, 0, 0)
        width, height = self._of(sizes, index)
        return v4l2._SIZE.pack(index, second, 1, width, height, 0, 0, 0, 0, 0, 0)

    def _of(self, values, index):
        if self.endless:
            return values[0]
        if index >= len(values):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return values[index]


@pytest.mark.parametrize(
    ("kernel", "captures", "formats", "sizes", "rates"),
    [
        (
            Kernel(0x04200001, {"YUYV": [(640, 480), (1280, 720), (1000, 1000)], "MJPG": [(1920, 1080), (2000, 200)]}),
            True,
            {"YUYV": (1000, 1000), "MJPG": (1920, 1080)},
            {
                "YUYV": [(640, 640, 1, 480, 480, 1), (1280, 1280, 1, 720, 720, 1), (1000, 1000, 1, 1000, 1000, 1)],
                "MJPG": [(1920, 1920, 1, 1080, 1080, 1), (2000, 2000, 1, 200, 200, 1)],
            },
            {"YUYV": [[30, 14.985], [], []], "MJPG": [[], []]},
        ),
        (
            Kernel(0x04201000, {"NV12": (4096, 2160)}),
            True,
            {"NV12": (4096, 2160)},
            {"NV12": [(2, 4096, 2, 4, 2160, 2)]},
            {"NV12": [[60, 2]]},
        ),
        (Kernel(0x04200001, {"H264": []}), True, {"H264": (0, 0)}, {"H264": []}, {"H264": []}),
        (Kernel(0x04200001, {}), True, {}, {}, {}),
        (Kernel(0x04A00000, {"UVCH": []}), False, {}, {}, {}),  # metadata
    ],
)
def test_formats_of_a_camera(tmp_path, monkeypatch, kernel, captures, formats, sizes, rates):
    monkeypatch.setattr(v4l2, "_ask", kernel)
    (tmp_path / "video0").touch()
    (tmp_path / "null").touch()
    assert v4l2.answer(tmp_path) == {
        "video0": {
            "captures": captures,
            "card": "HD Pro Webcam C920",
            "bus": "usb-0000:00:14.0-3",
            "formats": formats,
            "sizes": sizes,
            "rates": rates,
        }
    }


def test_a_kernel_that_lists_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(v4l2, "_ask", Kernel(0x04200001, {"YUYV": [(640, 480)]}, endless=True))
    (tmp_path / "video0").touch()
    assert v4l2.answer(tmp_path)["video0"]["formats"] == {"YUYV": (640, 480)}


def test_devices_that_are_not_cameras(tmp_path):
    (tmp_path / "video0").touch()
    (tmp_path / "video1").symlink_to("nowhere")
    assert v4l2.answer(tmp_path) == {
        "video0": {"error": os.strerror(errno.ENOTTY)},
        "video1": {"error": os.strerror(errno.ENOENT)},
    }


# Libraries that are installed here.


def test_pyav():
    answer = pyav.answer()
    assert {"h264", "mjpeg"} <= set(answer["decoders"])
    assert "mjpeg" in answer["encoders"]
    assert "h264" not in answer["encoders"]  # H.264 encoders have other names
    assert not {"aac", "mp3"} & {*answer["decoders"], *answer["encoders"]}
    assert set(answer["nvidia"]) == {side for side, library in pyav._NVIDIA.items() if _loads(library)}


def _loads(library):
    try:
        return bool(ctypes.CDLL(library))
    except OSError:
        return False


def test_opencv():
    import cv2

    answer = opencv.answer()
    assert answer["version"] == cv2.__version__
    assert answer["gstreamer"] is cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)
    assert answer["ffmpeg"] is True
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize(("built", "gui"), [("\n  GUI:    GTK3\n", "GTK3"), ("\n  GUI:    NONE\n", ""), ("", "")])
def test_the_toolkit_of_opencvs_windows(monkeypatch, built, gui):
    monkeypatch.setattr("cv2.getBuildInformation", lambda: built)
    assert opencv.answer()["gui"] == gui


@pytest.mark.parametrize(("child", "module"), [(pyav, "av"), (opencv, "cv2")])
def test_a_library_that_is_not_there(monkeypatch, child, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert set(child.answer()) == {"missing"}

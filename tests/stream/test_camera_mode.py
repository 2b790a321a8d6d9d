"""What is asked of a camera, against what recorded cameras list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import Sizes, listed_formats
from ssd_edge.stream.camera_mode import CAMERA_FORMATS, CameraMode, parsed_mode, suited_mode
from tests.machine.machines import machine


def sizes(*each: tuple[int, int]) -> Sizes:
    return Sizes(tuple((width, width, 1, height, height, 1) for width, height in each))


WEBCAM = {"YUYV": sizes((640, 480), (320, 240)), "MJPG": sizes((640, 480), (1920, 1080), (1280, 720))}
IN_STEPS = {"NV12": Sizes(((32, 1920, 16, 16, 1080, 8),))}
SILENT = {"MJPG": Sizes(()), "H264": Sizes(())}


@pytest.mark.parametrize(
    ("typed", "mode", "caps"),
    [
        ((None, None, None), CameraMode(), ""),
        (
            ("1280x720", 30, "mjpg"),
            CameraMode((1280, 720), 30, "mjpg"),
            "image/jpeg,width=1280,height=720,framerate=30/1",
        ),
        (
            (" 640 X 480 ", None, "YUYV"),
            CameraMode((640, 480), None, "yuyv"),
            "video/x-raw,format=YUY2,width=640,height=480",
        ),
        (("1×16384", 7.5, None), CameraMode((1, 16384), 7.5), "video/x-raw,width=1,height=16384,framerate=15/2"),
        ((None, 29.97, "nv12"), CameraMode(None, 29.97, "nv12"), "video/x-raw,format=NV12,framerate=2997/100"),
    ],
)
def test_what_is_typed(typed: tuple[str | None, float | None, str | None], mode: CameraMode, caps: str) -> None:
    assert parsed_mode(*typed) == mode
    assert mode.caps == caps


@pytest.mark.parametrize(
    "text", ["", "1280", "1280x", "0x720", "-1x5", "1280x720x3", "16385x1", "999999x1", "a x b", "1.5x2"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(SourceError, match=r"a size must be WIDTHxHEIGHT in pixels, such as 1280x720, but got '"):
        parsed_mode(text, None, None)


def test_a_format_that_nobody_knows() -> None:
    with pytest.raises(SourceError, match=r"must be one of mjpg, nv12, yuyv, uyvy, grey, but got 'h264'"):
        parsed_mode(None, None, "h264")


@pytest.mark.parametrize(
    ("mode", "formats", "pixel_format"),
    [
        (CameraMode((1280, 720)), WEBCAM, "mjpg"),
        (CameraMode((640, 480)), WEBCAM, "mjpg"),
        (CameraMode((320, 240)), WEBCAM, "yuyv"),
        (CameraMode((640, 480), None, "yuyv"), WEBCAM, "yuyv"),
        (CameraMode((48, 24)), IN_STEPS, "nv12"),
        (CameraMode((1234, 567)), SILENT, "mjpg"),
        (CameraMode((1280, 720)), {}, "mjpg"),
        (CameraMode((1280, 720)), {"BA81": sizes((1280, 720))}, None),
        (CameraMode(None, 30), WEBCAM, None),
        (CameraMode(None, 30, "nv12"), {}, "nv12"),
    ],
)
def test_the_format_of_a_size(mode: CameraMode, formats: Mapping[str, Sizes], pixel_format: str | None) -> None:
    """MJPG where the camera has it at that size, or does not say; else the first that has it."""
    assert suited_mode(mode, "camera 0", formats) == replace(mode, pixel_format=pixel_format)


@pytest.mark.parametrize(
    ("mode", "formats", "sentence"),
    [
        (
            CameraMode((800, 600)),
            WEBCAM,
            "camera 0 gives no 800×600: it has YUYV 640×480, 320×240; MJPG 1920×1080, 1280×720, 640×480",
        ),
        (CameraMode((1280, 720), 30, "yuyv"), WEBCAM, "camera 0 gives no YUYV 1280×720: it has 640×480, 320×240"),
        (CameraMode(pixel_format="nv12"), WEBCAM, "camera 0 gives no NV12: it has YUYV, MJPG"),
        (CameraMode((33, 16)), IN_STEPS, "camera 0 gives no 33×16: it has NV12 32×16 to 1920×1080 in steps of 16×8"),
        (
            CameraMode((1936, 1080)),
            IN_STEPS,
            "camera 0 gives no 1936×1080: it has NV12 32×16 to 1920×1080 in steps of 16×8",
        ),
    ],
)
def test_what_a_camera_lacks(mode: CameraMode, formats: Mapping[str, Sizes], sentence: str) -> None:
    with pytest.raises(SourceError) as error:
        suited_mode(mode, "camera 0", formats)
    assert str(error.value) == sentence


def test_a_long_list_is_cut() -> None:
    text = str(sizes(*((width, 10) for width in range(1, 21))))
    assert text.startswith("20×10, 19×10, ")
    assert text.endswith(", 9×10 and 8 more")


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 7), st.integers(0, 100))
def test_ranges_hold_what_their_steps_reach(smallest: int, more: int, step: int, value: int) -> None:
    listed = Sizes(((smallest, smallest + more, step, 5, 5, 1),))
    assert ((value, 5) in listed) == (value in range(smallest, smallest + more + 1, step))
    assert (value, 6) not in listed


@pytest.mark.parametrize(
    ("listed", "size"),
    [
        (WEBCAM["MJPG"], (1280, 720)),
        (IN_STEPS["NV12"], (32, 16)),
        (sizes((4000, 3000), (3000, 4000)), (4000, 3000)),
        (Sizes(()), None),
    ],
)
def test_the_largest_within_a_limit_or_the_smallest(listed: Sizes, size: tuple[int, int] | None) -> None:
    assert listed.largest((1280, 1000)) == size


def test_a_recorded_camera(tmp_path) -> None:
    answer = {"video0": {"captures": True, "formats": {"MJPG": [64, 48]}, "sizes": {"MJPG": [[64, 64, 1, 48, 48, 1]]}}}
    host = machine(tmp_path, {"/dev/video0": ""}, children={"v4l2": answer})
    assert listed_formats(host, "video0") == {"MJPG": sizes((64, 48))}
    assert listed_formats(host, "video1") == {}


def test_gstreamer_takes_the_caps() -> None:
    """Every format's caps are caps to GStreamer."""
    from ssd_edge.stream import gstreamer
    from tests.stream.test_gstreamer import found

    if not found():
        pytest.skip("no GStreamer for this Python")
    libraries = gstreamer.libraries()
    assert libraries is not None
    for name in CAMERA_FORMATS:
        caps = libraries[0].Caps.from_string(CameraMode((64, 48), 7.5, name).caps)
        assert caps is not None
        assert caps.get_structure(0).get_int("width") == (True, 64)

"""Probes of processor, memory, battery, temperature, codecs, display, disk, packages and libraries."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ssd_edge.engines.kernels import compiler
from ssd_edge.engines.tensorrt_rtx.jit_cache import JitCache
from ssd_edge.machine import cuda, disk, display, packages, processor, temperature, video
from ssd_edge.machine.host import Ran, Space
from ssd_edge.machine.summary import summary
from tests.machine.machines import (
    GIB,
    MEMINFO,
    OPENCV,
    PYAV,
    agx_orin_6,
    agx_orin_7,
    but,
    clocks,
    laptop,
    machine,
    rtx_desktop,
)


def by_name(findings):
    return {finding.name: finding for finding in findings}


# Processor, memory, battery.


def test_the_processor_of_a_pc(tmp_path):
    rows = by_name(processor.probe(but(rtx_desktop(tmp_path), threads=4)))
    assert rows["processor"].value == "AMD Ryzen 9 7950X 16-Core Processor, x86_64"
    assert rows["threads"].value == "4 of 32 for this process, load 0.50"
    assert rows["CPU clock"].value == "3200 of 5881 MHz, governor powersave"
    assert rows["memory"].value == "45.9 of 62.5 GiB free, swap 8.0 GiB"
    assert rows["system"].value == "Ubuntu 24.04.2 LTS, kernel 6.11.0-26-generic"
    assert "power" not in rows


def test_a_jetson_is_called_by_its_board(tmp_path):
    rows = by_name(processor.probe(agx_orin_6(tmp_path)))
    assert rows["processor"].value == "NVIDIA Jetson AGX Orin Developer Kit, aarch64"
    assert rows["threads"].value == "8 for this process, load 0.50"


def test_a_board_without_a_name(tmp_path, monkeypatch):
    """This happens under qemu, or on a board whose kernel has neither a device tree nor names of processors."""
    cpuinfo = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"
    for processor_of_this in ("", "aarch64"):
        monkeypatch.setattr(processor.platform, "processor", lambda said=processor_of_this: said)
        rows = by_name(processor.probe(machine(tmp_path, {"/proc/cpuinfo": cpuinfo}, architecture="aarch64")))
        assert rows["processor"].value == "aarch64"


def test_clocks_that_are_held(tmp_path):
    host = machine(tmp_path, clocks(2201600, 2201600, 2201600, (0, 4, 8), "schedutil"))
    assert by_name(processor.probe(host))["CPU clock"].value == "held at 2202 MHz, governor schedutil"


def test_clocks_that_some_cores_do_not_report(tmp_path):
    """Cores that are switched off do not report them."""
    folder = "/sys/devices/system/cpu/cpufreq/policy"
    files = {**clocks(800000, 900000, 2000000, (0, 4), "schedutil"), f"{folder}4/scaling_cur_freq": "<unknown>\n"}
    host = machine(tmp_path, files)
    assert by_name(processor.probe(host))["CPU clock"].value == "900 of 2000 MHz, governor schedutil"
    host.path(f"{folder}0/scaling_cur_freq").write_text("")
    assert "CPU clock" not in by_name(processor.probe(host))


def test_little_memory(tmp_path):
    host = machine(tmp_path, {"/proc/meminfo": MEMINFO.format(total=4 << 20, free=900_000, swap=0)})
    finding = by_name(processor.probe(host))["memory"]
    assert (finding.value, finding.state) == ("0.9 of 4.0 GiB free", "problem")


@pytest.mark.parametrize(("online", "state"), [("0", "note"), ("1", None)])
def test_on_battery(tmp_path, online, state):
    host = laptop(tmp_path)
    (tmp_path / "sys/class/power_supply/AC/online").write_text(f"{online}\n")
    finding = by_name(processor.probe(host)).get("power")
    assert (finding and finding.state) == state


def test_the_summary_beside_a_figure(tmp_path):
    values = summary(rtx_desktop(tmp_path))
    assert values["processor"] == "AMD Ryzen 9 7950X 16-Core Processor"
    assert (values["threads"], values["load"]) == (32, 0.5)
    assert values["versions"]["openvino"] == "2025.3.0"
    assert "ssd-edge" not in summary(but(laptop(tmp_path), packages={"ssd-edge": None}))["versions"]


# Temperature.


def zones(root, celsius):
    return machine(
        root,
        {
            f"/sys/class/thermal/thermal_zone{place}/{file}": text
            for place, (name, value) in enumerate(celsius.items())
            for file, text in {"type": f"{name}\n", "temp": f"{round(value * 1000)}\n"}.items()
        },
    )


def test_temperatures_of_a_jetson(tmp_path):
    """Zones that are switched off are not listed."""
    (finding,) = temperature.probe(agx_orin_6(tmp_path))
    assert finding.value == "48 °C (cpu); gpu 45, soc0 46, soc1 45, soc2 45, tj 48"
    assert finding.facts["celsius"]["gpu"] == 44.593


def test_temperatures_of_a_pc(tmp_path):
    (finding,) = temperature.probe(rtx_desktop(tmp_path))
    assert finding.value == "52 °C (k10temp); nvme 39"


def test_a_sensor_without_a_temperature(tmp_path):
    host = rtx_desktop(tmp_path)
    (tmp_path / "sys/class/hwmon/hwmon1/temp1_input").unlink()
    (tmp_path / "sys/class/hwmon/hwmon2").mkdir()
    (tmp_path / "sys/class/hwmon/hwmon2/name").write_text("nct6798\n")  # a board's, with inputs that are not connected
    (tmp_path / "sys/class/hwmon/hwmon2/temp1_input").write_text("99000\n")
    (finding,) = temperature.probe(host)
    assert finding.value == "39 °C (nvme)"


@pytest.mark.parametrize(("celsius", "shown"), [(149, True), (150, False), (-19, True), (-20, False), (0, False)])
def test_plausible_temperatures(tmp_path, celsius, shown):
    (finding,) = temperature.probe(zones(tmp_path, {"cpu": 30, "odd": celsius}))
    assert ("odd" in finding.facts["celsius"]) == shown


def test_implausible_sensors_are_left_out(tmp_path):
    (finding,) = temperature.probe(laptop(tmp_path))
    assert finding.value == "61 °C (x86_pkg_temp); acpitz 28"


@pytest.mark.parametrize(("celsius", "state"), [(84.9, "fine"), (85, "note"), (94.9, "note"), (95, "problem")])
def test_a_hot_machine(tmp_path, celsius, state):
    (finding,) = temperature.probe(zones(tmp_path, {"cpu-thermal": 40, "tj-thermal": celsius}))
    assert finding.state == state
    assert bool(finding.remedy.advice) == (state != "fine")
    assert finding.value.endswith("(tj); cpu 40")


def test_the_hotter_of_two_zones_of_a_kind(tmp_path):
    host = zones(tmp_path, {"acpitz": 40, "gpu": 30})
    (tmp_path / "sys/class/thermal/thermal_zone1/type").write_text("acpitz\n")
    (finding,) = temperature.probe(host)
    assert finding.facts["celsius"] == {"acpitz": 40}


# Codecs, OpenCV, display.


def test_codecs(tmp_path):
    rows = by_name(video.probe(laptop(tmp_path)))
    assert rows["decoders"].value == "H.264, H.265, AV1, VP9, MJPEG (PyAV 16.0.1)"
    assert rows["encoders"].value == "H.264 (libx264), H.265 (libx265), MJPEG (mjpeg)"
    assert rows["in hardware"].value == "Intel may decode H.264"
    assert "NVDEC" not in rows


def test_codecs_that_are_missing(tmp_path):
    lean = {"version": "16.0.1", "decoders": ["h264", "mjpeg"], "encoders": ["mpeg4"], "nvidia": []}
    rows = by_name(video.probe(machine(tmp_path, children={"pyav": lean})))
    assert rows["decoders"].value == "H.264, MJPEG (PyAV 16.0.1)"
    assert rows["encoders"].value == "none that --save-video takes"


def test_codecs_compiled_in_are_not_hardware_that_is_here(tmp_path):
    """PyAV's wheel contains NVIDIA's codecs on every machine."""
    host = machine(tmp_path)
    assert by_name(video.probe(host))["in hardware"].value == "none of FFmpeg's codecs"
    host = but(host, children={"pyav": {**PYAV, "nvidia": ["decode"]}})
    assert by_name(video.probe(host))["in hardware"].value == "NVIDIA decodes H.264 H.265"


def test_a_jetsons_decoder_is_gstreamers(tmp_path):
    assert "nvv4l2decoder" in by_name(video.probe(agx_orin_6(tmp_path)))["NVDEC"].value


@pytest.mark.parametrize(
    ("child", "probe", "missing", "command"),
    [
        ("pyav", video.probe, "No module named 'av'", "pip install av"),
        ("opencv", video.probe_opencv, "No module named 'cv2'", "pip install opencv-python"),
        (
            "opencv",
            video.probe_opencv,
            "libGL.so.1: cannot open shared object file: No such file or directory",
            "sudo apt install libgl1 libglib2.0-0",
        ),
    ],
)
def test_packages_that_cannot_be_imported(tmp_path, child, probe, missing, command):
    (finding,) = probe(machine(tmp_path, children={child: {"missing": missing}}))
    assert finding.value == f"cannot be imported: {missing}"
    assert (finding.state, finding.remedy.command) == ("problem", command)


def test_an_opencv_for_numpy_1(tmp_path):
    """As the system's OpenCV 4.5.4 says under NumPy 2."""
    missing = {"missing": "numpy.core.multiarray failed to import"}
    (finding,) = video.probe_opencv(machine(tmp_path, children={"opencv": missing}))
    assert finding.value == "cannot be imported: it was compiled for NumPy 1, and NumPy 2.2.6 is installed"
    assert (finding.state, finding.remedy.command) == ("problem", "pip install 'numpy<2'")


def test_opencv(tmp_path):
    (finding,) = video.probe_opencv(machine(tmp_path))
    assert finding.value == "4.12.0: FFmpeg, V4L2; no GStreamer; windows by QT5"
    (finding,) = video.probe_opencv(machine(tmp_path, children={"opencv": {**OPENCV, "gstreamer": True, "gui": ""}}))
    assert finding.value == "4.12.0: FFmpeg, GStreamer, V4L2; no windows"


def test_displays(tmp_path):
    (finding,) = display.probe(rtx_desktop(tmp_path / "pc"))
    assert (finding.value, finding.facts["monitors"]) == (":0; connected: HDMI-A-1", ["HDMI-A-1"])
    (finding,) = display.probe(laptop(tmp_path / "laptop"))
    assert finding.value == "wayland-0; connected: eDP-1"
    (finding,) = display.probe(agx_orin_6(tmp_path / "orin"))
    assert finding.value.startswith("none in this session; ")


# Disk.


@pytest.mark.parametrize(
    ("free", "writable", "state"),
    [(5 * GIB, True, "fine"), (5 * GIB - 1, True, "note"), (GIB - 1, True, "problem"), (9 * GIB, False, "note")],
)
def test_disks(tmp_path, free, writable, state):
    here, caches = disk.probe(machine(tmp_path, space=lambda path: Space(10 * GIB, free, writable)))
    assert (here.state, caches.state) == (state, state)
    assert "GiB free in /work" in here.value


def test_a_disk_that_fails(tmp_path):
    def fails(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    here, _ = disk.probe(machine(tmp_path, space=fails))
    assert (here.value, here.state) == ("/work: Input/output error", "unknown")


@pytest.mark.parametrize("set_", [True, False])
def test_caches_are_where_they_are_kept(tmp_path, monkeypatch, set_):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if set_:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    caches = disk.caches(os.environ, Path.home())
    assert compiler._cache_folder().is_relative_to(caches)
    assert JitCache(Path("heads.rtx"), (8, 9)).places[1].is_relative_to(caches)


# Libraries and packages.


def test_libraries_of_a_jetson(tmp_path):
    rows = by_name(cuda.probe(agx_orin_6(tmp_path)))
    assert rows["CUDA toolkit"].value == "12.6.11"
    assert rows["TensorRT"].value == "10.3.0 of the system; this Python does not see it"
    assert rows["TensorRT"].facts == {"version": None, "system_version": "10.3.0"}
    assert rows["CUDA in Python"].value == "not installed"


def test_libraries_of_an_environment_that_sees_the_systems(tmp_path):
    rows = by_name(cuda.probe(agx_orin_7(tmp_path)))
    assert rows["TensorRT"].value == "10.16.2.1"
    assert rows["CUDA in Python"].value == "cuda-bindings 13.0.3"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cuda": {}}', '{"cuda": 1}'])
def test_a_toolkit_of_another_form(tmp_path, text):
    assert cuda.toolkit(machine(tmp_path, {"/usr/local/cuda/version.json": text})) is None


def test_the_newest_of_two_tensorrts(tmp_path):
    dpkg = "libnvinfer8 8.6.2.3-1+cuda12.2 installed\nlibnvinfer10 10.3.0.30-1+cuda12.5 installed\n"
    assert cuda.system_tensorrt(machine(tmp_path, commands={"dpkg-query": Ran(0, dpkg, "")})) == "10.3.0"


def test_packages(tmp_path):
    rows = by_name(packages.probe(rtx_desktop(tmp_path)))
    assert rows["Python"].value == "3.12.3 in /work/.venv"
    assert rows["ssd-edge"].value.startswith("0.1.0; av 16.0.1, numpy 2.2.6, ")
    assert rows["[rtx]"].value == "cuda-bindings 13.0.3, tensorrt-rtx-cu12 1.7.1.116"
    assert rows["[train]"].value == "without onnx, torch: pip install 'ssd-edge[train]'"
    assert "[dev]" not in rows


@pytest.mark.parametrize(
    ("architecture", "package"), [("x86_64", "tensorrt-rtx-cu12"), ("aarch64", "tensorrt-rtx-cu13")]
)
def test_packages_are_those_for_this_processor(tmp_path, architecture, package):
    rows = by_name(packages.probe(but(laptop(tmp_path), architecture=architecture)))
    assert rows["[rtx]"].value == f"without cuda-bindings, {package}: pip install 'ssd-edge[rtx]'"
    assert cuda.tensorrt_rtx_package(architecture) == package


def test_requirements_are_those_for_this_python(tmp_path):
    lines = ['old; python_version < "3.11"', 'new; python_version >= "3.11"', 'wheel; extra == "dev"']
    for python, wanted in (("3.10.12", "old"), ("3.9.1", "old"), ("3.13.1", "new")):
        host = machine(tmp_path, packages={"ssd-edge": "1"}, requirements=lambda: lines, python=python)
        assert by_name(packages.probe(host))["ssd-edge"].facts["packages"] == {wanted: None}


def test_ssd_edge_from_its_folder(tmp_path):
    _, finding = packages.probe(machine(tmp_path, packages={}, requirements=list))
    assert (finding.value, finding.remedy.command) == ("not installed as a package", "pip install -e .")

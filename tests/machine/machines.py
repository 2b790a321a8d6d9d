"""Simulated machines: file trees, and answers of commands and children, as such machines have them.

Sources of the data; nobody has run ssd-edge on one of these machines:

- AGX Orin, JetPack 6.2: release file of L4T 36.4.3 and ``nvidia-jetpack 6.2+b77`` as users print them; nvidia-smi with
  ``Orin (nvgpu)``, driver 540.4.0 and else ``[N/A]``: github.com/dusty-nv/jetson-containers, issue 1403.
- AGX Orin, JetPack 7.2: model, kernel and release file: github.com/rbonghi/jetson_stats, issue 864. CUDA 13.2 and
  TensorRT 10.16.2 are NVIDIA's for 7.2; ``nvidia-jetpack 7.2-b187`` is as on an Orin Nano, the build number of TensorRT
  is made up. That it has no nvidia-smi is assumed.
- Both: thermal zones of tegra234 in the kernel's device tree, of which cv0 to cv2 answer EAGAIN while their engines are
  off; modes and caps of nvpmodel on AGX Orin (30 W: 8 cores, 624.75 MHz): github.com/rbonghi/jetson_stats,
  tests/nvpmodel; ``17000000.gpu`` in devfreq; "vi-output, imx219 9-0010" as v4l2-ctl lists it.
- PCs: the kernel's interfaces (Documentation/ABI/testing: sysfs-class-thermal, -hwmon, -power, sysfs-bus-pci); columns
  of ``nvidia-smi --help-query-gpu``; a UVC camera has a second node, for metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssd_edge.machine.host import Host, NotInstalledError, Ran, Space
from ssd_edge.machine.nvidia import SMI

GIB = 1 << 30

HELD: list[int] = []
"""Files that stay open until the test ends, see conftest.py."""

NVPMODEL_CONF = """\
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online

< POWER_MODEL ID=0 NAME=MAXN >
GPU MAX_FREQ -1
< POWER_MODEL ID=1 NAME=MODE_15W >
GPU MAX_FREQ 420750000
< POWER_MODEL ID=2 NAME=MODE_30W >
GPU MAX_FREQ 624750000
< POWER_MODEL ID=3 NAME=MODE_50W >
GPU MAX_FREQ 828750000

# mandatory section to configure the default mode
< PM_CONFIG DEFAULT=2 >
"""

MEMINFO = "MemTotal:       {total} kB\nMemFree:        1000 kB\nMemAvailable:   {free} kB\nSwapTotal:      {swap} kB\n"

PYAV = {
    "version": "16.0.1",
    "decoders": ["av1", "h264", "h264_cuvid", "h264_qsv", "hevc", "hevc_cuvid", "libdav1d", "mjpeg", "vp9"],
    "encoders": ["h264_nvenc", "h264_v4l2m2m", "libx264", "libx265", "mjpeg"],
    "nvidia": [],
}
OPENCV = {"version": "4.12.0", "file": "cv2.so", "gstreamer": False, "ffmpeg": True, "v4l2": True, "gui": "QT5"}
NO_LIBCUDA = {"missing": "libcuda.so.1: cannot open shared object file: No such file or directory"}

BASE = {
    "ssd-edge": "0.1.0",
    "av": "16.0.1",
    "numpy": "2.2.6",
    "onnxruntime": "1.23.0",
    "opencv-python": "4.12.0.88",
    "openvino": "2025.3.0",
}
REQUIREMENTS = (
    "av>=13",
    "numpy>=1.26",
    "onnxruntime>=1.19",
    "opencv-python>=4.10",
    "openvino>=2024.6",
    'onnx>=1.17; extra == "train"',
    'torch>=2.8; extra == "train"',
    'cuda-bindings>=13; platform_system != "Darwin" and extra == "rtx"',
    'tensorrt-rtx-cu12>=1.7; (platform_system != "Darwin" and platform_machine != "aarch64") and extra == "rtx"',
    'tensorrt-rtx-cu13>=1.7; platform_machine == "aarch64" and extra == "rtx"',
    'ruff>=0.8; extra == "dev"',
)


def machine(
    root: Path,
    files: Mapping[str, str] | None = None,
    commands: Mapping[str, Ran | Exception] | None = None,
    children: Mapping[str, Any] | None = None,
    packages: Mapping[str, str] | None = None,
    modules: Sequence[str] = (),
    **changes: Any,
) -> Host:
    """Make a Linux machine with these files under ``root``.

    Args:
        root: an empty folder.
        files: texts by absolute path.
        commands: result of each command, or its error, by its first word; other commands are not installed.
        children: answer of each child, or its error; by default there are PyAV and OpenCV, but no GPU or camera.
        packages: versions of packages.
        modules: names of further modules that can be imported.
        changes: attributes of the host to replace.
    """
    for name, text in (files or {}).items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    answers: dict[str, Any] = {"driver": NO_LIBCUDA, "v4l2": {}, "pyav": PYAV, "opencv": OPENCV, **(children or {})}
    there = BASE if packages is None else packages

    def run(command: tuple[str, ...]) -> Ran:
        left = (commands or {}).get(command[0], NotInstalledError(f"{command[0]} is not installed"))
        if isinstance(left, Exception):
            raise left
        return left

    def ask(child: str) -> Any:
        if isinstance(answers[child], Exception):
            raise answers[child]
        return json.loads(json.dumps(answers[child]))

    host = Host(
        root=root,
        system="Linux",
        architecture="x86_64",
        environment={},
        folder=Path("/work"),
        home=Path("/home/user"),
        prefix=Path("/work/.venv"),
        python="3.12.3",
        threads=8,
        load=0.5,
        run=run,
        ask=ask,
        start_up=lambda: 0.0,
        version=there.get,
        requirements=lambda: REQUIREMENTS,
        has_module=lambda name: name in modules,
        space=lambda path: Space(500 * GIB, 100 * GIB, True),
    )
    return replace(host, **changes)


def but(
    host: Host,
    commands: Mapping[str, Ran | Exception] | None = None,
    children: Mapping[str, Any] | None = None,
    packages: Mapping[str, str | None] | None = None,
    **changes: Any,
) -> Host:
    """Make the same machine with other answers; a package that is None is not installed."""
    others = machine(host.root, commands=commands, children=children)
    known_commands, known_children, versions = commands or {}, children or {}, packages or {}
    return replace(
        host,
        run=lambda command: (others if command[0] in known_commands else host).run(command),
        ask=lambda child: (others if child in known_children else host).ask(child),
        version=lambda package: versions[package] if package in versions else host.version(package),
        **changes,
    )


def clocks(least: int, now: int, most: int, policies: Sequence[int], governor: str) -> dict[str, str]:
    """Make the files of cpufreq, in kHz."""
    folder = "/sys/devices/system/cpu/cpufreq/policy"
    values = {"min": least, "cur": now, "max": most}
    files = {f"{folder}{p}/scaling_{name}_freq": f"{value}\n" for p in policies for name, value in values.items()}
    return {**files, f"{folder}0/scaling_governor": f"{governor}\n"}


def _orin(root: Path, files: Mapping[str, str], **rest: Any) -> Host:
    zones = {
        "cpu": 48312,
        "gpu": 44593,
        "cv0": None,
        "cv1": None,
        "cv2": None,
        "soc0": 45781,
        "soc1": 45093,
        "soc2": 44718,
    }
    tree = {
        "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "/proc/cpuinfo": "".join(
            f"processor\t: {core}\nBogoMIPS\t: 62.50\nCPU architecture: 8\n\n" for core in range(8)
        ),
        "/proc/meminfo": MEMINFO.format(total=64349468, free=58123456, swap=32174720),
        "/etc/nvpmodel.conf": NVPMODEL_CONF,
        "/sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
        "/sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
        "/sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
        "/proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0",
        "/usr/lib/aarch64-linux-gnu/nvidia/libnvdla_compiler.so": "ELF",
        "/dev/video0": "",
        "/sys/class/video4linux/video0/name": "vi-output, imx219 9-0010\n",
        "/usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstnvarguscamerasrc.so": "",
        "/usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstnvvideo4linux2.so": "",
        **clocks(729600, 729600, 1728000, (0, 4), "schedutil"),
        **files,
    }
    for place, (zone, milli) in enumerate({**zones, "tj": 48312}.items()):
        folder = f"/sys/class/thermal/thermal_zone{place}"
        tree[f"{folder}/type"] = f"{zone}-thermal\n"
        if milli is not None:
            tree[f"{folder}/temp"] = f"{milli}\n"
    host = machine(root, tree, architecture="aarch64", **rest)
    for place, zone in enumerate(zones):
        if zone.startswith("cv"):
            answers_eagain(root / f"sys/class/thermal/thermal_zone{place}/temp")
    return host


def answers_eagain(path: Path) -> None:
    """Make a file that gives EAGAIN when read, like a sensor that is switched off: a pipe that is held open."""
    os.mkfifo(path)
    HELD.append(os.open(path, os.O_RDWR))


def agx_orin_6(root: Path) -> Host:
    """Make an AGX Orin 64 GB, JetPack 6.2, MODE_30W; its OpenCV is pip's, and the environment lacks TensorRT."""
    dpkg = (
        "libnvinfer-bin 10.3.0.30-1+cuda12.5 installed\nlibnvinfer10 10.3.0.30-1+cuda12.5 installed\n"
        "libnvinfer8 8.6.2.3-1+cuda12.2 config-files\nnvidia-jetpack 6.2+b77 installed\n"
        "python3-libnvinfer 10.3.0.30-1+cuda12.5 installed\ntensorrt 10.3.0.30-1+cuda12.5 installed\n"
    )
    return _orin(
        root,
        {
            "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
            "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
            "/etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n',
            "/proc/sys/kernel/osrelease": "5.15.148-tegra\n",
            "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release "
            "Build  (buildbrain@mobile-u64-6336-d8000)  Tue Jan  7 17:35:12 PST 2025\nGCC version:  collect2\n",
            "/usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
        },
        commands={
            "lsmod": Ran(0, "nvgpu 2658304 23\n", ""),
            "nvpmodel": Ran(0, "NV Power Mode: MODE_30W\n2\n", ""),
            "dpkg-query": Ran(0, dpkg, ""),
            "nvidia-smi": Ran(0, "Orin (nvgpu), 540.4.0" + ", [N/A]" * (len(_fields()) - 2) + "\n", ""),
        },
        children={
            "driver": {
                "cuda": [12, 6],
                "gpus": [{"name": "Orin", "compute_capability": [8, 7], "memory": 65893855232, "integrated": True}],
            },
            "v4l2": {
                "video0": {
                    "captures": True,
                    "card": "vi-output, imx219 9-0010",
                    "bus": "platform:tegra-capture-vi:1",
                    "formats": {"RG10": [3280, 2464]},
                }
            },
        },
        python="3.10.12",
    )


def agx_orin_7(root: Path) -> Host:
    """Make an AGX Orin 64 GB, JetPack 7.2; the environment sees the system's packages, and nvpmodel requires root."""
    dpkg = (
        "libnvinfer10 10.16.2.1-1+cuda13.2 installed\nnvidia-jetpack 7.2-b187 installed\n"
        "python3-libnvinfer 10.16.2.1-1+cuda13.2 installed\n"
    )
    return _orin(
        root,
        {
            "/etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 45755727, BOARD: generic, EABI: aarch64, "
            "DATE: Mon Jun  1 09:28:48 PM UTC 2026\n# KERNEL_VARIANT: oot\n",
            "/etc/os-release": 'PRETTY_NAME="Ubuntu 24.04 LTS"\nNAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n',
            "/proc/sys/kernel/osrelease": "6.8.12-1021-tegra\n",
            "/var/lib/nvpmodel/status": "pmode:0000 fmode:cool",
            "/sys/class/devfreq/17000000.gpu/min_freq": "1300500000\n",
            "/sys/class/devfreq/17000000.gpu/cur_freq": "1300500000\n",
            "/sys/class/devfreq/17000000.gpu/max_freq": "1300500000\n",
        },
        commands={
            "lsmod": Ran(0, "nvgpu 2658304 23\n", ""),
            "nvpmodel": Ran(1, "", "NVPM ERROR: Error opening /var/lib/nvpmodel/status: Permission denied\n"),
            "dpkg-query": Ran(1, dpkg, "dpkg-query: no packages found matching libnvinfer-bin\n"),
        },
        children={
            "driver": {
                "cuda": [13, 2],
                "gpus": [{"name": "Orin", "compute_capability": [8, 7], "memory": 65893855232, "integrated": True}],
            },
            "opencv": {**OPENCV, "gstreamer": True},
        },
        packages={**BASE, "tensorrt": "10.16.2.1", "cuda-bindings": "13.0.3", "nvidia-cuda-nvrtc": "13.0.88"},
    )


def _fields() -> list[str]:
    return SMI[1].removeprefix("--query-gpu=").split(",")


PC = {
    "/etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.2 LTS"\nNAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n',
    "/proc/sys/kernel/osrelease": "6.11.0-26-generic\n",
    "/proc/meminfo": MEMINFO.format(total=65538184, free=48123456, swap=8388604),
}


def rtx_desktop(root: Path) -> Host:
    """Make a PC with an RTX 4090, driver 580, all packages, and a UVC camera with two nodes."""
    return machine(
        root,
        {
            **PC,
            "/proc/cpuinfo": "".join(
                f"processor\t: {core}\nmodel name\t: AMD Ryzen 9 7950X 16-Core Processor\n\n" for core in range(32)
            ),
            "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  "
            "Release Build  (dvs-builder@U22-I3)  Sun Jul 27 06:54:38 UTC 2025\nGCC version:  gcc version 13.3.0\n",
            "/sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
            "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
            "/sys/bus/pci/devices/0000:00:14.0/class": "0x0c0330\n",
            "/sys/bus/pci/devices/0000:00:14.0/vendor": "0x1022\n",
            "/sys/class/hwmon/hwmon0/name": "nvme\n",
            "/sys/class/hwmon/hwmon0/temp1_input": "38850\n",
            "/sys/class/hwmon/hwmon1/name": "k10temp\n",
            "/sys/class/hwmon/hwmon1/temp1_input": "52125\n",
            "/sys/class/drm/card0-HDMI-A-1/status": "connected\n",
            "/sys/class/drm/card0-DP-1/status": "disconnected\n",
            "/dev/video0": "",
            "/dev/video1": "",
            "/dev/video10": "",
            "/sys/class/video4linux/video0/name": "HD Pro Webcam C920\n",
            "/sys/class/video4linux/video1/name": "HD Pro Webcam C920\n",
            "/sys/class/video4linux/video10/name": "OBS Virtual Camera\n",
            **clocks(545000, 3200000, 5881000, range(4), "powersave"),
        },
        commands={
            "nvidia-smi": Ran(0, "NVIDIA GeForce RTX 4090, 580.65.06, 24564, 1187, 210, 3105, 41, 22.61, 450.00\n", "")
        },
        children={
            "driver": {
                "cuda": [13, 0],
                "gpus": [
                    {
                        "name": "NVIDIA GeForce RTX 4090",
                        "compute_capability": [8, 9],
                        "memory": 25252855808,
                        "integrated": False,
                    }
                ],
            },
            "v4l2": {
                "video0": {
                    "captures": True,
                    "card": "HD Pro Webcam C920",
                    "bus": "usb-0000:00:14.0-3",
                    "formats": {"YUYV": [2560, 1472], "MJPG": [1920, 1080]},
                    "sizes": {"YUYV": [[2560, 2560, 1, 1472, 1472, 1]], "MJPG": [[1920, 1920, 1, 1080, 1080, 1]]},
                    "rates": {"YUYV": [[2.0]], "MJPG": [[30.0, 14.985]]},
                },
                "video1": {"captures": False, "card": "HD Pro Webcam C920", "bus": "usb-0000:00:14.0-3", "formats": {}},
                "video10": {"captures": True, "card": "OBS", "bus": "platform:v4l2loopback-010", "formats": {}},
            },
            "pyav": {**PYAV, "nvidia": ["decode", "encode"]},
        },
        packages={**BASE, "tensorrt-rtx-cu12": "1.7.1.116", "cuda-bindings": "13.0.3", "nvidia-cuda-nvrtc": "13.0.88"},
        environment={"DISPLAY": ":0"},
        threads=32,
    )


def laptop(root: Path) -> Host:
    """Make a laptop with only Intel graphics, on battery, with Wayland."""
    return machine(
        root,
        {
            **PC,
            "/proc/cpuinfo": "".join(
                f"processor\t: {core}\nmodel name\t: 12th Gen Intel(R) Core(TM) i5-1240P\n\n" for core in range(16)
            ),
            "/sys/bus/pci/devices/0000:00:02.0/class": "0x030000\n",
            "/sys/bus/pci/devices/0000:00:02.0/vendor": "0x8086\n",
            "/sys/class/drm/renderD128/device/vendor": "0x8086\n",
            "/sys/class/drm/card1-eDP-1/status": "connected\n",
            "/sys/class/thermal/thermal_zone0/type": "acpitz\n",
            "/sys/class/thermal/thermal_zone0/temp": "27800\n",
            "/sys/class/thermal/thermal_zone1/type": "INT3400 Thermal\n",
            "/sys/class/thermal/thermal_zone1/temp": "-274000\n",
            "/sys/class/thermal/thermal_zone2/type": "x86_pkg_temp\n",
            "/sys/class/thermal/thermal_zone2/temp": "61000\n",
            "/sys/class/power_supply/AC/type": "Mains\n",
            "/sys/class/power_supply/AC/online": "0\n",
            "/sys/class/power_supply/BAT0/type": "Battery\n",
            **clocks(400000, 1700000, 4400000, (0, 4), "powersave"),
        },
        environment={"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"},
        threads=16,
    )


MACHINES = {"agx_orin_6": agx_orin_6, "agx_orin_7": agx_orin_7, "rtx_desktop": rtx_desktop, "laptop": laptop}

"""Faults planted on the recorded machines: each of a page's messages has to come from the program in one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from rehearsal.machines import JETSON, RTX
from rehearsal.pages import fits, messages, shown
from rehearsal.play import Result, last_line
from rehearsal.player import Player
from rehearsal.process import ROOT
from rehearsal.setting import Fault
from rehearsal.system_opencv import REFUSED

UNAVAILABLE = 46
"""CUDA_ERROR_DEVICE_UNAVAILABLE of cuda.h."""

_ORIN_DLA = "/usr/lib/aarch64-linux-gnu/nvidia/libnvdla_compiler.so"
_NO_DRIVER = {"missing": "libcuda.so.1: cannot open shared object file: No such file or directory"}


def _card(name: str, capability: tuple[int, int], cuda: tuple[int, int]) -> dict[str, Any]:
    gpu = {"name": name, "compute_capability": [*capability], "memory": 8 << 30, "integrated": False}
    return {"cuda": [*cuda], "gpus": [gpu]}


class Planted(NamedTuple):
    """A fault, the command that meets it, and how that ends.

    Attributes:
        name: what is planted.
        machine: key of the machine.
        message: the message of the page, as the page writes it.
        command: command of the page that meets it; ``{}`` is a bundle that only this fault uses.
        fault: what is planted.
        code: exit code of the command.
        before: command without the fault, which leaves a bundle; "" if none is needed.
        sees_system: whether the environment sees the system's packages; None: as the page makes it.
        page_shows: whether the message is a block that the page shows, rather than one of its tables.
    """

    name: str
    machine: str
    message: str
    command: str
    fault: Fault
    code: int = 2
    before: str = ""
    sees_system: bool | None = None
    page_shows: bool = False


_BUILD = "ssd-edge build-engine parts.int8.onnx -o {} --backend tensorrt"
_BUILD_RTX = "ssd-edge build-engine parts.onnx -o {} --backend tensorrt-rtx --backend openvino"
_ADD = " && ssd-edge build-engine parts.onnx -o {} --backend openvino --add"
_DOCTOR = "ssd-edge doctor --backend tensorrt"

PLANTED = (
    Planted(
        "DLA's compiler is missing",
        "jetpack-6.2",
        "libnvdla_compiler.so, which JetPack's TensorRT loads, is missing",
        _DOCTOR,
        Fault(without=(_ORIN_DLA,)),
    ),
    Planted(
        "cuda-bindings of CUDA 13",
        "jetpack-6.2",
        "cuda-bindings 13.5.0 needs a driver of CUDA 13, and this one has 12.6",
        _DOCTOR,
        Fault(packages={"cuda-bindings": "13.5.0"}),
    ),
    Planted(
        "NVRTC too new",
        "jetpack-7.2",
        "NVRTC 13.5 is newer than this driver's CUDA 13.2, which refuses its PTX",
        _DOCTOR,
        Fault(packages={"nvidia-cuda-nvrtc": "13.5.37"}),
        code=0,
    ),
    Planted(
        "no GPU",
        "jetpack-7.2",
        "a plan of TensorRT is built on the GPU that runs it",
        _BUILD,
        Fault(device={"devices": 0}),
    ),
    Planted(
        "a convolution in FP16",
        "jetpack-7.2",
        "convolutions of another precision than asked for",
        _BUILD,
        Fault(changed=True),
        code=0,
    ),
    Planted(
        "too little memory",
        "jetpack-7.2",
        "there is not enough memory to build this plan",
        _BUILD,
        Fault(fails={"memory": ""}),
    ),
    Planted(
        "a Thor's GPU",
        "jetpack-6.2",
        "NVRTC 12.6 does not know sm_110",
        _BUILD,
        Fault(device={"major": 11, "minor": 0}),
    ),
    Planted(
        "JetPack was updated",
        "jetpack-6.2",
        "was built by TensorRT 10.3.0, and 10.16.2 is installed",
        "ssd-edge run {} --camera 0",
        Fault(tensorrt="10.16.2", packages={"tensorrt": "10.16.2"}),
        code=0,
        before=_BUILD + _ADD,
    ),
    Planted(
        "JetPack was updated, the CPU's plan runs",
        "jetpack-6.2",
        "its tensorrt INT8 plan … ; its openvino FP32 plan runs",
        "ssd-edge run {} --camera 0",
        Fault(tensorrt="10.16.2", packages={"tensorrt": "10.16.2"}),
        code=0,
        before=_BUILD + _ADD,
    ),
    Planted(
        "lsmod is missing",
        "jetpack-6.2",
        "not installed: NVIDIA's video libraries call it, and nvv4l2decoder gives no frame without it",
        "ssd-edge doctor",
        Fault(missing=("lsmod",)),
        code=0,
    ),
    Planted(
        "an environment without the system's packages",
        "jetpack-6.2",
        "this Python has no GStreamer, and this OpenCV was built without GStreamer",
        "ssd-edge run parts.onnx --camera 'nvarguscamerasrc sensor-id=0 ! appsink'",
        Fault(),
        sees_system=False,
    ),
    Planted(
        "an environment without the system's packages and CUDA's",
        "jetpack-6.2",
        "TensorRT 10.3.0 of the system is not seen by this Python",
        "ssd-edge doctor",
        Fault(packages={"cuda-bindings": None, "nvidia-cuda-nvrtc-cu12": None}),
        code=0,
        sees_system=False,
        page_shows=True,
    ),
    Planted(
        "a driver of CUDA 12",
        "rtx-4090",
        "the kernels are compiled by CUDA 13, and this driver knows no release after 12.4",
        "ssd-edge doctor --backend tensorrt-rtx",
        Fault(driver=_card("NVIDIA GeForce RTX 4090", (8, 9), (12, 4)), device={"release": 12040}),
    ),
    Planted(
        "NVRTC too new",
        "rtx-4090",
        "NVRTC 13.5 is newer than this driver's CUDA 13.0, which refuses its PTX",
        "ssd-edge doctor --backend tensorrt-rtx",
        Fault(packages={"nvidia-cuda-nvrtc": "13.5.37"}),
        code=0,
    ),
    Planted(
        "another process holds the GPU",
        "rtx-4090",
        "another process holds the GPU (compute mode exclusive)",
        "ssd-edge run {} --camera 0",
        Fault(refused=UNAVAILABLE),
        before=_BUILD_RTX,
    ),
    Planted(
        "no driver",
        "rtx-4090",
        "an NVIDIA GPU is built in, and its driver is not installed",
        "ssd-edge doctor --backend tensorrt-rtx",
        Fault(driver=_NO_DRIVER, without=("/proc/driver/nvidia/version",)),
    ),
    Planted(
        "an old card",
        "rtx-4090",
        "TensorRT-RTX is for compute capabilities 7.5, 8.0, 8.6, …",
        "ssd-edge doctor --backend tensorrt-rtx",
        Fault(driver=_card("NVIDIA GeForce GTX 1080", (6, 1), (13, 0))),
    ),
    Planted(
        "a card that the plan was not built for",
        "rtx-4090",
        "was built for compute capability 8.6, …, and this machine's … has 7.5",
        "ssd-edge run {} --camera 0",
        Fault(device={"major": 7, "minor": 5}),
        code=0,
        before=_BUILD_RTX,
    ),
    Planted(
        "TensorRT-RTX was updated",
        "rtx-4090",
        "was built by TensorRT-RTX 1.7.…, and 1.8.… is installed",
        "ssd-edge run {} --camera 0",
        Fault(packages={"tensorrt-rtx-cu12": "1.8.0.5"}),
        code=0,
        before=_BUILD_RTX,
    ),
    Planted(
        "memory runs out",
        "rtx-4090",
        "TensorRT-RTX died of SIGKILL, as the system does where memory runs out",
        _BUILD_RTX,
        Fault(killed=True),
    ),
)


def play_planted(player: Player, planted: tuple[Planted, ...] = PLANTED) -> Iterator[Result]:
    """Play the faults of one machine, after its page was played."""
    for number, one in enumerate(planted):
        if one.machine == player.name:
            yield Result(player.machine.title, f"planted: {one.name}", "run", _wrong(player, one, f"p{number}.engine"))


def _wrong(player: Player, planted: Planted, bundle: str) -> str:
    page = (ROOT / player.machine.page).read_text()
    blocks = [block for block in shown(page) if fits(planted.message, block)]
    if planted.message not in messages(page) and not (planted.page_shows and blocks):
        return f"the page does not have {planted.message!r}"
    for part in planted.before.format(bundle, bundle).split(" && ") if planted.before else []:
        ran = player.play(part)
        if ran.code:
            return f"{part}: exit code {ran.code}: {last_line(ran.out)}"
    ran = player.with_fault(planted.fault, planted.sees_system).play(planted.command.format(bundle))
    if ran.code != planted.code:
        return f"exit code {ran.code} instead of {planted.code}: {last_line(ran.out)}"
    wanted = [planted.message] if not planted.page_shows else [line for block in blocks for line in block.splitlines()]
    left = [line for line in wanted if not fits(line.strip(), ran.out)]
    return f"{left[0].strip()!r} is not in {last_line(ran.out)!r}" if left else ""


def not_planted() -> list[str]:
    """List the messages of both pages that no fault provokes."""
    planted = {REFUSED, *(one.message for one in PLANTED)}
    return [
        message for page in (JETSON, RTX) for message in messages((ROOT / page).read_text()) if message not in planted
    ]

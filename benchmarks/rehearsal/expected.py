"""What each command of the pages is to print, with … for what differs, and whether the page itself promises it."""

from __future__ import annotations

import re
from typing import NamedTuple

from rehearsal.machines import JETSON, RTX, Machine


class Expected(NamedTuple):
    """What a command is to print.

    Attributes:
        command: regular expression of the command.
        says: texts, each of which has to be in the output; … stands for anything on a line.
        promised: whether the page has these texts itself; they are looked for in it.
        machine: the machines that it is for, by the beginning of their keys; "" for all.
    """

    command: str
    says: tuple[str, ...]
    promised: bool = False
    machine: str = ""


_PROOF = "… of … detections in … images match"
_COMMON = (
    Expected(r"ssd-edge verify", (f"right   openvino FP32: {_PROOF}",)),
    Expected(
        r"ssd-edge selftest", ("passed   proof: engines agree", "passed   kernels: … equal NumPy's to the last bit")
    ),
    Expected(r"ssd-edge selftest", ("passed   cpu: OpenVINO finds what ONNX Runtime finds", "the results")),
    Expected(r"ssd-edge benchmark", ("FPS of the loop", "inference", "end to end", "CUDA graph")),
    Expected(r"ssd-edge run", ("; Ctrl-C ends it", "… FPS, … frames of …, … detections")),
    Expected(r"ssd-edge run .*--camera 0", ("on camera 0…;",)),
)
EXPECTED = {
    JETSON: (
        Expected(r"cat /etc/nv", ("R36 (release), REVISION: 4.3",), True, "jetpack-6"),
        Expected(r"cat /etc/nv", ("R39 (release), REVISION: 2.0",), False, "jetpack-7"),
        Expected(r"ssd-edge doctor$", ("JetPack … Jetson Linux …", "✓ tensorrt … TensorRT … on Orin", "GPU clock")),
        Expected(r"ssd-edge doctor$", ("sudo nvpmodel -m 0", "sudo jetson_clocks"), False, "jetpack-6"),
        Expected(r"ssd-edge doctor$", ("camera … nvarguscamerasrc sensor-id=0 ! …",), False, "jetpack-6"),
        Expected(r"ssd-edge doctor --b", ("tensorrt can run here: TensorRT 10.3.0 on Orin",), False, "jetpack-6"),
        Expected(
            r"ssd-edge build-engine parts.int8.onnx",
            ("parts.engine: tensorrt …, INT8 (… convolutions), … MiB",),
            True,
        ),
        Expected(r"ssd-edge build-engine", (f"proof holds: {_PROOF}", "next: ssd-edge run parts.engine --camera 0")),
        Expected(r"ssd-edge build-engine parts.onnx", ("parts.engine: openvino …, FP32, … MiB",)),
        Expected(r"ssd-edge inspect", ("layers: … INT8", "CUDA graph: yes", "runs here", "trtexec")),
        Expected(r"ssd-edge inspect", ("decode: python", "jetpack: 36.4.3"), False, "jetpack-6"),
        Expected(r"ssd-edge inspect", ("decode: ahead-of-time", "jetpack: 39.2.0"), False, "jetpack-7"),
        Expected(r"ssd-edge verify", (f"right   tensorrt INT8: {_PROOF}",), True),
        Expected(r"ssd-edge benchmark", ("NVIDIA Jetson AGX Orin Developer Kit",)),
        Expected(r"ssd-edge run", ("parts.engine: tensorrt INT8, on",)),
        Expected(r"ssd-edge run .*--size", ("on camera 0, … by GStreamer, decoded in hardware;",)),
        Expected(r"ssd-edge run .*nvargus", ("on GStreamer pipeline by GStreamer…;",)),
        Expected(r"ssd-edge run .*--camera rtsp://", ("on rtsp://camera3/stream by GStreamer, decoded in hardware;",)),
        Expected(r"ssd-edge run .*'rtspsrc", ("on GStreamer pipeline by GStreamer…;",)),
        *_COMMON,
    ),
    RTX: (
        Expected(r"nvidia-smi$", ("Driver Version: 580.65.06", "CUDA Version: 13.0")),
        Expected(r"ssd-edge build-engine", ("parts.engine: tensorrt-rtx …, FP16 (… convolutions), … MiB",), True),
        Expected(r"ssd-edge build-engine", ("parts.engine: openvino …, FP32", f"proof holds: {_PROOF}")),
        Expected(r"ssd-edge inspect", ("compute_capabilities: 8.6 8.9 12.0", "CUDA graph: yes", "runs here")),
        Expected(r"ssd-edge verify", (f"right   tensorrt-rtx FP16: {_PROOF}",), True),
        Expected(r"ssd-edge benchmark", ("AMD Ryzen 9 7950X 16-Core Processor",)),
        Expected(r"ssd-edge run", ("parts.engine: tensorrt-rtx FP16, on",)),
        Expected(r"ssd-edge run .*v4l2src", ("on GStreamer pipeline by GStreamer…;",)),
        Expected(r"ssd-edge run .*--save-json -", ("on rtsp://camera3/stream…;", '"detections":')),
        *_COMMON,
    ),
}
"""Expected outputs by page."""


def for_command(command: str, machine: Machine, name: str) -> list[Expected]:
    """Find what a command of a page is to print on a machine.

    Args:
        command: the command.
        machine: the machine.
        name: its key.
    """
    return [
        one for one in EXPECTED[machine.page] if re.search(rf"^{one.command}", command) and name.startswith(one.machine)
    ]

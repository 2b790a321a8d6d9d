"""The recorded machines that the pages are played on: their files and answers, driver, TensorRT and elements.

Files and answers are those of tests/machine/machines.py, which names their sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssd_edge.machine.host import Host

JETSON, RTX = "docs/jetson.md", "docs/rtx.md"

HARDWARE = ("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder")
"""Elements of a Jetson's GStreamer."""


@dataclass(frozen=True)
class Machine:
    """A machine that a page is played on.

    Attributes:
        title: its name for people.
        page: the page that is for it.
        recorded: name of the function in tests/machine/machines.py that makes it.
        python: version of its Python.
        only: beginning of a comment for the lines that are for this machine alone, such as ``JetPack 6.2``.
        device: values of the emulated driver, see ``tests.cuda.emulated.Emulated.machine``.
        architecture: the kernels' architecture.
        tensorrt: version of the system's TensorRT; "" where it comes from PyPI.
        bindings: version of TensorRT's Python bindings on PyPI that stand in for the system's.
        commands: what it prints for commands that the program does not ask.
        elements: GStreamer's elements that only this machine has.
        opencv: package of PyPI, compiled for NumPy 1, that stands in for the system's OpenCV; "" if none is played.
    """

    title: str
    page: str
    recorded: str
    python: str
    only: str
    device: Mapping[str, int]
    architecture: str
    tensorrt: str = ""
    bindings: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    elements: tuple[str, ...] = ()
    opencv: str = ""

    def host(self, root: Path) -> Host:
        """Make the machine as the program sees it, with its files under an empty folder."""
        from tests.machine import machines

        make: Callable[[Path], Host] = getattr(machines, self.recorded)
        return make(root)


_ORIN = {"devices": 1, "major": 8, "minor": 7, "integrated": 1, "memory": 8 << 30}

MACHINES = {
    "jetpack-6.2": Machine(
        "AGX Orin, JetPack 6.2",
        JETSON,
        "agx_orin_6",
        "3.10",
        "JetPack 6.2",
        {**_ORIN, "release": 12060},
        "sm_87",
        tensorrt="10.3.0",
        bindings="10.3.0",
        elements=HARDWARE,
        opencv="opencv-python-headless==4.5.4.60",  # Ubuntu 22.04's python3-opencv is 4.5.4
    ),
    "jetpack-7.2": Machine(
        "AGX Orin, JetPack 7.2",
        JETSON,
        "agx_orin_7",
        "3.12",
        "JetPack 7.2",
        {**_ORIN, "release": 13020},
        "sm_87",
        tensorrt="10.16.2.1",
        bindings="10.16.1.11",
        elements=HARDWARE,
        opencv="opencv-python-headless==4.8.1.78",  # NVIDIA's is 4.8.0, Ubuntu 24.04's 4.6.0
    ),
    "rtx-4090": Machine(
        "PC with an RTX 4090, driver 580",
        RTX,
        "rtx_desktop",
        "3.12",
        "",
        {"devices": 1, "major": 8, "minor": 9, "integrated": 0, "memory": 8 << 30, "release": 13000},
        "sm_89",
        elements=("jpegdec",),
        commands={
            "nvidia-smi": "| NVIDIA-SMI 580.65.06    Driver Version: 580.65.06    CUDA Version: 13.0 |\n"
            "|   0  NVIDIA GeForce RTX 4090 | 23W / 450W |\n",
        },
    ),
}

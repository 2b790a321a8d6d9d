"""What a process of a recorded machine is told: which machine, which faults, and where files lie that it shares."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "SSD_EDGE_REHEARSAL"
"""Environment variable that holds a setting as JSON."""


@dataclass(frozen=True)
class Fault:
    """What is planted on a machine; nothing by default.

    Attributes:
        packages: versions by package; None for one that is not installed.
        without: files that are missing.
        missing: commands that are not installed.
        driver: answer of the driver's child, in place of the recorded one.
        device: values of the emulated driver, see ``tests.cuda.emulated.Emulated.machine``.
        refused: CUresult by which the driver refuses a context; 0 if it gives one.
        tensorrt: TensorRT's version, in place of the recorded one.
        fails: methods of TensorRT that fail, and what its log says then.
        changed: whether TensorRT builds its first convolution in FP16, whatever is asked for.
        killed: whether the system kills the compiler's process.
    """

    packages: dict[str, str | None] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    driver: dict[str, Any] = field(default_factory=dict)
    device: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    tensorrt: str = ""
    fails: dict[str, str] = field(default_factory=dict)
    changed: bool = False
    killed: bool = False


@dataclass(frozen=True)
class Setting:
    """What one process of a recorded machine is told.

    Attributes:
        machine: key of ``machines.MACHINES``.
        shared: folder for what processes of the machine leave each other.
        photos: folder of pictures that its cameras show.
        beside: folder of packages that the emulations need; nothing that the program looks for.
        gstreamer: whether its Python sees GStreamer.
        fault: what is planted.
    """

    machine: str
    shared: str
    photos: str
    beside: str = ""
    gstreamer: bool = True
    fault: Fault = field(default_factory=Fault)

    def variables(self) -> dict[str, str]:
        """Return the environment variable that hands this to a process."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def of_this_process(cls) -> Setting:
        """Read the setting that this process was given."""
        values = json.loads(os.environ[VARIABLE])
        fault = {name: tuple(value) if isinstance(value, list) else value for name, value in values["fault"].items()}
        return cls(**{**values, "fault": Fault(**fault)})

    @property
    def compiled(self) -> Path:
        """Folder of the networks that TensorRT-RTX compiled, by the SHA-256 of their plans."""
        return Path(self.shared) / "compiled"

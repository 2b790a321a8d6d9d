"""The request to the builder's process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """Source, outputs and options of a build.

    Attributes:
        source: heads in FP32, or with Q/DQ for ``INT8``.
        plan: the file to write.
        timing: the timing cache's file: read if it exists, and written.
        layers: the file to write the layers to, as JSON.
        kernels: an image of kernels.cu for the plugins; "" for host-launch.
        precision: ``FP32``, ``FP16`` or ``INT8``; with ``INT8`` all other layers become FP16.
        form: form of decode, one of ``forms.FORMS``.
        workspace_mib: memory that a layer may use while it runs; 0 for no limit.
        optimisation_level: 0 … 5; −1 for TensorRT's default.
        version_compatible: whether later releases of the same major version must be able to run the plan.
        hardware_compatible: ``none``, ``ampere-plus`` or ``same-compute-capability``.
        dla_core: number of the DLA; −1 for none.
        strict: whether a layer that the DLA cannot run is an error.
        max_batch: 1, or the largest batch of a profile.
    """

    source: str
    plan: str
    timing: str
    layers: str
    kernels: str
    precision: str
    form: str
    workspace_mib: int = 0
    optimisation_level: int = -1
    version_compatible: bool = False
    hardware_compatible: str = "none"
    dla_core: int = -1
    strict: bool = False
    max_batch: int = 1

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``ask_child``."""
        return asdict(self)

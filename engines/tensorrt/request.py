"""The request to the builder's process."""

from __future__ import annotations

from dataclasses import dataclass

from ssd_edge.engines.nvidia.request import PlanRequest


@dataclass(frozen=True)
class Request(PlanRequest):
    """Source, outputs and options of a build.

    Attributes:
        timing: the timing cache's file: read if it exists, and written.
        layers: the file to write the layers to, as JSON.
        kernels: an image of kernels.cu for the plugins; "" for host-launch.
        form: form of decode, one of ``forms.FORMS``.
        workspace_mib: memory that a layer may use while it runs; 0 for no limit.
        optimisation_level: 0 … 5; −1 for TensorRT's default.
        version_compatible: whether later releases of the same major version must be able to run the plan.
        hardware_compatible: ``none``, ``ampere-plus`` or ``same-compute-capability``.
        dla_core: number of the DLA; −1 for none.
        strict: whether a convolution of another precision, or a layer that the DLA cannot run, is an error.
        max_batch: 1, or the largest batch of a profile.
    """

    timing: str
    layers: str
    kernels: str
    form: str
    workspace_mib: int = 0
    optimisation_level: int = -1
    version_compatible: bool = False
    hardware_compatible: str = "none"
    dla_core: int = -1
    strict: bool = False
    max_batch: int = 1

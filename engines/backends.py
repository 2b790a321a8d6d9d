"""The backends by name. Each is one folder or file that implements ``ssd_edge.engines.base.Backend``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ssd_edge.choices import Choice
from ssd_edge.errors import BackendError

if TYPE_CHECKING:
    from ssd_edge.engines.base import Backend

BACKENDS: dict[str, Choice] = {
    "tensorrt": Choice("on the GPU that it is built on: Jetson, RTX, data centre", "ssd_edge.engines.tensorrt.backend"),
    "tensorrt-rtx": Choice("for RTX GPUs, built on any machine", "ssd_edge.engines.tensorrt_rtx.backend"),
    "openvino": Choice("on a CPU", "ssd_edge.engines.openvino"),
    "onnxruntime": Choice("on a CPU, the reference", "ssd_edge.engines.onnxruntime"),
}
"""The backends, best first: of a bundle's plans that can run on a machine, the first in this order is used."""

GPU_BACKENDS = ("tensorrt", "tensorrt-rtx")
"""Those whose plans run on a GPU of NVIDIA."""

DEFAULT_BACKEND = "openvino"
"""The backend that runs everywhere."""


def get_backend(name: str) -> Backend:
    """Import a backend.

    Raises:
        BackendError: no backend has that name, or its runtime is not installed.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend is called {name!r}; there are {', '.join(BACKENDS)}")
    try:
        return cast("Backend", BACKENDS[name].load())
    except ModuleNotFoundError as error:
        package = error.name
        raise BackendError(f"backend {name} needs {package}, which is not installed: pip install {package}") from None

"""Configure the builder: memory, effort, compatibility, and the batches that an engine takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssd_edge.engines.tensorrt.versions import hardware_compatibility
from ssd_edge.errors import BackendError

if TYPE_CHECKING:
    import tensorrt

    from ssd_edge.engines.tensorrt.request import Request


def configure(trt: Any, config: tensorrt.IBuilderConfig, request: Request) -> None:
    """Set everything that a request asks for.

    Raises:
        BackendError: this release does not support a setting.
    """
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # otherwise the inspector gives no precision
    config.clear_flag(trt.BuilderFlag.TF32)  # or FP32 layers would compute in TF32
    if request.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib << 20)
    if request.optimisation_level >= 0:
        config.builder_optimization_level = request.optimisation_level
    if request.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if request.hardware_compatible != "none":
        config.hardware_compatibility_level = hardware_compatibility(trt, request.hardware_compatible)


def profile(
    builder: tensorrt.Builder,
    network: tensorrt.INetworkDefinition,
    config: tensorrt.IBuilderConfig,
    request: Request,
) -> None:
    """Allow batches from 1 to the largest, tuned for the largest; do nothing if the batch is fixed.

    Raises:
        BackendError: the network does not take these batches.
    """
    if request.max_batch == 1:
        return
    image = network.get_input(0)
    one, most = (1, *tuple(image.shape)[1:]), (request.max_batch, *tuple(image.shape)[1:])
    shapes = builder.create_optimization_profile()
    shapes.set_shape(image.name, one, most, most)
    if config.add_optimization_profile(shapes) < 0:
        raise BackendError(f"TensorRT refused batches from 1 to {request.max_batch}: leave out --max-batch")

"""Run a plan of TensorRT-RTX on the GPU: heads whose image and outputs stay in device memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.memory import DeviceBuffer
from ssd_edge.engines.gpu.engine import GpuEngine
from ssd_edge.engines.gpu.plan import open_plan
from ssd_edge.engines.kernels.launch import heads_buffers
from ssd_edge.engines.nvidia.execution import Execution, error_log
from ssd_edge.engines.tensorrt_rtx.jit_cache import JitCache
from ssd_edge.errors import BackendError
from ssd_edge.spec import ModelSpec

_WHY_INVALID = {
    "MALFORMED_ENGINE": "it is damaged: build it again",
    "VERSION_MISMATCH": "another release of TensorRT-RTX built it: build it again",
    "UNSUPPORTED_CC": "it was not built for the compute capability of this GPU: build it again for it",
    "OLD_CUDA_DRIVER": "the NVIDIA driver is too old for it: install a newer one",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old for it: install a newer driver",
    "INSUFFICIENT_GPU_MEMORY": "it needs more memory than this GPU has free",
}


def open_engine(folder: Path, plan: PlanEntry, spec: ModelSpec, library: Any | None = None) -> GpuEngine:
    """Open a plan on the first GPU that the driver lists.

    Args:
        folder: the bundle.
        plan: a plan of this backend.
        spec: the spec of its heads.
        library: the module ``tensorrt_rtx``, or a stand-in for it; imported if not given.

    Raises:
        BackendError: there is no driver or too little memory, or the library refused the plan.
        BundleCompatibilityError: the bundle has no kernels for this GPU.
    """
    path = folder / plan.files[0]

    def network(device: Device, kernels: bytes) -> TensorRtRtxNetwork:
        cache = JitCache(path, device.compute_capability)
        return TensorRtRtxNetwork(path, spec, plan.precision, cache, device.buffer, library)

    return open_plan(folder, plan, network)


class TensorRtRtxNetwork:
    """A loaded plan, which takes one image at a time. See ``ssd_edge.engines.gpu.network.DeviceNetwork``.

    Bound to the CUDA context that is current at construction.

    Args:
        plan: path of the plan.
        spec: spec of its heads.
        precision: precision as shown to people.
        cache: keeps the code that the library compiles on this GPU.
        allocate: allocates device memory, given bytes: the activations of each execution.
        library: the module ``tensorrt_rtx``, or a stand-in for it; imported if not given.

    Raises:
        BackendError: the library refused the plan, or the plan holds other heads.
    """

    max_batch = 1
    memory = 0

    def __init__(
        self,
        plan: Path,
        spec: ModelSpec,
        precision: str,
        cache: JitCache,
        allocate: Callable[[int], DeviceBuffer],
        library: Any | None = None,
    ) -> None:
        trt = self._trt = library if library is not None else _library()
        self._allocate = allocate
        self.spec = spec
        self.precision = precision
        self._plan = plan
        self._errors = error_log(trt)
        self._runtime = trt.Runtime(self._errors)
        self._engine = self._deserialised(plan.read_bytes())
        self.bound = heads_buffers(spec, 1, half=self._checked_type() == trt.DataType.HALF)
        self._file = cache
        self._config = self._engine.create_runtime_config()
        self._config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # gpu.slots captures the graph
        # Plans for capture (BuilderFlag.REQUIRE_USER_ALLOCATION) are refused otherwise, and earlier plans run so too.
        self._config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self._cache = self._config.create_runtime_cache()
        self._kept = cache.read()
        if self._kept:
            self._cache.deserialize(self._kept)  # refused if damaged, or from another GPU, driver or release
        self._config.set_runtime_cache(self._cache)
        self._contexts: list[_Execution] = []

    def context(self, batch: int = 1, memory: int = 0) -> _Execution:
        """Make another execution; the first one on a GPU compiles the plan, and the result is cached.

        Each allocates memory of its own, and runs with one image.

        Raises:
            BackendError: the GPU lacks memory, or the library failed.
        """
        native = self._engine.create_execution_context(self._config)
        if native is None:
            raise BackendError(f"TensorRT-RTX cannot run {self._plan} on this GPU: {self._errors.last()}")
        self._contexts.append(_Execution(native, self.bound, self._errors, "TensorRT-RTX"))
        # The first size is of all profiles, the second of these shapes; of one profile and fixed shapes they agree.
        size = max(self._engine.device_memory_size_v2, native.update_device_memory_size_for_shapes())
        self._contexts[-1].work_in(self._allocate(size))
        self._keep()
        return self._contexts[-1]

    def close(self) -> None:
        """Release the plan and its executions. No run may be under way or be enqueued afterwards. Idempotent."""
        if self._engine is None:
            return
        self._keep()
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        self._cache = self._config = self._engine = self._runtime = None

    def _keep(self) -> None:
        memory = self._cache.serialize()
        content = b"" if memory is None else bytes(memory)
        if content and content != self._kept:
            self._file.write(content)
            self._kept = content

    def _deserialised(self, content: bytes) -> Any:
        trt = self._trt
        validity, flags = self._runtime.get_engine_validity(content)
        if validity == trt.EngineValidity.INVALID:
            members = trt.EngineInvalidityDiagnostics.__members__.items()
            reasons = [_WHY_INVALID[name] for name, flag in members if int(flags) & int(flag) and name in _WHY_INVALID]
            reason = reasons[0] if reasons else self._errors.last()
            raise BackendError(f"TensorRT-RTX cannot load {self._plan}: {reason}")
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise BackendError(f"TensorRT-RTX cannot load {self._plan}: {self._errors.last()}")
        return engine

    def _checked_type(self) -> Any:
        """Check the shapes of image, loc and logits, and return the type that all three have."""
        engine = self._engine
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
        wanted = {name: buffer.shape for name, buffer in heads_buffers(self.spec, 1, half=False).items()}
        types = {engine.get_tensor_dtype(name) for name in names}
        if shapes != wanted or len(types) != 1 or not types <= {self._trt.DataType.HALF, self._trt.DataType.FLOAT}:
            raise BackendError(
                f"{self._plan} does not hold the heads of its manifest: it must have {wanted}, but has {shapes}"
            )
        return types.pop()


class _Execution(Execution):
    """An execution with device memory of its own, which TensorRT-RTX asks for before it lets a stream be captured."""

    _memory: DeviceBuffer | None = None

    def work_in(self, memory: DeviceBuffer) -> None:
        """Give the execution its device memory, which is released with it."""
        self._memory = memory
        self._native.set_device_memory(memory.address, memory.nbytes)

    def why_no_graph(self, stream: int) -> str | None:
        """See ``DeviceContext``."""
        if self._native.is_stream_capturable(stream):
            return None
        return "TensorRT-RTX says that a run of this plan cannot be captured: build it again with this release"

    def close(self) -> None:
        """Release the library's execution context, then its memory."""
        super().close()
        if self._memory is not None:
            self._memory.close()


def _library() -> Any:
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise BackendError(f"TensorRT-RTX cannot be loaded: {error}") from None
    return tensorrt_rtx

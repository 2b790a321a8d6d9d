"""Run a TensorRT plan on the GPU: a network whose tensors stay in device memory, with or without its decode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.gpu.engine import GpuEngine
from ssd_edge.engines.gpu.network import carrying_decode, of_batch
from ssd_edge.engines.gpu.plan import open_plan
from ssd_edge.engines.kernels.launch import heads_buffers
from ssd_edge.engines.nvidia.execution import Execution, error_log
from ssd_edge.engines.plugins.forms import NEEDED_AT_RUN_TIME, make_known
from ssd_edge.engines.tensorrt.versions import device_memory_bytes
from ssd_edge.errors import BackendError
from ssd_edge.spec import ModelSpec


def open_engine(folder: Path, plan: PlanEntry, spec: ModelSpec, library: Any | None = None) -> GpuEngine:
    """Open a plan on the first GPU that the driver lists.

    Args:
        folder: the bundle.
        plan: the plan's entry in the manifest.
        spec: the spec of its heads.
        library: the module ``tensorrt``, or a stand-in for it; imported if not given.

    Raises:
        BackendError: there is no driver or too little memory, or the library refused the plan.
        BundleCompatibilityError: the bundle has no kernels for this GPU.
    """
    trt = library if library is not None else _library()

    def network(device: Device, kernels: bytes) -> TensorRtNetwork:
        form = plan.facts.get("decode", "host-launch")
        if form in NEEDED_AT_RUN_TIME:
            make_known(form, kernels, trt, folder)
        return TensorRtNetwork(folder / plan.files[0], plan, spec, trt)

    return open_plan(folder, plan, network)


class TensorRtNetwork:
    """A loaded plan. See ``ssd_edge.engines.gpu.network.DeviceNetwork``.

    Bound to the CUDA context that is current at construction. A plan built with ``max_batch`` runs with 1 … that many
    images, by its one optimisation profile, which each execution has from the start.

    Args:
        file: the plan.
        plan: the plan's entry in the manifest.
        spec: the spec of its heads.
        trt: the module ``tensorrt``, or a stand-in for it.

    Raises:
        BackendError: the library refused the plan, or the plan holds another network.
    """

    def __init__(self, file: Path, plan: PlanEntry, spec: ModelSpec, trt: Any) -> None:
        self.spec, self.precision = spec, plan.precision
        self._trt, self._file = trt, file
        self._errors = error_log(trt)
        self._runtime = trt.Runtime(self._errors)
        # A version-compatible plan contains host code; the bundle's checksums show that it is the plan that was built.
        self._runtime.engine_host_code_allowed = plan.facts.get("version_compatible") == "yes"
        if "dla_core" in plan.facts:
            self._take_dla(int(plan.facts["dla_core"]))
        self._engine = self._runtime.deserialize_cuda_engine(file.read_bytes())
        if self._engine is None:
            raise BackendError(f"TensorRT cannot load {file}: {self._errors.last()}")
        self.bound = self._checked(carries_decode=plan.facts.get("decode", "host-launch") != "host-launch")
        self.max_batch = self._checked_batch(int(plan.facts.get("max_batch", "1")))
        # A plan for one image has one execution a slot, which may as well allocate its memory.
        self.memory = max(1, device_memory_bytes(self._engine)) if self.max_batch > 1 else 0
        self._contexts: list[Execution] = []

    def context(self, batch: int = 1, memory: int = 0) -> Execution:
        """Make another execution; see ``DeviceNetwork``.

        Raises:
            BackendError: the GPU lacks memory, or the library failed.
        """
        strategies = self._trt.ExecutionContextAllocationStrategy
        native = self._engine.create_execution_context(strategies.USER_MANAGED if memory else strategies.STATIC)
        if native is None:
            raise BackendError(f"TensorRT cannot run {self._file} on this GPU: {self._errors.last()}")
        if memory:
            native.set_device_memory(memory, self.memory)
        if not native.set_input_shape("image", of_batch(self.bound, batch)["image"].shape):
            raise BackendError(f"TensorRT refused a batch of {batch} for {self._file}: {self._errors.last()}")
        self._contexts.append(Execution(native, self.bound, self._errors, "TensorRT"))
        return self._contexts[-1]

    def close(self) -> None:
        """Release the plan and its executions. No run may be under way or be enqueued afterwards. Idempotent."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        self._engine = self._runtime = None

    def _take_dla(self, core: int) -> None:
        cores = self._runtime.num_DLA_cores  # without a DLA, TensorRT would ignore the setting
        if core >= cores:
            present = "none" if cores == 0 else f"{cores}, counted from 0"
            raise BackendError(
                f"{self._file} runs on DLA {core}, and this machine has {present}: build it again here with --backend "
                "tensorrt, without --dla"
            )
        self._runtime.DLA_core = core

    def _checked_batch(self, most: int) -> int:
        """Check that the plan takes batches up to the largest of its manifest, and return that."""
        if most > 1:
            largest = tuple(self._engine.get_tensor_profile_shape("image", 0)[2])
            if largest[0] < most:
                raise BackendError(
                    f"{self._file} does not hold the network of its manifest: it must take {most} images at once, but "
                    f"takes {largest[0]}"
                )
        return most

    def _checked(self, *, carries_decode: bool) -> Any:
        """Check that the plan's tensors are those of its manifest, and describe them for one image."""
        engine, kinds = self._engine, self._trt.DataType
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        tensors = {name: (tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)) for name in names}
        half = tensors.get("image", ((), None))[1] == kinds.HALF
        wanted = carrying_decode(self.spec, half) if carries_decode else heads_buffers(self.spec, 1, half)
        types = {"float16": kinds.HALF, "float32": kinds.FLOAT, "int32": kinds.INT32}

        def fits(name: str) -> bool:
            if name not in tensors:
                return False
            shape, kind = tensors[name]
            buffer = wanted[name]
            one = (1, *shape[1:]) if shape[:1] == (-1,) else shape  # a batch of -1 is free
            # Plans of interface 1 give counts as (B,), in the same memory.
            shapes = {buffer.shape, buffer.shape[:1]} if buffer.shape[1:] == (1,) else {buffer.shape}
            return one in shapes and kind == types[str(buffer.dtype)]

        if tensors.keys() != wanted.keys() or not all(map(fits, wanted)):
            described = ", ".join(f"{name} {shape}" for name, (shape, _) in tensors.items())
            expected = ", ".join(f"{name} {buffer.shape}" for name, buffer in wanted.items())
            raise BackendError(
                f"{self._file} does not hold the network of its manifest: it must have {expected}, but has {described}"
            )
        return wanted


def _library() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise BackendError(f"TensorRT cannot be loaded: {error}") from None
    return tensorrt

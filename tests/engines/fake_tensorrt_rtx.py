"""A fake of ``tensorrt_rtx``'s runtime, as on a machine with a GPU: a plan is an ONNX file, run by ONNX Runtime on the
addresses that it is given. Names and parameters are those of the real module: test_tensorrt_rtx.py compares them.
"""

from __future__ import annotations

import ctypes
import enum

import numpy as np
import onnxruntime

from ssd_edge.engines.kernels.launch import Buffer
from tests.engines.fake_nvidia import DataType, ILogger, Part


class EngineValidity(enum.Enum):
    VALID = 0
    SUBOPTIMAL = 1
    INVALID = 2


class EngineInvalidityDiagnostics(enum.IntEnum):
    VERSION_MISMATCH = 1
    UNSUPPORTED_CC = 2
    OLD_CUDA_DRIVER = 4
    OLD_CUDA_RUNTIME = 8
    INSUFFICIENT_GPU_MEMORY = 16
    MALFORMED_ENGINE = 32
    CUDA_ERROR = 64


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


def at_once(context, stream):
    """Run at once on addresses in this process's memory, without waiting for a stream."""
    arrays = {name: array_at(context.addresses[name], buffer) for name, buffer in context.buffers().items()}
    for name, value in context.engine.outputs(arrays["image"]).items():
        arrays[name][...] = value


def array_at(address, buffer):
    """View the memory at an address of this process as an array."""
    memory = (ctypes.c_byte * buffer.nbytes).from_address(address)
    return np.frombuffer(memory, buffer.dtype).reshape(buffer.shape)


FAILURE = "f: Error Code 1: it failed In f at /_src/a.cpp:7"
"""As the real ones put it."""


class FakeTensorRtRtx:
    """The fake module.

    Args:
        run: ``run(context, stream)`` does an execution's work.
        released: ``released(context)`` is called when an execution ends.
    """

    DataType, EngineValidity, EngineInvalidityDiagnostics = DataType, EngineValidity, EngineInvalidityDiagnostics
    CudaGraphStrategy, ILogger = CudaGraphStrategy, ILogger
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy

    def __init__(self, run=at_once, released=lambda context: None):
        self.run, self.released = run, released
        self.validity = EngineValidity.VALID, 0
        self.fails = {}
        """Names of methods that fail, as the real ones do: with False or None, and these messages to the logger."""
        self.contexts = 0
        """Alive."""
        self.capturable = True
        """Whether the plan was built for stream capture."""
        self.given = []
        """Address and size of the memory of each context."""
        self.compiled = b"compiled for this GPU"
        """What the JIT cache holds after a context was made."""

    def Runtime(self, logger):  # noqa: N802 - its name
        return Runtime(self, logger)


class Runtime(Part):
    def get_engine_validity(self, buffer):
        return self.library.validity

    def deserialize_cuda_engine(self, serialized_engine):
        if self.failed("deserialize_cuda_engine"):
            return None
        return ICudaEngine(self.library, self.logger, bytes(serialized_engine))


class ICudaEngine(Part):
    device_memory_size_v2 = 5000

    def __init__(self, library, logger, content):
        super().__init__(library, logger)
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.tensors = {node.name: node for node in (*self.session.get_inputs(), *self.session.get_outputs())}

    @property
    def num_io_tensors(self):
        return len(self.tensors)

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_shape(self, name):
        return self.tensors[name].shape

    def get_tensor_dtype(self, name):
        kinds = {"tensor(float)": DataType.FLOAT, "tensor(float16)": DataType.HALF, "tensor(int32)": DataType.INT32}
        return kinds[self.tensors[name].type]

    def outputs(self, image):
        """What the network gives."""
        names = [node.name for node in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {"image": image}), strict=True))

    def create_runtime_config(self):
        return IRuntimeConfig(self.library, self.logger)

    def create_execution_context(self, runtime_config):
        if self.failed("create_execution_context"):
            return None
        if self.library.capturable and runtime_config.strategy != ExecutionContextAllocationStrategy.USER_MANAGED:
            return None
        runtime_config.cache.content = self.library.compiled
        return IExecutionContext(self, runtime_config)


class IRuntimeConfig(Part):
    cuda_graph_strategy = CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    strategy = ExecutionContextAllocationStrategy.STATIC
    cache = None

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def create_runtime_cache(self):
        return IRuntimeCache(self.library, self.logger)

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


class IRuntimeCache(Part):
    content = b""

    def deserialize(self, blob):
        if bytes(blob) != self.library.compiled:
            return False
        self.content = bytes(blob)
        return True

    def serialize(self):
        return memoryview(self.content)


class IExecutionContext(Part):
    def __init__(self, engine, runtime_config):
        super().__init__(engine.library, engine.logger)
        self.engine, self.config, self.addresses = engine, runtime_config, {}
        self.memory = 0
        self.library.contexts += 1

    def __del__(self):
        self.library.contexts -= 1
        self.library.released(self)

    def set_tensor_address(self, name, memory):
        self.addresses[name] = int(memory)
        return not self.failed("set_tensor_address")

    def update_device_memory_size_for_shapes(self):
        return 6000

    def set_device_memory(self, memory, size):
        assert size >= 6000
        assert memory % 256 == 0
        self.memory = memory
        self.library.given.append((memory, size))

    def is_stream_capturable(self, stream):
        return self.library.capturable

    def execute_async_v3(self, stream_handle):
        if self.failed("execute_async_v3") or set(self.addresses) != set(self.engine.tensors) or not self.memory:
            return False
        self.library.run(self, int(stream_handle))
        return True

    def buffers(self):
        """The tensors."""
        kinds = {DataType.HALF: np.float16, DataType.FLOAT: np.float32}
        return {
            name: Buffer(tuple(node.shape), np.dtype(kinds[self.engine.get_tensor_dtype(name)]))
            for name, node in self.engine.tensors.items()
        }

"""A fake of ``tensorrt``, builder and runtime, as on a machine with a GPU; it records its calls.

A plan is the ONNX file that the parser was given, run by ONNX Runtime, its decode nodes by ``in_numpy``. Names,
members and parameters are those of the real modules of TensorRT 10 and 11: tests/tensorrt/test_fake.py compares them.
"""

from __future__ import annotations

import enum
import json

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from ssd_edge.engines.kernels.launch import Buffer
from tests.engines.decoded import decoded
from tests.engines.fake_nvidia import DataType, ILogger, Part


class BuilderFlag(enum.Enum):
    GPU_FALLBACK = 3
    TF32 = 7
    VERSION_COMPATIBLE = 14


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 2


class HardwareCompatibilityLevel(enum.Enum):
    NONE = 0
    AMPERE_PLUS = 1
    SAME_COMPUTE_CAPABILITY = 2


class DeviceType(enum.Enum):
    GPU = 0
    DLA = 1


class LayerInformationFormat(enum.Enum):
    ONELINE = 0
    JSON = 1


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 0


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


class IProgressMonitor:
    def __init__(self):
        pass


class FakeTensorRt:
    """The fake module.

    Args:
        run: ``run(context, stream)`` does an execution's work.
        released: ``released(context)`` is called when an execution ends.
    """

    DataType, BuilderFlag, MemoryPoolType, DeviceType = DataType, BuilderFlag, MemoryPoolType, DeviceType
    ProfilingVerbosity, HardwareCompatibilityLevel = ProfilingVerbosity, HardwareCompatibilityLevel
    LayerInformationFormat, NetworkDefinitionCreationFlag = LayerInformationFormat, NetworkDefinitionCreationFlag
    ILogger, IProgressMonitor = ILogger, IProgressMonitor
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy

    def __init__(self, run=lambda context, stream: None, released=lambda context: None, version="10.16.1.11"):
        self.__version__ = version
        self.run, self.released = run, released
        self.fails = {}
        """Names of methods and classes that fail, as the real ones do, and what the log says then, an error a line."""
        self.dla_cores, self.unfit_for_dla = 0, set()
        self.changed = {}
        """By convolution: the type that the engine gets in place of the one asked for."""
        self.kinds = {}
        """By convolution: the kind of its layer, in place of an ordinary one."""
        self.uses_dla = True
        """Whether the built engine runs on the DLA what it can."""
        self.on_dla = False
        self.gpu = b"this GPU"
        self.max_batch = 1
        """Largest batch of the profile that was built last; the fake's plan does not tell."""
        self.configs, self.networks, self.runtimes = [], [], []
        self.given = []
        """Address and size of the memory of each context that did not bring its own."""

    def Builder(self, logger):  # noqa: N802 - its name
        return _started(Builder(self, logger))

    def OnnxParser(self, network, logger):  # noqa: N802 - its name
        return OnnxParser(network, self, logger)

    def Runtime(self, logger):  # noqa: N802 - its name
        self.runtimes.append(_started(Runtime(self, logger)))
        return self.runtimes[-1]


def _started(part):
    """Raise TypeError, as the bindings do if the library returns null."""
    if part.failed(type(part).__name__):
        raise TypeError("pybind11::init(): factory function returned nullptr")
    return part


class Builder(Part):
    @property
    def num_DLA_cores(self):  # noqa: N802 - its name
        return self.library.dla_cores

    def create_network(self, flags):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self.library.networks.append(INetworkDefinition())
        return self.library.networks[-1]

    def create_builder_config(self):
        self.library.configs.append(IBuilderConfig(self.library, self.logger))
        return self.library.configs[-1]

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        monitor = config.progress_monitor
        monitor.phase_start("building", None, 2)
        monitor.phase_start("a part of it", "building", 1)
        going = [monitor.step_complete("a part of it", 0), monitor.step_complete("building", 0)]
        monitor.phase_finish("a part of it")
        going.append(monitor.step_complete("building", 1))
        monitor.phase_finish("building")
        if self.failed("build_serialized_network") or not all(going):
            return None
        config.timing_cache.content += b"+"
        self.library.on_dla = config.default_device_type is DeviceType.DLA and self.library.uses_dla
        return memoryview(network.content)


class INetworkDefinition:
    content = b""
    names = ()

    @property
    def num_layers(self):
        return len(self.names)

    def get_layer(self, index):
        return type("ILayer", (), {"name": self.names[index]})

    def get_input(self, index):
        (image,) = onnx.load_from_string(self.content).graph.input
        shape = tuple(dim.dim_value or -1 for dim in image.type.tensor_type.shape.dim)
        return type("ITensor", (), {"name": image.name, "shape": shape})


class IOptimizationProfile:
    def set_shape(self, input, min, opt, max):  # noqa: A002 - their names
        self.shapes = {input: (min, opt, max)}


class OnnxParser(Part):
    def __init__(self, network, library, logger):
        super().__init__(library, logger)
        self.network = network

    def parse(self, model):
        if self.failed("parse"):
            return False
        self.network.content = bytes(model)
        self.network.names = [node.name for node in onnx.load_from_string(bytes(model)).graph.node]
        return True

    @property
    def num_errors(self):
        return 1

    def get_error(self, index):
        values = {"desc": self.library.fails["parse"], "node_name": "body/Conv", "node": 3, "node_operator": "Conv"}
        return type(
            "ParserError", (), {name: staticmethod(lambda value=value: value) for name, value in values.items()}
        )


class IBuilderConfig(Part):
    profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
    builder_optimization_level = 3
    hardware_compatibility_level = HardwareCompatibilityLevel.NONE
    default_device_type = DeviceType.GPU
    DLA_core = -1
    progress_monitor = None
    timing_cache = None

    def __init__(self, library, logger):
        super().__init__(library, logger)
        self.flags_set, self.limits, self.profiles = {BuilderFlag.TF32}, {}, []

    def set_flag(self, flag):
        self.flags_set.add(flag)

    def clear_flag(self, flag):
        self.flags_set.discard(flag)

    def set_memory_pool_limit(self, pool, pool_size):
        self.limits[pool] = pool_size

    def add_optimization_profile(self, profile):
        if self.failed("add_optimization_profile"):
            return -1
        self.profiles.append(profile)
        _, _, (self.library.max_batch, *_) = profile.shapes["image"]
        return len(self.profiles) - 1

    def can_run_on_DLA(self, layer):  # noqa: N802 - its name
        return layer.name not in self.library.unfit_for_dla

    def create_timing_cache(self, serialized_timing_cache):
        content = bytes(serialized_timing_cache)
        return None if content == b"torn" else ITimingCache(content or self.library.gpu)

    def set_timing_cache(self, cache, ignore_mismatch):
        if not ignore_mismatch and not cache.content.startswith(self.library.gpu):
            return False
        self.timing_cache = cache
        return True

    def get_timing_cache(self):
        return self.timing_cache


class ITimingCache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return memoryview(self.content)


class Runtime(Part):
    engine_host_code_allowed = False
    DLA_core = -1

    @property
    def num_DLA_cores(self):  # noqa: N802 - its name
        return self.library.dla_cores

    def deserialize_cuda_engine(self, serialized_engine):
        if self.failed("deserialize_cuda_engine"):
            return None
        return ICudaEngine(self.library, self.logger, bytes(serialized_engine))


class ICudaEngine(Part):
    device_memory_size_v2 = 12345

    def __init__(self, library, logger, content):
        super().__init__(library, logger)
        self.model = onnx.load_from_string(content)
        heads, self.attributes = _without_decode(self.model)
        self.session = onnxruntime.InferenceSession(heads.SerializeToString(), providers=["CPUExecutionProvider"])
        self.tensors = {value.name: value for value in (*self.model.graph.input, *self.model.graph.output)}

    @property
    def num_io_tensors(self):
        return len(self.tensors)

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_shape(self, name):
        return [dim.dim_value or -1 for dim in self.tensors[name].type.tensor_type.shape.dim]

    def get_tensor_dtype(self, name):
        kinds = {1: DataType.FLOAT, 10: DataType.HALF, 6: DataType.INT32}
        return kinds[self.tensors[name].type.tensor_type.elem_type]

    def get_tensor_profile_shape(self, name, profile_index):
        assert (name, profile_index) == ("image", 0)
        most = self.library.max_batch
        return [[batch, *self.get_tensor_shape(name)[1:]] for batch in (1, most, most)]

    def outputs(self, image):
        """What the network gives."""
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        with np.errstate(all="ignore"):  # a network warms up on whatever memory holds
            image = image.astype(kinds[self.session.get_inputs()[0].type])
        heads = dict(zip(("loc", "logits"), self.session.run(["loc", "logits"], {"image": image}), strict=True))
        if not self.attributes:
            return heads
        (defaults,) = (one for one in self.model.graph.initializer if one.name == "defaults")
        return decoded(heads["loc"], heads["logits"], numpy_helper.to_array(defaults), self.attributes)

    def create_engine_inspector(self):
        return EngineInspector(self)

    def create_execution_context(self, strategy=ExecutionContextAllocationStrategy.STATIC):
        if self.failed("create_execution_context"):
            return None
        return IExecutionContext(self, self.library, strategy is ExecutionContextAllocationStrategy.STATIC)


class EngineInspector:
    def __init__(self, engine):
        self.engine = engine

    def get_engine_information(self, format):  # noqa: A002 - its name
        assert format == LayerInformationFormat.JSON
        graph, layers = self.engine.model.graph, []
        dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        halves = {value.name for value in graph.initializer if value.data_type == onnx.TensorProto.FLOAT16}
        for node in graph.node:
            if node.op_type == "Conv":
                asked = "Int8" if node.input[0] in dequantised else "Half" if node.input[1] in halves else "Float"
                kind = self.engine.library.changed.get(node.name, asked)
                library = self.engine.library
                there = "DLA" if library.on_dla and node.name not in library.unfit_for_dla else "CaskConvolution"
                layers.append(
                    {
                        "Name": f"{node.name} + after",
                        "LayerType": library.kinds.get(node.name, there),
                        "Inputs": [{"Name": node.input[0], "Format/Datatype": kind}],
                        "Metadata": f"[ONNX Layer: {node.name}]\x1e[ONNX Layer: after]",
                    }
                )
        return json.dumps({"Layers": layers, "Bindings": list(self.engine.tensors)})


class IExecutionContext:
    def __init__(self, engine, library, has_memory):
        self.engine, self.library, self._has_memory = engine, library, has_memory
        self.addresses, self.shapes = {}, {}

    def __del__(self):
        self.library.released(self)

    def buffers(self):
        """The tensors by name, for the batch that was set."""
        batch = self.shapes["image"][0]
        kinds = {DataType.FLOAT: "float32", DataType.HALF: "float16", DataType.INT32: "int32"}
        return {
            name: Buffer(
                tuple(batch if size == -1 else size for size in self.engine.get_tensor_shape(name)),
                np.dtype(kinds[self.engine.get_tensor_dtype(name)]),
            )
            for name in self.engine.tensors
        }

    def set_device_memory(self, memory, size):
        assert size >= self.engine.device_memory_size_v2
        assert memory % 256 == 0
        self._has_memory = True
        self.library.given.append((memory, size))

    def set_input_shape(self, name, shape):
        free = self.engine.get_tensor_shape(name)[0] == -1
        if not 1 <= shape[0] <= (self.library.max_batch if free else 1):
            return False
        self.shapes[name] = tuple(shape)
        return "set_input_shape" not in self.library.fails

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return "set_tensor_address" not in self.library.fails

    def execute_async_v3(self, stream_handle):
        if "execute_async_v3" in self.library.fails or not self._has_memory:
            return False
        self.library.run(self, stream_handle)
        return True


def in_half_from_the_start(graph):
    """Take out the Cast of the image, which ONNX Runtime leaves out where it computes FP16 in FP32."""
    for cast in [node for node in graph.node if node.op_type == "Cast" and node.input[0] == "image"]:
        graph.node.remove(cast)
        graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        for node in graph.node:
            node.input[:] = ["image" if name == cast.output[0] else name for name in node.input]


def _without_decode(model):
    """The heads of a network, and the attributes of its decode nodes, by operator."""
    heads, attributes = onnx.ModelProto(), {}
    heads.CopyFrom(model)
    for node in model.graph.node:
        if node.domain == "ssd_edge":
            values = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            attributes[node.op_type] = {name: value for name, value in values.items() if not name.startswith("plugin_")}
    if attributes:
        results = {value.name for value in model.graph.output}
        kept = [node for node in model.graph.node if node.domain != "ssd_edge" and not results & set(node.output)]
        del heads.graph.node[:]
        heads.graph.node.extend(kept)
        in_half_from_the_start(heads.graph)
        del heads.graph.output[:]
        heads.graph.output.extend(value for value in model.graph.value_info if value.name in {"loc", "logits"})
    return heads, attributes

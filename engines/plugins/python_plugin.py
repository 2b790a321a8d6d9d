"""The decode nodes as TensorRT plugins written in Python (IPluginV3, 10.3 and later): each launches its kernel.

TensorRT calls them while it builds an engine, and in each run of it. Its base classes come from the module
``tensorrt``, which may be missing, so the plugins' own methods stand in classes without them.
"""

# mypy: disable-error-code="misc,name-defined"
# TensorRT's bindings have no types, and may not be installed where mypy runs.

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from ssd_edge.engines.cuda.device import open_driver
from ssd_edge.engines.cuda.driver import Argument, CudaError, Driver
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.cuda.stream import Stream
from ssd_edge.engines.kernels.nodes import HEADS, INTEGER, NODES, SINGLE, Dims, Node, read_attributes
from ssd_edge.engines.plugins.decode_graph import TENSORRT_NAME
from ssd_edge.errors import BackendError

_driver: Any = cache(open_driver)


def register(kernels: bytes, tensorrt: Any) -> None:
    """Register the three operators with TensorRT, once in a process.

    Args:
        kernels: a cubin or PTX of kernels.cu for this GPU.
        tensorrt: the module ``tensorrt``.

    Raises:
        BackendError: the registry refused a plugin.
    """
    registry = tensorrt.get_plugin_registry()
    for creator in creators(kernels, tensorrt):
        if not registry.register_creator(creator, TENSORRT_NAME["plugin_namespace"]):
            raise BackendError(
                f"TensorRT does not take the plugin {creator.name}: another library has one of that name"
            )
        _kept.append(creator)


_kept: list[Any] = []  # the registry holds no reference of its own


def creators(kernels: bytes, tensorrt: Any) -> list[Any]:
    """Make a plugin creator for each operator; see ``register``."""
    trt = tensorrt
    interfaces = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)
    shared = {"trt": trt, "kernels": kernels}
    plugin = type("Plugin", (_Plugin, *interfaces), {**shared, "interfaces": interfaces})
    creator = type("Creator", (_Creator, trt.IPluginCreatorV3One), {**shared, "plugin": plugin})
    return [creator(node) for node in NODES.values()]


class _Plugin:
    """One node of a network; its kernels stay on the GPU from ``on_shape_change`` to ``destroy``.

    ``creators`` mixes it with TensorRT's interfaces, which call these methods.
    """

    trt: Any
    kernels: bytes
    interfaces: tuple[Any, ...]

    def __init__(self, node: Node, attributes: dict[str, int | float]) -> None:
        for interface in self.interfaces:
            interface.__init__(self)
        self.node, self.attributes = node, attributes
        self.num_outputs = len(node.outputs)
        self.plugin_name = node.operator
        self.plugin_namespace = TENSORRT_NAME["plugin_namespace"]
        self.plugin_version = TENSORRT_NAME["plugin_version"]
        self.module: Module | None = None

    def get_capability_interface(self, kind: Any) -> Any:
        return self

    def clone(self) -> Any:
        return type(self)(self.node, self.attributes)

    def destroy(self) -> None:
        module, self.module = self.module, None
        if module is not None:
            with suppress(CudaError):  # the context may be gone, and the kernels with it
                module.close()

    # Called while an engine is built.

    def get_output_data_types(self, input_types: Sequence[Any]) -> list[Any]:
        return [self._type(kind) for kind in self.node.outputs]

    def get_output_shapes(self, inputs: Sequence[Any], shape_inputs: Sequence[Any], builder: Any) -> list[Any]:
        one = builder.constant(1)
        dims = Dims(builder.constant, lambda size: builder.operation(self.trt.DimensionOperation.SUB, size, one))
        shapes = [[shape[axis] for axis in range(len(shape))] for shape in inputs]
        return [self.trt.DimsExprs(list(shape)) for shape in self.node.shapes(shapes, self.attributes, dims)]

    def supports_format_combination(self, position: int, tensors: Sequence[Any], num_inputs: int) -> bool:
        kinds = (*self.node.inputs, *self.node.outputs)
        tensor = tensors[position].desc
        if tensor.format != self.trt.TensorFormat.LINEAR:
            return False
        if kinds[position] == HEADS:
            first = tensors[0].desc.type
            return tensor.type == first and first in (self.trt.float32, self.trt.float16)
        return bool(tensor.type == self._type(kinds[position]))

    def configure_plugin(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Do nothing: a launch is planned from the shapes of its run."""

    # Called while an engine runs.

    def attach_to_context(self, context: Any) -> Any:
        return self.clone()

    def on_shape_change(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        self._load()  # here rather than in enqueue, which may be captured into a CUDA graph

    def set_tactic(self, tactic: int) -> None:
        """Do nothing: there is only one tactic."""

    def enqueue(
        self,
        input_desc: Sequence[Any],
        output_desc: Sequence[Any],
        inputs: Sequence[int],
        outputs: Sequence[int],
        workspace: int,
        stream: int,
    ) -> None:
        shapes = [tuple(desc.dims) for desc in input_desc]
        launch = self.node.launch(shapes, input_desc[0].type == self.trt.float16, self.attributes)
        arguments: list[Argument] = [
            *map(_address, inputs),
            *map(np.int32, launch.scalars),
            *map(_address, outputs),
        ]
        function = self._load().function(launch.kernel)
        with Stream(_driver(), int(_address(stream))) as adopted:
            adopted.launch(function, launch.grid, launch.block, arguments)

    def get_fields_to_serialize(self) -> Any:
        attributes = self.node.attributes.items()
        self.serialized = [_field(self.trt, name, self.attributes[name], kind) for name, kind in attributes]
        self.collection = self.trt.PluginFieldCollection(self.serialized)  # TensorRT keeps addresses in all three
        # TensorRT's own type: a PluginFieldCollection is converted to it only in calls from Python.
        self.native = self.trt.PluginFieldCollection_(self.collection)
        return self.native

    def _type(self, kind: str) -> Any:
        return {SINGLE: self.trt.float32, INTEGER: self.trt.int32}[kind]

    def _load(self) -> Module:
        if self.module is None:
            driver: Driver = _driver()
            self.module = Module(driver, self.kernels)
        return self.module


class _Creator:
    """Makes a node's plugin from the attributes in a graph or in a plan; mixed with TensorRT's interface."""

    trt: Any
    plugin: Any

    def __init__(self, node: Node) -> None:
        self.trt.IPluginCreatorV3One.__init__(self)
        self.node = node
        self.name = node.operator
        self.plugin_namespace = TENSORRT_NAME["plugin_namespace"]
        self.plugin_version = TENSORRT_NAME["plugin_version"]
        self.fields = [_field(self.trt, name, None, kind) for name, kind in node.attributes.items()]
        self.collection = self.trt.PluginFieldCollection(self.fields)  # TensorRT keeps its address
        self.field_names = self.collection

    def create_plugin(self, name: str, collection: Any, phase: Any) -> Any:
        return self.plugin(self.node, read_attributes(self.node, {field.name: _value(field) for field in collection}))


def _field(trt: Any, name: str, value: int | float | None, kind: type) -> Any:
    fields = {int: trt.PluginFieldType.INT32, float: trt.PluginFieldType.FLOAT32}
    values = [] if value is None else [value]
    return trt.PluginField(name, np.array(values, np.int32 if kind is int else np.float32), fields[kind])


def _address(signed: int) -> np.uint64:
    """Convert an address, which the bindings pass as a signed integer."""
    return np.uint64(signed & (1 << 64) - 1)


def _value(field: Any) -> int | float | list[Any]:
    """Value of a field: its one number, or a list for the error message."""
    data = field.data
    value: int | float | list[Any] = data[0].item() if data is not None and len(data) == 1 else list(data)
    return value

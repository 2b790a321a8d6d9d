"""Imitate TensorRT's calls to plugins, for each form, in place of the native library.

The bindings' classes and the project's plugins are real. See plugin_network.py.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from operator import add, floordiv, mul, sub
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.cuda.stream import Stream
from ssd_edge.engines.kernels.launch import Buffer
from ssd_edge.engines.plugins.decode_graph import DOMAIN


class Number:
    """A dimension whose value is known: the native one has no constructor."""

    def __init__(self, value: int) -> None:
        self.value = value


class Registry:
    """Plugins registered with the native library."""

    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> bool:
        key = creator.name, creator.plugin_version, namespace
        known = key in self.creators
        self.creators[key] = creator
        return not known

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self.creators[name, version, namespace]


class Tensor(NamedTuple):
    """A tensor of a node."""

    name: str
    buffer: Buffer


class Node(NamedTuple):
    """A node of the graph as the parser reads it: a plugin between tensors."""

    plugin: Any
    inputs: list[Tensor]
    outputs: list[Tensor]


class AheadOfTime:
    """TensorRT with ``tensorrt.plugin``: launches are evaluated while the plan is built, and run without Python."""

    def __init__(self, trt: Any) -> None:
        sys.modules["tensorrt"].IDimensionExpr = Number  # type: ignore[attr-defined]
        self.trt = trt
        self.registered = importlib.import_module("tensorrt.plugin._lib").QDP_REGISTRY
        self.tensor = importlib.import_module("tensorrt.plugin._tensor")
        kinds = trt.DimensionOperation
        operations = {kinds.SUM: add, kinds.SUB: sub, kinds.PROD: mul, kinds.FLOOR_DIV: floordiv}
        operations[kinds.CEIL_DIV] = lambda a, b: -(-a // b)
        self.tensor.SymIntExpr._exprBuilder = SimpleNamespace(
            constant=Number, operation=lambda kind, a, b: Number(operations[kind](a.value, b.value))
        )

    def plugin(self, creator: Any, fields: Any, inputs: list[Buffer]) -> tuple[Any, list[Buffer]]:
        """Make the launch that the plan keeps, and the outputs."""
        trt = self.trt
        request = trt.QuickPluginCreationRequest.STRICT_AOT
        made = creator.create_plugin(creator.name, DOMAIN, fields, trt.TensorRTPhase.BUILD, request)
        registered = self.registered[f"{DOMAIN}::{creator.name}"]
        described = [self.tensor.TensorDesc(self._shape(one.shape), types(trt)[one.dtype]) for one in inputs]
        outputs = registered.register_func(*described, **made.attrs)
        kernel, ptx, params, scalars = registered.aot_impl_func(*described, *made.attrs.values(), outputs, 0)
        grid, block = (
            tuple(getattr(params, f"{kind}_{axis}")._expr.value for axis in "xyz") for kind in ("grid", "block")
        )
        dtypes = {kind: dtype for dtype, kind in types(trt).items()}
        buffers = [Buffer(tuple(n._expr.value for n in one.shape_expr), dtypes[one.dtype]) for one in outputs]
        return (kernel, ptx, grid, block, [np.int32(one._expr.value) for one in scalars]), buffers

    def attached(self, node: Node, device: Device, stack: ExitStack) -> Any:
        """Make the function that runs the plugin in one context, called with addresses and a stream's handle."""
        kernel, ptx, grid, block, scalars = node.plugin
        function = stack.enter_context(Module(device.driver, ptx)).function(kernel)

        def run(inputs: list[int], outputs: list[int], handle: int) -> None:
            with Stream(device.driver, handle) as stream:
                stream.launch(function, grid, block, [*map(np.uint64, inputs), *scalars, *map(np.uint64, outputs)])

        return run

    def _shape(self, shape: tuple[int, ...]) -> Any:
        expressions = self.tensor.ShapeExprs(len(shape))
        for axis, size in enumerate(shape):
            expressions[axis] = self.tensor.ShapeExpr(size)
        return expressions


class Python:
    """TensorRT with plugins in Python: asked for shapes and formats, stored, loaded, and called for each run."""

    def __init__(self, trt: Any) -> None:
        self.trt = trt

    def plugin(self, creator: Any, fields: Any, inputs: list[Buffer]) -> tuple[Any, list[Buffer]]:
        """Make the plugin as loaded from the plan, and the outputs."""
        trt = self.trt
        built = creator.create_plugin(creator.name, fields, trt.TensorRTPhase.BUILD)
        builder = SimpleNamespace(constant=int, operation=lambda kind, a, b: self._operation(kind, a, b))
        shapes = built.get_output_shapes([one.shape for one in inputs], [], builder)
        dtypes = {kind: dtype for dtype, kind in types(trt).items()}
        kinds = built.get_output_data_types([types(trt)[one.dtype] for one in inputs])
        outputs = [Buffer(tuple(shape), dtypes[kind]) for shape, kind in zip(shapes, kinds, strict=True)]
        tensors = [trt.DynamicPluginTensorDesc() for _ in (*inputs, *outputs)]
        for tensor, buffer in zip(tensors, (*inputs, *outputs), strict=True):
            tensor.desc = self._described(buffer)
        assert all(built.supports_format_combination(at, tensors, len(inputs)) for at in range(len(tensors)))
        stored = list(built.get_fields_to_serialize())
        loaded = creator.create_plugin(creator.name, _collection(trt, stored), trt.TensorRTPhase.RUNTIME)
        _referenced(built, loaded)
        return loaded, outputs

    def attached(self, node: Node, device: Device, stack: ExitStack) -> Any:
        """Make the function that runs the plugin in one context, called with addresses and a stream's handle."""
        plugin = node.plugin.attach_to_context(None)
        _referenced(plugin)
        stack.callback(plugin.destroy)
        described = [[self._described(one.buffer) for one in side] for side in (node.inputs, node.outputs)]
        plugin.on_shape_change(*described)
        return lambda inputs, outputs, handle: plugin.enqueue(*described, inputs, outputs, 0, handle)

    def _operation(self, kind: Any, first: int, second: int) -> int:
        assert kind == self.trt.DimensionOperation.SUB
        return first - second

    def _described(self, buffer: Buffer) -> Any:
        trt, desc = self.trt, self.trt.PluginTensorDesc()
        desc.dims, desc.format, desc.type = trt.Dims(buffer.shape), trt.TensorFormat.LINEAR, types(trt)[buffer.dtype]
        return desc


Form: TypeAlias = AheadOfTime | Python
FORMS = {"ahead-of-time": AheadOfTime, "python": Python}


def _referenced(*plugins: Any) -> None:
    """Take the reference that the native library takes, which a plugin's destructor in 10.3's bindings gives back."""
    for plugin in plugins:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(plugin))


def types(trt: Any) -> dict[np.dtype[Any], Any]:
    kinds = ((np.float32, trt.float32), (np.float16, trt.float16), (np.int32, trt.int32))
    return {np.dtype(dtype): kind for dtype, kind in kinds}


_held: list[Any] = []


def _collection(trt: Any, fields: Iterable[Any]) -> Any:
    """Make a field collection as TensorRT passes it to a creator; its data lives as long as the process."""
    _held.append(list(fields))
    _held.append(trt.PluginFieldCollection(_held[-1]))
    return trt.PluginFieldCollection_(_held[-1]) if hasattr(trt, "PluginFieldCollection_") else _held[-1]


def parsed(trt: Any, form: Form, model: onnx.ModelProto, heads: Mapping[str, Buffer]) -> list[Node]:
    """Read the decode nodes of a graph as TensorRT's ONNX parser does: looked up by name, version and namespace, with
    the attributes for which the creator has a field."""
    known = {name: heads[name] for name in ("loc", "logits")}
    for constant in model.graph.initializer:
        array = numpy_helper.to_array(constant)
        known[constant.name] = Buffer(array.shape, array.dtype)
    # A result of another shape is the same memory.
    reshaped = {one.input[0]: one.output[0] for one in model.graph.node if one.op_type == "Reshape"}
    nodes = []
    for node in (one for one in model.graph.node if one.domain == DOMAIN):
        given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        name = given["plugin_version"].decode(), given["plugin_namespace"].decode()
        creator = trt.get_plugin_registry().get_creator(node.op_type, *name)
        fields = []
        for field in creator.field_names:
            dtype = {trt.PluginFieldType.INT32: np.int32, trt.PluginFieldType.FLOAT32: np.float32}[field.type]
            fields.append(trt.PluginField(field.name, np.array([given[field.name]], dtype), field.type))
        plugin, outputs = form.plugin(creator, _collection(trt, fields), [known[name] for name in node.input])
        given_names = [reshaped.get(name, name) for name in node.output]
        known.update(zip(given_names, outputs, strict=True))
        sides = ([Tensor(name, known[name]) for name in names] for names in (node.input, given_names))
        nodes.append(Node(plugin, *sides))
    return nodes

"""A process that registers the ahead-of-time plugins with TensorRT's bindings, and runs their launches on a CPU.

``python -m tests.cuda.ahead_of_time MAJOR``; it exits with 0 if all launches and results equal those of ``launch.py``.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from operator import add, floordiv, mul, sub
from typing import Any

import numpy as np

from ssd_edge.boxes import default_boxes
from ssd_edge.engines.kernels.launch import decode_launches, result_buffers
from ssd_edge.engines.plugins import ahead_of_time
from ssd_edge.engines.plugins.decode_graph import node_attributes
from tests.cuda.build import BUILD, kernel_library
from tests.engines.kernels.test_kernels import decode_on_cpu
from tests.engines.plugins.test_decode_graph import SPECS, random_heads
from tests.helpers import ROOT

PTX = b"// PTX"


class Number:
    """A dimension whose value is known: the native one has no constructor."""

    def __init__(self, value: int) -> None:
        self.value = value


class Registry:
    """Plugins registered with the native library."""

    def __init__(self) -> None:
        self.creators: dict[tuple[str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> None:
        self.creators[creator.name, namespace] = creator

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self.creators[name, namespace]


def bindings(major: str) -> Any:
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        ctypes.CDLL(str(BUILD / f"no_tensorrt-{major}" / f"lib{name}.so.{major}"), ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(ROOT / ".venv" / f"tensorrt-{major}"))
    tensorrt = sys.modules["tensorrt"] = importlib.import_module("tensorrt_bindings")
    registry = Registry()
    tensorrt.get_plugin_registry = lambda: registry
    tensorrt.IDimensionExpr = Number
    return tensorrt


def main(major: str) -> None:
    trt = bindings(major)
    ahead_of_time.register(PTX)
    assert sorted(trt.get_plugin_registry().creators) == [
        (name, "ssd_edge") for name in ("SsdDecode", "SsdMerge", "SsdSelect")
    ]
    registered = importlib.import_module("tensorrt.plugin._lib").QDP_REGISTRY
    tensor = importlib.import_module("tensorrt.plugin._tensor")
    kinds = trt.DimensionOperation
    operations = {kinds.SUM: add, kinds.SUB: sub, kinds.PROD: mul, kinds.FLOOR_DIV: floordiv}
    operations[kinds.CEIL_DIV] = lambda a, b: -(-a // b)

    class Builder:
        def constant(self, value: int) -> Number:
            return Number(value)

        def operation(self, kind: Any, first: Number, second: Number) -> Number:
            return Number(operations[kind](first.value, second.value))

    types = {
        np.dtype(np.float32): trt.float32,
        np.dtype(np.float16): trt.float16,
        np.dtype(np.int32): trt.int32,
    }
    dtypes = {kind: dtype for dtype, kind in types.items()}
    kernels = kernel_library()

    def described(array: np.ndarray, known: bool) -> Any:
        shape = tensor.ShapeExprs(array.ndim, _is_dummy=not known)
        for axis, size in enumerate(array.shape if known else ()):
            shape[axis] = tensor.ShapeExpr(size)
        return tensor.TensorDesc(shape, types[array.dtype])

    def created(operator: str, attributes: Any) -> Any:
        """Make the attributes as TensorRT's creator reads them from a graph's."""
        kinds = {int: (np.int32, trt.PluginFieldType.INT32), float: (np.float32, trt.PluginFieldType.FLOAT32)}
        fields = []
        for name, value in attributes.items():
            dtype, kind = kinds[type(value)]
            fields.append(trt.PluginField(name, np.array([value], dtype), kind))
        creator = trt.get_plugin_registry().get_creator(operator, "1", "ssd_edge")
        assert {field.name: field.type for field in creator.field_names} == {one.name: one.type for one in fields}
        request = trt.QuickPluginCreationRequest.STRICT_AOT
        given = trt.PluginFieldCollection(fields)
        return creator.create_plugin(operator, "ssd_edge", given, trt.TensorRTPhase.BUILD, request).attrs

    def run(operator: str, arrays: list[np.ndarray], scalars: Any, plan: Any) -> list[np.ndarray]:
        plugin, attributes = registered[f"ssd_edge::{operator}"], created(operator, scalars)
        tensor.SymIntExpr._exprBuilder = None  # TensorRT asks for the types before it knows a shape
        early = plugin.register_func(*(described(array, False) for array in arrays), **attributes)
        tensor.SymIntExpr._exprBuilder = Builder()
        inputs = [described(array, True) for array in arrays]
        outputs = plugin.register_func(*inputs, **attributes)
        assert [one.dtype for one in early] == [one.dtype for one in outputs]
        kernel, ptx, params, scalars = plugin.aot_impl_func(*inputs, *attributes.values(), outputs, 0)
        given = [np.full([one._expr.value for one in o.shape_expr], -7, dtypes[o.dtype]) for o in outputs]
        grid = tuple(one._expr.value for one in (params.grid_x, params.grid_y, params.grid_z))
        block = tuple(one._expr.value for one in (params.block_x, params.block_y, params.block_z))
        numbers = tuple(one._expr.value for one in scalars)
        assert (kernel, grid, block, numbers) == (plan.kernel, plan.grid, plan.block, plan.scalars)
        assert ptx == PTX
        kernels.launch(kernel, grid, block, [*arrays, *numbers, *given])
        return given

    for spec in SPECS:
        for half in (False, True):
            heads = random_heads(spec, np.float16 if half else np.float32, 3)
            attributes = node_attributes(spec)
            results = [*heads, default_boxes(spec)]
            for (operator, scalars), plan in zip(attributes.items(), decode_launches(spec, 3, half), strict=True):
                results = run(operator, results, scalars, plan)
            wanted = decode_on_cpu(kernels, spec, *heads, half)
            for name, array in zip(result_buffers(spec, 3), results, strict=True):
                assert array.dtype == wanted[name].dtype
                np.testing.assert_array_equal(array, wanted[name], name)


if __name__ == "__main__":
    main(sys.argv[1])

"""Tests of the Python plugins, run by test_python_plugins.py in a process that has TensorRT's real bindings.

Each of ``PARTS`` takes the module, and raises AssertionError on a fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ssd_edge.boxes import default_boxes
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.kernels.launch import result_buffers
from ssd_edge.engines.kernels.nodes import NODES
from ssd_edge.engines.plugins import forms
from ssd_edge.engines.plugins.decode_graph import node_attributes
from ssd_edge.engines.plugins.python_plugin import creators
from ssd_edge.errors import BackendError
from tests.cuda.emulated import use_emulated_driver
from tests.decode_nodes import in_numpy
from tests.engines.plugins.test_decode_graph import SPECS, random_heads

REFERENCE = {"SsdDecode": in_numpy.decode, "SsdSelect": in_numpy.select, "SsdMerge": in_numpy.merge}
KERNELS = b"kernels"


def collection(trt: Any, **attributes: Any) -> Any:
    """Make a field collection as TensorRT passes it to a creator; its data lives as long as the module's list."""
    kinds = {int: (np.int32, "INT32"), float: (np.float32, "FLOAT32"), list: (np.float32, "FLOAT32")}
    made = []
    for name, value in attributes.items():
        dtype, kind = kinds[type(value)]
        made.append(trt.PluginField(name, np.atleast_1d(np.array(value, dtype)), getattr(trt.PluginFieldType, kind)))
    held.append(made)
    held.append(trt.PluginFieldCollection(made))
    return trt.PluginFieldCollection_(held[-1])


held: list[Any] = []


def made(trt: Any, operator: str, kernels: bytes = KERNELS, **attributes: Any) -> Any:
    (creator,) = (one for one in creators(kernels, trt) if one.name == operator)
    return creator.create_plugin(operator, collection(trt, **attributes), trt.TensorRTPhase.BUILD)


def described(trt: Any, shape: tuple[int, ...], dtype: Any, layout: str = "LINEAR") -> Any:
    desc = trt.PluginTensorDesc()
    desc.dims, desc.format = trt.Dims(shape), getattr(trt.TensorFormat, layout)
    types = {np.dtype(np.float32): trt.float32, np.dtype(np.float16): trt.float16, np.dtype(np.int32): trt.int32}
    desc.type = types[np.dtype(dtype)]
    return desc


def dynamic(trt: Any, dtype: Any, layout: str = "LINEAR") -> Any:
    tensor = trt.DynamicPluginTensorDesc()
    tensor.desc = described(trt, (-1, 56, 4), dtype, layout)
    return tensor


def known_to_the_registry(trt: Any) -> None:
    registry: dict[tuple[str, str, str], Any] = {}

    def register(creator: Any, namespace: str) -> bool:
        key = (creator.name, creator.plugin_version, namespace)
        known = key in registry
        registry[key] = creator
        return not known

    trt.get_plugin_registry = lambda: SimpleNamespace(register_creator=register)
    forms.make_known("python", KERNELS, trt)
    forms.make_known("python", KERNELS, trt)
    assert sorted(registry) == [(name, "1", "ssd_edge") for name in ("SsdDecode", "SsdMerge", "SsdSelect")]
    for (name, _, _), creator in registry.items():
        assert isinstance(creator, trt.IPluginCreatorV3One)
        assert creator.plugin_namespace == "ssd_edge"
        fields = {field.name: field.type for field in creator.field_names}
        kinds = {int: trt.PluginFieldType.INT32, float: trt.PluginFieldType.FLOAT32}
        assert fields == {attribute: kinds[kind] for attribute, kind in NODES[name].attributes.items()}
    forms._known.clear()
    refused(lambda: forms.make_known("python", KERNELS, trt), "does not take the plugin SsdDecode")


def refused(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(BackendError, match=re.escape(sentence)):
        call()


def attributes_that_are_wrong(trt: Any) -> None:
    refused(lambda: made(trt, "SsdSelect", top_k=5), "SsdSelect has no attribute nms_iou; it takes top_k, nms_iou")
    refused(
        lambda: made(trt, "SsdSelect", top_k=5, nms_iou=0.5, soft=1),
        "SsdSelect knows no attribute soft; it takes top_k, nms_iou",
    )
    refused(
        lambda: made(trt, "SsdSelect", top_k=5.0, nms_iou=0.5), "SsdSelect's top_k is 5.0, but it has to be one int"
    )
    refused(lambda: made(trt, "SsdSelect", top_k=5, nms_iou=[0.5, 0.5]), "it has to be one float")
    refused(lambda: made(trt, "SsdMerge", max_detections=1025), "is 1025, but the GPU kernels hold 1 to 1024")
    refused(lambda: made(trt, "SsdMerge", max_detections=0), "is 0, but")


def types_and_formats(trt: Any) -> None:
    attributes = node_attributes(SPECS[0])
    single, half, integer = np.float32, np.float16, np.int32
    decode = made(trt, "SsdDecode", **attributes["SsdDecode"])
    for dtype, other in ((single, half), (half, single)):
        good = [dtype, dtype, single, single, single]
        tensors = [dynamic(trt, one) for one in good]
        assert [decode.supports_format_combination(at, tensors, 3) for at in range(5)] == [True] * 5
        for at in range(5):
            layout = [*tensors[:at], dynamic(trt, good[at], "HWC8"), *tensors[at + 1 :]]
            assert not decode.supports_format_combination(at, layout, 3)
            for wrong in {integer, half if at > 1 else other if at else integer}:
                types = [*tensors[:at], dynamic(trt, wrong), *tensors[at + 1 :]]
                assert not decode.supports_format_combination(at, types, 3), (at, wrong)
    assert decode.get_output_data_types([trt.float16] * 2 + [trt.float32]) == [trt.float32] * 2
    select, merge = (made(trt, name, **attributes[name]) for name in ("SsdSelect", "SsdMerge"))
    tensors = [dynamic(trt, one) for one in (single, single, single, single, integer)]
    assert [select.supports_format_combination(at, tensors, 2) for at in range(5)] == [True] * 5
    assert not select.supports_format_combination(1, [tensors[0], dynamic(trt, half)], 2)
    assert select.get_output_data_types([trt.float32] * 2) == [trt.float32, trt.float32, trt.int32]
    types = [trt.int32, trt.float32, trt.float32, trt.int32, trt.int32]
    assert merge.get_output_data_types([trt.float32, trt.float32, trt.int32]) == types
    assert [plugin.num_outputs for plugin in (decode, select, merge)] == [2, 3, 5]


class Builder:
    """IExprBuilder of numbers: the native one has no constructor."""

    def __init__(self, trt: Any) -> None:
        self.less = trt.DimensionOperation.SUB

    def constant(self, value: int) -> int:
        return value

    def operation(self, kind: Any, first: int, second: int) -> int:
        assert kind == self.less
        return first - second


def results_are_the_cpus(trt: Any) -> None:
    """Build, store, load and run each node with real descriptors on the emulated GPU; equal to the last bit."""
    numbers = SimpleNamespace(**{name: getattr(trt, name) for name in dir(trt) if name != "DimsExprs"}, DimsExprs=list)
    emulated = use_emulated_driver()
    (kernels,) = (c for i, c in compile_kernels("sm_86").images.items() if i.kind == "cubin")
    with Device() as device:
        for spec in SPECS:
            for half in (False, True):
                heads = random_heads(spec, np.float16 if half else np.float32, 3)
                arrays = [*heads, default_boxes(spec)]
                for operator, attributes in node_attributes(spec).items():
                    plugin = made(numbers, operator, kernels, **attributes)
                    wanted = REFERENCE[operator](*arrays, **attributes)
                    arrays = run(trt, device, stored_and_loaded(trt, plugin, kernels), arrays, wanted)
                    for actual, want in zip(arrays, wanted, strict=True):
                        np.testing.assert_array_equal(actual.view(np.int32), want.view(np.int32), operator)
                names = list(result_buffers(spec, 3))
                assert [array.shape for array in arrays] == [b.shape for b in result_buffers(spec, 3).values()], names
    assert emulated.leaks() == {}
    assert emulated.freed_while_used() == 0


def stored_and_loaded(trt: Any, plugin: Any, kernels: bytes) -> Any:
    fields = plugin.clone().get_capability_interface(trt.PluginCapabilityType.RUNTIME).get_fields_to_serialize()
    values = {field.name: field.data[0].item() for field in fields}
    loaded = made(trt, plugin.plugin_name, kernels, **values)
    assert loaded.attributes == plugin.attributes
    loaded.shapes_by = plugin.get_output_shapes
    return loaded


def run(trt: Any, device: Device, plugin: Any, arrays: list[Any], wanted: Any) -> list[Any]:
    shapes = plugin.shapes_by([array.shape for array in arrays], [], Builder(trt))
    given = [np.full(shape, -7, want.dtype) for shape, want in zip(shapes, wanted, strict=True)]
    inputs, outputs = ([described(trt, a.shape, a.dtype) for a in side] for side in (arrays, given))
    attached = plugin.attach_to_context(None)
    with device.stream() as stream:
        buffers = [device.buffer(array.nbytes) for array in (*arrays, *given)]
        for buffer, array in zip(buffers, arrays, strict=False):
            stream.upload(buffer, array)
        attached.on_shape_change(inputs, outputs)
        addresses = [buffer.address for buffer in buffers]
        count = len(arrays)
        attached.enqueue(inputs, outputs, addresses[:count], addresses[count:], 0, stream.handle)
        for buffer, array in zip(buffers[count:], given, strict=True):
            stream.download(array, buffer)
        stream.synchronize()
        attached.destroy()
        attached.destroy()
        for buffer in buffers:
            buffer.close()
    return given


PARTS = (known_to_the_registry, attributes_that_are_wrong, types_and_formats, results_are_the_cpus)

"""Append decode to heads.onnx as three nodes, for runtimes that have the kernels.

The nodes are ``SsdDecode`` → ``SsdSelect`` → ``SsdMerge``, in the project's own domain. Their inputs and outputs are
the buffers of ``launch.py``, their attributes are the kernels' scalars, and the default boxes are a constant of the
graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ssd_edge.boxes import default_boxes
from ssd_edge.engines.kernels.launch import Buffer, between_buffers, check_limits, result_buffers
from ssd_edge.errors import ModelError
from ssd_edge.spec import ModelSpec

if TYPE_CHECKING:
    import onnx

DOMAIN = "ssd_edge"
VERSION = 1
"""Version of the domain; the meaning of an operator never changes within a version."""

TENSORRT_NAME = {"plugin_namespace": DOMAIN, "plugin_version": "1"}
"""Attributes by which TensorRT's ONNX parser finds a node's plugin; it ignores the domain."""

DEFAULTS = "defaults"
"""The name of the default boxes, (A, 4) float32 cxcywh, in the graph."""

INTERFACE = "2"
"""Version of the graph's input and outputs: 2 takes an FP32 image and gives counts as (B, 1); 1, an FP16 image in a
network in FP16, and counts as (B,)."""


def result_tensors(spec: ModelSpec, batch: int) -> Mapping[str, Buffer]:
    """Describe the graph's outputs: the buffers that merge writes, with ``num_detections`` and ``num_cut`` as (B, 1).

    DeepStream's nvinfer leaves out the batch, and up to release 6 has no memory for an output without further
    dimensions.
    """
    return {
        name: Buffer((*buffer.shape, 1) if len(buffer.shape) == 1 else buffer.shape, buffer.dtype)
        for name, buffer in result_buffers(spec, batch).items()
    }


def node_attributes(spec: ModelSpec) -> Mapping[str, Mapping[str, int | float]]:
    """List the attributes of each decode node by operator, in the order of the kernel's scalars.

    The kernel's other scalars come from the shapes of its inputs.
    """
    return {
        "SsdDecode": {
            "is_yxhw": int(spec.box_order == "yxhw"),
            "is_sigmoid": int(spec.score_function == "sigmoid"),
            "is_clipped": int(spec.clip_boxes == "before-nms"),
            "score_threshold": spec.score_threshold,
            "centre_variance": spec.variances[0],
            "size_variance": spec.variances[1],
        },
        "SsdSelect": {"top_k": spec.top_k, "nms_iou": spec.nms_iou},
        "SsdMerge": {"max_detections": spec.max_detections},
    }


def with_decode(heads: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Copy heads and append decode; outputs: ``num_detections``, ``boxes``, ``scores``, ``classes``, ``num_cut``.

    The input ``image`` becomes float32, which DeepStream's nvinfer and most clients write; heads in float16 get a Cast.

    Args:
        heads: heads with outputs ``loc`` (B, A, 4) and ``logits`` (B, A, C), both float32 or both float16; B may be a
            name.
        spec: gives the geometry and the scalars.

    Raises:
        ModelError: the heads do not fit the spec, or already use a name that decode needs.
        BackendError: the model is beyond the kernels' limits.
    """
    import onnx
    from onnx import helper, numpy_helper

    check_limits(spec)
    batch = _check_heads(heads, spec)
    model = onnx.ModelProto()
    model.CopyFrom(heads)
    graph = model.graph
    between, results = between_buffers(spec, 1), result_tensors(spec, 1)
    merged = {name: _MERGED + name if name in _COUNTS else name for name in results}
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    used |= {value.name for value in (*graph.input, *graph.initializer)}
    for name in (DEFAULTS, _IMAGE_IN_HALF, _COUNT_SHAPE, *between, *results, *(_MERGED + name for name in _COUNTS)):
        if name in used:
            raise ModelError(f"the network already has a tensor {name!r}, a name that decode needs: rename it")

    def described(buffers: Mapping[str, Buffer]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(buffer.dtype), [batch, *buffer.shape[1:]]
            )
            for name, buffer in buffers.items()
        ]

    inputs = (("loc", "logits", DEFAULTS), tuple(between)[:2], tuple(between)[2:])
    outputs = (tuple(between)[:2], tuple(between)[2:], tuple(merged.values()))
    operators = node_attributes(spec).items()
    for (operator, attributes), taken, given in zip(operators, inputs, outputs, strict=True):
        graph.node.append(
            helper.make_node(operator, taken, given, name=operator, domain=DOMAIN, **TENSORRT_NAME, **attributes)  # type: ignore[arg-type]
        )
    for name in _COUNTS:
        graph.node.append(helper.make_node("Reshape", [merged[name], _COUNT_SHAPE], [name], name=f"shape of {name}"))
    graph.initializer.append(numpy_helper.from_array(np.array([-1, 1], np.int64), _COUNT_SHAPE))
    graph.initializer.append(numpy_helper.from_array(default_boxes(spec), DEFAULTS))
    _take_single(graph)
    known = {value.name for value in graph.value_info}
    graph.value_info.extend([value for value in graph.output if value.name not in known])
    graph.value_info.extend(described(between))
    del graph.output[:]
    graph.output.extend(described(results))
    model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    onnx.checker.check_model(model)
    return model


_COUNTS = ("num_detections", "num_cut")
_MERGED = "merged_"
_COUNT_SHAPE, _IMAGE_IN_HALF = "count_shape", "image_in_half"


def _take_single(graph: onnx.GraphProto) -> None:
    """Make the input ``image`` float32, with a Cast where the network takes float16."""
    from onnx import TensorProto, helper

    for value in graph.input:
        if value.name != "image" or value.type.tensor_type.elem_type != TensorProto.FLOAT16:
            continue
        value.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == value.name:
                    node.input[place] = _IMAGE_IN_HALF
        cast = helper.make_node("Cast", [value.name], [_IMAGE_IN_HALF], name=_IMAGE_IN_HALF, to=TensorProto.FLOAT16)
        graph.node.insert(0, cast)


def _check_heads(heads: onnx.ModelProto, spec: ModelSpec) -> int | str:
    """Check that heads fit a spec, and return their batch: a number or a name."""
    from onnx import TensorProto

    types = {value.name: value.type.tensor_type for value in heads.graph.output}
    wanted = {"loc": 4, "logits": spec.num_classes}
    if sorted(types) != sorted(wanted):
        raise ModelError(f"heads must have the outputs loc and logits, but this network has {', '.join(sorted(types))}")
    batches: list[int | str] = []
    for name, width in wanted.items():
        shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in types[name].shape.dim]
        if len(shape) != 3 or shape[1:] != [spec.num_default_boxes, width]:
            raise ModelError(
                f"{name} is ({', '.join(map(str, shape))}), but {spec.num_default_boxes} default boxes and "
                f"{len(spec.labels)} labels ask for (B, {spec.num_default_boxes}, {width}): "
                "the network and its spec do not belong together"
            )
        batches.append(shape[0])
    kinds = [types[name].elem_type for name in wanted]
    if kinds not in ([TensorProto.FLOAT] * 2, [TensorProto.FLOAT16] * 2):
        named = " and ".join(TensorProto.DataType.Name(kind) for kind in kinds)
        raise ModelError(f"loc and logits must both be FLOAT or both FLOAT16, but they are {named}")
    if batches[0] != batches[1]:
        raise ModelError(f"loc and logits must have the same batch, but have {batches[0]} and {batches[1]}")
    return batches[0]

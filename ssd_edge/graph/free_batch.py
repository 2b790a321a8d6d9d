"""Convert heads with a batch of 1 to a free batch, for plans that take several images at once.

``ssd-edge export`` writes a batch of 1 into the shapes of inputs and outputs, and PyTorch's exporter also writes it
into the constants of Reshape nodes. Nothing else in heads depends on it.
"""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

from ssd_edge.errors import ModelError

BATCH = "B"


def with_free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy heads with ``B`` as the first dimension of the image and of every output; their batch may be free already.

    Raises:
        ModelError: the batch is fixed to a number other than 1, or a node depends on it.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    for value in (*graph.input, *graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_value > 1:
            raise ModelError(
                f"these heads take {first.dim_value} images at once and no other number: export them again"
            )
        first.dim_param = BATCH
    del graph.value_info[:]  # these shapes still have the old batch
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            _free(node, constants[node.input[1]], graph)
    return _checked(freed)


def _free(node: onnx.NodeProto, target: onnx.TensorProto, graph: onnx.GraphProto) -> None:
    """Make a Reshape to (1, …) keep the first dimension of its input: 0 means that, unless ``allowzero`` is set."""
    shape = numpy_helper.to_array(target).copy()
    if shape.size < 2 or shape[0] != 1 or not shape.all():
        return
    shape[0] = 0
    name = f"{node.output[0]}.free"
    graph.initializer.append(numpy_helper.from_array(shape, name))
    node.input[1] = name
    others = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
    del node.attribute[:]
    node.attribute.extend([*others, helper.make_attribute("allowzero", 0)])


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Check that the free batch reaches every output from the image, and return the model."""
    wanted = {value.name: value for value in model.graph.output}
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")  # so that the shape is inferred, not taken from the declaration
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"{_ONE_IMAGE}: {' '.join(str(error).split())}") from None
    for value in inferred.graph.output:
        if _dims(value) != _dims(wanted[value.name]):
            raise ModelError(f"{_ONE_IMAGE}: {value.name} comes out as ({', '.join(map(str, _dims(value)))})")
    return model


_ONE_IMAGE = "a node of these heads holds the batch at one image: build them without --max-batch"


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]

"""Heads with a free batch, compared in ONNX Runtime, which adds in another order for several images."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from ssd_edge.errors import ModelError
from ssd_edge.graph.free_batch import with_free_batch
from tests.models_for_tests import quantised, tiny_model

TOLERANCE = 1e-5


def run(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["loc", "logits"], {"image": images})


def as_pytorch_writes(model: onnx.ModelProto) -> onnx.ModelProto:
    """With ``allowzero``, by which a 0 would be a length."""
    for node in model.graph.node:
        if node.op_type == "Reshape":
            node.attribute.append(helper.make_attribute("allowzero", 1))
    return model


def as_exported(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the shape of every tensor in the file, for one image."""
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.mark.parametrize(
    "make",
    [
        tiny_model,
        lambda: as_pytorch_writes(tiny_model()),
        lambda: as_exported(tiny_model()),
        lambda: quantised(tiny_model()),
    ],
    ids=["plain", "allowzero", "all shapes", "INT8"],
)
def test_several_images_give_what_each_gives(make):
    model = make()
    images = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    alone = [run(model, image[None]) for image in images]
    before = model.SerializeToString()
    free = with_free_batch(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(free, full_check=True)
    for several, ones in zip(run(free, images), zip(*alone, strict=True), strict=True):
        assert several.shape[0] == 3
        np.testing.assert_allclose(several, np.concatenate(ones), atol=TOLERANCE, rtol=0)
    assert with_free_batch(free).graph.output == free.graph.output


def test_a_node_that_depends_on_the_batch_is_an_error():
    model = tiny_model()
    concat = next(node for node in model.graph.node if "logits" in node.output)
    concat.output[0] = "before"
    classes = model.graph.output[1].type.tensor_type.shape.dim[2].dim_value
    model.graph.node.append(helper.make_node("Slice", ["before", "from", "to", "axis"], ["logits"]))
    for name, value in (("from", 0), ("to", 1), ("axis", 0)):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray([value], np.int64), name))
    with pytest.raises(
        ModelError, match=rf"holds the batch at one image: .* logits comes out as \(.*, 56, {classes}\)"
    ):
        with_free_batch(model)


def test_a_batch_of_several_is_an_error():
    model = tiny_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(ModelError, match="these heads take 2 images at once and no other number"):
        with_free_batch(model)

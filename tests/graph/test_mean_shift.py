"""Biases that absorb the mean shift caused by coarser weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ssd_edge.graph.mean_shift import absorb_shift
from ssd_edge.graph.seven_bits import with_seven_bits
from tests.engines.integer_heads import images, layers, write_integer_heads

pytestmark = pytest.mark.int8


def load(path, **layout):
    return onnx.load(write_integer_heads(path / "heads.onnx", **layout))


def inputs(model, image):
    """Return the input and the output of each convolution, by the name of its output."""
    import onnxruntime

    wider = onnx.ModelProto()
    wider.CopyFrom(model)
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    names = list(dict.fromkeys(name for node in nodes for name in (node.input[0], node.output[0])))
    present = {value.name for value in model.graph.output}
    wider.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(wider.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(zip(names, session.run(names, {"image": image}), strict=True))
    return {node.output[0]: (values[node.input[0]], values[node.output[0]]) for node in nodes}


def bias_of(model, name):
    (node,) = (node for node in model.graph.node if node.output[0] == name)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return constants[node.input[2]]


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_shift_is_the_weights_change_times_the_mean_input(tmp_path, unsigned, per_channel):
    """The reference is the definition in float64; biases are float32, so the tolerance is 2⁻²² of the largest."""
    before, model = (load(tmp_path, unsigned=unsigned, per_channel=per_channel) for _ in range(2))
    with_seven_bits(model)
    assert absorb_shift(model, before, images()) == 5
    onnx.checker.check_model(model, full_check=True)
    seen = [inputs(before, image) for image in images()]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for one in layers(per_channel):
        output = f"{one.name}_sum" if one.relu else one.name
        means = np.mean([values[output][0].mean(axis=(0, 2, 3), dtype=np.float64) for values in seen], axis=0)
        step = 2.0 ** one.exponents.astype(np.float64)[:, None, None, None]
        seven = constants[f"{one.name}_steps_7bit"].astype(np.float64)
        scale = constants[f"{one.name}_steps_7bit_scale"].astype(np.float64)
        scale = scale.reshape(-1, 1, 1, 1) if scale.ndim else scale
        change = (seven * scale - one.steps * step).sum(axis=(2, 3))
        wanted = -(change[:, 0] * means if one.depthwise else change @ means)
        np.testing.assert_allclose(bias_of(model, output), wanted, rtol=0, atol=np.abs(wanted).max() * 2**-22)


def test_outputs_of_a_1x1_convolution_keep_their_mean(tmp_path):
    """Without a border, mean outputs differ only by rounding of sums; without the correction they differ by steps."""
    before, model, left = (load(tmp_path) for _ in range(3))
    for one in (model, left):
        with_seven_bits(one)
    absorb_shift(model, before, images())

    def off(other):
        """Compute the head's mean differences for the input that it had before."""
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in other.graph.initializer}
        weight = constants["loc_map_steps_7bit"] * constants["loc_map_steps_7bit_scale"].reshape(-1, 1, 1, 1)
        bias = bias_of(other, "loc_map") if other is model else np.zeros(len(weight))
        differences = []
        for image in images():
            given, wanted = inputs(before, image)["loc_map"]
            computed = np.einsum("nihw,oi->nohw", given.astype(np.float64), weight[:, :, 0, 0]) + bias[:, None, None]
            differences.append((computed - wanted).mean(axis=(0, 2, 3)))
        return float(np.abs(np.mean(differences, axis=0)).max())

    assert off(left) > 1e-2
    assert off(model) < 1e-5


def test_nothing_changes_without_images_or_coarser_weights(tmp_path):
    model = load(tmp_path)
    text = model.SerializeToString()
    assert absorb_shift(model, load(tmp_path), []) == 0
    assert model.SerializeToString() == text


def test_a_bias_that_is_there_is_kept_and_one_that_is_computed_left_alone(tmp_path):
    before, model = load(tmp_path), load(tmp_path)
    bias = np.linspace(-3, 3, 42).astype(np.float32)
    for one in (before, model):
        one.graph.initializer.append(numpy_helper.from_array(bias, "bias"))
        (node,) = (node for node in one.graph.node if node.output[0] == "logits_map")
        node.input.append("bias")
        (computed,) = (node for node in one.graph.node if node.output[0] == "loc_map")
        one.graph.node.insert(0, onnx.helper.make_node("Sub", ["first_zero_bias", "first_zero_bias"], ["computed"]))
        one.graph.initializer.append(numpy_helper.from_array(np.ones(56, np.float32), "first_zero_bias"))
        computed.input.append("computed")
    plain = load(tmp_path)
    with_seven_bits(model)
    with_seven_bits(plain)
    assert absorb_shift(model, before, images()) == 4
    absorb_shift(plain, load(tmp_path), images())
    np.testing.assert_allclose(bias_of(model, "logits_map"), bias_of(plain, "logits_map") + bias, rtol=0, atol=1e-5)
    (node,) = (node for node in model.graph.node if node.output[0] == "loc_map")
    assert node.input[2] == "computed"

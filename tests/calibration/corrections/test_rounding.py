"""Learned rounding compared with rounding to the nearest, and its windows with ONNX Runtime's convolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ssd_edge.calibration.corrections.rounding import can_learn, learned, round_by_output, windows
from ssd_edge.calibration.network.network import prepare
from ssd_edge.calibration.network.qdq import quantised_weights
from ssd_edge.calibration.scales.find import observe_images, scales_of
from ssd_edge.calibration.scales.observe import session
from ssd_edge.graph.fp32 import initializers, to_array


def output_error(weight, scale, steps, inputs, input_scale):
    on_grid = np.clip(np.rint(inputs / input_scale), -127, 127) * input_scale
    return ((on_grid @ (steps * scale[:, None]).T - inputs @ weight.T) ** 2).mean(axis=0)


@pytest.fixture
def layer():
    """Weight with correlated inputs, as activations are: 64 inputs from 6 sources."""
    rng = np.random.default_rng(0)
    inputs = np.maximum(rng.normal(0, 1, (2000, 6)) @ rng.normal(0.3, 1, (6, 64)), 0).astype(np.float32)
    weight = rng.normal(0, 0.1, (16, 64)).astype(np.float32)
    scale = (np.abs(weight).max(axis=1) / 7).astype(np.float32)  # coarse, so that rounding matters
    return weight, scale, inputs, float(inputs.max() / 127)


def test_the_output_is_closer_than_by_rounding_to_the_nearest(layer):
    weight, scale, inputs, input_scale = layer
    nearest = np.rint(weight / scale[:, None])
    steps = round_by_output(weight, scale, inputs[:1000], input_scale)
    before, after = (output_error(weight, scale, s, inputs[1000:], input_scale) for s in (nearest, steps))
    assert after.mean() < 0.35 * before.mean()  # on inputs that learning has not seen


def test_each_weight_goes_to_the_point_above_or_below_it(layer):
    weight, scale, inputs, input_scale = layer
    steps = round_by_output(weight, scale, inputs, input_scale)
    assert steps.dtype == np.int8
    assert (np.abs(steps - weight / scale[:, None]) < 1 + 1e-5).all()


def test_a_channel_that_gains_nothing_stays_rounded_to_the_nearest(layer):
    weight, scale, _, input_scale = layer
    silent = np.zeros((50, 64), np.float32)
    np.testing.assert_array_equal(
        round_by_output(weight, scale, silent, input_scale), np.rint(weight / scale[:, None]).astype(np.int8)
    )


def conv_net(path: Path, **attributes) -> Path:
    rng = np.random.default_rng(1)
    weight = numpy_helper.from_array(rng.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32), "w")
    node = helper.make_node("Conv", ["image", "w"], ["loc"], "conv", **attributes)
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 12, 10])],
        [helper.make_tensor_value_info("loc", onnx.TensorProto.FLOAT, None)],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "pads": [0, 1, 1, 0]},
        {"dilations": [2, 3], "pads": [2, 3, 2, 3]},
    ],
)
def test_windows_times_weight_are_outputs_of_the_convolution(tmp_path, attributes):
    network = prepare(conv_net(tmp_path / "net.onnx", **attributes))
    assert can_learn(network) == ["conv"]
    image = np.random.default_rng(2).normal(0, 1, (1, 3, 12, 10)).astype(np.float32)
    seen = windows(network, ["conv"], [image], per_image=40)["conv"]
    weight = to_array(initializers(network.model)["w"]).reshape(8, -1)
    (output,) = session(network.model.SerializeToString()).run(None, {"image": image})
    everywhere = output[0].reshape(8, -1).T
    for row in seen @ weight.T:
        assert np.abs(everywhere - row).max(axis=1).min() < 1e-4


def test_weights_keep_their_grid_and_their_shape(tmp_path):
    network = prepare(conv_net(tmp_path / "net.onnx", pads=[1, 1, 1, 1]))
    images = [np.random.default_rng(k).normal(0, 1, (1, 3, 12, 10)).astype(np.float32) for k in range(4)]
    scales = scales_of(network, observe_images(network, images), "min-max")
    weights = quantised_weights(network.model, network.placement)
    told: list[tuple[int, int]] = []
    result = learned(network, scales, weights, windows(network, ["conv"], images), lambda *step: told.append(step))
    assert result["w"].steps.shape == (8, 3, 3, 3)
    np.testing.assert_array_equal(result["w"].scale, weights["w"].scale)
    assert told == [(1, 1)]

"""Equalisation: computes the same to the last bit, with the ranges of channels closer together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ssd_edge.calibration.corrections.equalise import channel_ranges, equalise, equalised, joints
from ssd_edge.calibration.network.network import prepare
from ssd_edge.calibration.network.quantise import quantise
from ssd_edge.calibration.scales.find import observe_images, scales_of
from ssd_edge.calibration.scales.observe import session

SIZES = np.asarray([1.0, 0.2, 3.0, 0.01], np.float32)
"""Factors that make the four channels between the convolutions differ in size."""


def net(path: Path, activation: str, second: str = "dense", ceiling: float = 6.0) -> Path:
    """Build a net: image → conv (channels of very different size) → activation → conv."""
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.5, (4, 3, 3, 3)) * SIZES[:, None, None, None]
    shape = (4, 1, 3, 3) if second == "depthwise" else (5, 4, 3, 3)
    weights = {
        "w1": first,
        "b1": rng.uniform(0, 0.5, 4) * SIZES,
        "w2": rng.normal(0, 0.5, shape),
        "low": np.float32(0),
        "high": np.float32(ceiling),
    }
    middle = {
        "relu": [helper.make_node("Relu", ["a"], ["b"], "act")],
        "relu6": [helper.make_node("Clip", ["a", "low", "high"], ["b"], "act")],
        "none": [helper.make_node("Identity", ["a"], ["b"], "act")],
        "sigmoid": [helper.make_node("Sigmoid", ["a"], ["b"], "act")],
    }[activation]
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["a"], "first", pads=[1, 1, 1, 1]),
        *middle,
        helper.make_node("Conv", ["b", "w2"], ["loc"], "second", group=4 if second == "depthwise" else 1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("loc", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def images(number: int = 6, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (1, 3, 8, 8)).astype(np.float32) for _ in range(number)]


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    return session(model.SerializeToString()).run(None, {"image": image})[0]


@pytest.mark.parametrize("second", ["dense", "depthwise"])
@pytest.mark.parametrize("activation", ["relu", "relu6", "none"])
def test_it_computes_the_same_bits(tmp_path, activation, second):
    model = prepare(net(tmp_path / "net.onnx", activation, second)).model
    (joint,) = joints(model)
    ranges = channel_ranges(model, [joint.tensor], images())
    changed = equalised(model, ranges)
    for image in images():
        np.testing.assert_array_equal(run(changed, image), run(model, image))
    before, after = (channel_ranges(m, [joint.tensor], images())[joint.tensor] for m in (model, changed))
    assert (after >= before).all()
    assert after.max() / after.min() < 0.3 * before.max() / before.min()


def test_relu6_never_clips_more_on_the_images(tmp_path):
    """Channel 2 is clipped already; the others may grow only up to the ceiling."""
    model = prepare(net(tmp_path / "net.onnx", "relu6", ceiling=2.0)).model
    (joint,) = joints(model)
    assert joint.ceiling == 2.0
    ranges = channel_ranges(model, [joint.tensor], images())
    assert ranges[joint.tensor].max() == 2.0
    changed = equalised(model, ranges)
    for image in images():
        np.testing.assert_array_equal(run(changed, image), run(model, image))


def test_activations_that_do_not_scale_are_left_alone(tmp_path):
    assert joints(prepare(net(tmp_path / "net.onnx", "sigmoid")).model) == []


def test_a_channel_that_is_always_zero_stays_finite(tmp_path):
    model = prepare(net(tmp_path / "net.onnx", "relu")).model
    (joint,) = joints(model)
    changed = equalised(model, {joint.tensor: np.asarray([1, 0, 2, 0], np.float32)})
    assert np.isfinite(run(changed, images(1)[0])).all()
    nothing = equalised(model, {joint.tensor: np.zeros(4, np.float32)})
    np.testing.assert_array_equal(run(nothing, images(1)[0]), run(model, images(1)[0]))


def test_int8_is_closer_to_fp32(tmp_path):
    network = prepare(net(tmp_path / "net.onnx", "relu"))
    errors = []
    for name, one in (("plain", network), ("equal", equalise(network, images()))):
        scales = scales_of(one, observe_images(one, images()), "min-max")
        quantise(one, scales, tmp_path / f"{name}.onnx")
        int8 = onnx.load(tmp_path / f"{name}.onnx")
        errors.append(sum(((run(int8, i) - run(network.model, i)) ** 2).mean() for i in images(8, seed=7)))
    assert errors[1] < 0.8 * errors[0]

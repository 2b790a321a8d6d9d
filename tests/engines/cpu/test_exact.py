"""INT8 files are computed exactly on any processor; engines with 8-bit weights are not, on one without VNNI."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from ssd_edge.graph.seven_bits import LARGEST, parent_weights, rerounded, with_seven_bits
from tests import integers
from tests.helpers import ROOT
from tests.models_for_tests import quantised, tiny_model

pytestmark = pytest.mark.int8

BEYOND_2_24 = 127 * 128 * 9 * integers.CHANNELS
"""The largest sum in steps: below 2^24, so exact in float32."""


def test_no_sum_is_rounded():
    assert BEYOND_2_24 < 1 << 24


def on(instructions, folder):
    """Run the network in all engines, with OpenVINO limited to these instructions."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions} if instructions else dict(os.environ)
    command = [sys.executable, "-m", "tests.integers", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=["", "AVX2", "SSE41"])
def measured(request, tmp_path_factory):
    if request.param and os.uname().machine != "x86_64":
        pytest.skip("only x86 can play a lesser x86")
    return request.param, on(request.param, tmp_path_factory.mktemp("integers"))


@pytest.mark.slow
def test_exact_is_exact_to_the_last_bit(measured):
    assert measured[1]["exact"] == 0


def test_calibration_is_exact_too(measured):
    assert measured[1]["calibration"] == 0


def test_seven_bits_do_not_saturate(measured):
    """Scales of 127/63 are no powers of two, so a value may round to the next step: 144 such steps are 2 %, at most."""
    assert measured[1]["openvino, 7 bits"] < 0.02


def test_the_check_sees_saturation(measured):
    instructions, errors = measured
    if instructions == "AVX2":
        assert errors["openvino, 8 bits"] > 0.1


# Seven bits.


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_rounding_once_is_within_half_a_step_and_twice_within_a_whole(channels, inputs, seed):
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1, (channels, inputs)).astype(np.float32)
    scale = np.maximum(np.abs(weight).max(axis=1) / 127, np.float32(1e-6)).astype(np.float32)
    steps = np.clip(np.rint(weight / scale[:, None]), -127, 127).astype(np.int8)
    for known, most in ((weight, 0.5), (None, 0.75)):  # 0.5 of the old step is a quarter of the new one
        seven, coarser = rerounded(steps, scale, known)
        assert np.abs(seven).max() <= LARGEST
        np.testing.assert_allclose(coarser, scale * 127 / 63, rtol=1e-6)
        assert np.all(np.abs(seven * coarser[:, None] - weight) <= (most + 1e-3) * coarser[:, None])


def test_one_scale_for_all_channels():
    seven, coarser = rerounded(np.asarray([[127, -64], [1, 0]], np.int8), np.float32(0.5))
    assert seven.tolist() == [[63, -32], [0, 0]]
    assert coarser == pytest.approx(127 / 126)


def weights_of(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_all_weights_of_a_model():
    fp32 = tiny_model()
    model = quantised(fp32)
    before = weights_of(model)
    number, of_parent = with_seven_bits(model)
    assert (number, of_parent) == (8, 0)
    onnx.checker.check_model(model)
    after = weights_of(model)
    new = [name for name in after if name.endswith("_7bit")]
    assert len(new) == number
    for name in new:
        old = name.removesuffix("_7bit")
        assert old not in after
        assert np.abs(after[name]).max() <= LARGEST
        values = after[name] * after[f"{old}_7bit_scale"].reshape(-1, 1, 1, 1)
        scale = before[old.replace(".q", ".steps")].reshape(-1, 1, 1, 1)
        assert np.abs(values - before[old] * scale).max() <= scale.max() * 127 / 63 / 2 * 1.01


def test_the_parents_weights_are_rounded_once():
    fp32 = tiny_model()
    model = quantised(fp32)
    parent = {f"{name.removesuffix('_quantised')}.q": array for name, array in parent_weights(fp32).items()}
    assert with_seven_bits(model, parent) == (8, 8)
    for name, array in weights_of(model).items():
        if name.endswith("_7bit"):
            weight, scale = parent[name.removesuffix("_7bit")], weights_of(model)[f"{name}_scale"].reshape(-1, 1, 1, 1)
            assert np.all(np.abs(array * scale - weight) <= 0.501 * scale)


def test_a_parent_of_other_weights_is_not_taken():
    model = quantised(tiny_model())
    other = {
        f"{name.removesuffix('_quantised')}.q": array for name, array in parent_weights(tiny_model(seed=1)).items()
    }
    assert with_seven_bits(model, other) == (8, 0)


def test_unsigned_weights_and_those_that_fit_stay():
    model = quantised(tiny_model())
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".q"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) // 3, tensor.name))
    before = model.SerializeToString()
    assert with_seven_bits(model) == (0, 0)
    assert model.SerializeToString() == before


def test_biases_in_int32_become_floats():
    """Their step is that of input times weight, by which ONNX Runtime takes them as they are."""
    model = quantised(tiny_model())
    (conv,) = [node for node in model.graph.node if node.name == "stem/Conv"]
    constants = {
        "b.q": np.arange(8, dtype=np.int32),
        "b.step": np.full(8, 0.25, np.float32),
        "b.z": np.zeros(8, np.int32),
    }
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["b.q", "b.step", "b.z"], ["b.dq"], axis=0))
    conv.input[2] = "b.dq"
    with_seven_bits(model)
    np.testing.assert_array_equal(weights_of(model)[conv.input[2]], np.arange(8) * np.float32(0.25))
    assert "b.q" not in weights_of(model)


def test_float_weights_behind_their_own_quantise():
    """As Model Optimizer writes them: Q and DQ with a float constant before."""
    model = quantised(tiny_model())
    arrays = weights_of(model)
    (dequantise,) = [node for node in model.graph.node if node.input and node.input[0] == "stem.weight.q"]
    weight = (arrays["stem.weight.q"] * arrays["stem.weight.steps"].reshape(-1, 1, 1, 1)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "stem.float"))
    model.graph.node.insert(
        0, helper.make_node("QuantizeLinear", ["stem.float", *dequantise.input[1:]], ["stem.q"], axis=0)
    )
    dequantise.input[0] = "stem.q"
    assert with_seven_bits(model)[0] == 8
    scale = weights_of(model)[dequantise.input[1]]
    assert np.abs(np.rint(weight / scale.reshape(-1, 1, 1, 1))).max() == LARGEST

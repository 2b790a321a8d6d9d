"""Placement of pairs, and that the resulting files compute the same on every runtime."""

from __future__ import annotations

import numpy as np
import onnx
import openvino
import pytest

from ssd_edge.calibration.network.network import prepare
from ssd_edge.calibration.network.placement import place
from ssd_edge.calibration.network.policy import Policy, choose, first_convolutions, last_convolutions
from ssd_edge.calibration.scales.find import observe_images, scales_of
from ssd_edge.errors import CalibrationError
from ssd_edge.graph.fp32 import read_heads
from tests.calibration.chain import calibrate
from tests.calibration.nets import run, saved
from tests.calibration.patterns import PATTERNS, network, op, pattern, pictures
from tests.calibration.rtx import plan_of
from tests.helpers import for_this_processor, shared

pytestmark = pytest.mark.int8

EXPECTED = {
    "chain": {"image": ["a"], "r": ["b"]},
    "residual": {"image": ["stem"], "skip": ["a", "sum"], "a": ["b"], "sum": ["out"]},
    "residual with an activation": {"image": ["skip"], "skip": ["a", "sum"], "r": ["out"]},
    "two convolutions added": {"image": ["short", "a"], "short": ["sum"], "a": ["long"], "sum": ["out"]},
    "two convolutions added, with an activation": {"image": ["short", "long"], "short": ["sum"], "r": ["out"]},
    "a sum that is an output": {"image": ["a"], "a": ["b"]},
    "max pool": {"image": ["a"], "a": ["pool"], "pool": ["out"]},
    "max pool read in float too": {"image": ["a"], "pool": ["out"]},
    "average pool": {"image": ["a"], "a": ["pool"], "pool": ["out"]},
    "squeeze and excitation": {"image": ["a"], "pool": ["gate"], "scaled": ["out"]},
    "concatenation": {
        "image": ["a", "b"],
        "a": ["joined"],
        "b": ["c", "joined"],
        "c": ["joined"],
        "joined": ["out"],
    },
    "concatenation with an activation": {"image": ["a", "b"], "r": ["out"]},
    "concatenation of concatenations": {
        "image": ["a"],
        "a": ["b", "two"],
        "b": ["two"],
        "two": ["c", "three"],
        "c": ["three"],
        "three": ["out"],
    },
    "heads joined": {"image": ["a"], "a": ["one", "two"]},
    "depthwise": {"image": ["a"], "e": ["out"]},
}
"""Readers of each tensor through its pair, worked out by hand from the rules of NVIDIA's documentation."""

SHARED = {
    "max pool": {"a": "pool"},
    "concatenation": {"a": "joined", "b": "joined", "c": "joined"},
    "concatenation of concatenations": {"a": "three", "b": "three", "two": "three", "c": "three"},
}
"""For tensors whose scale comes from another tensor's histogram: the name of that tensor."""


@pytest.mark.parametrize("name", PATTERNS)
def test_pairs_are_placed_by_the_rules(name):
    model = pattern(name)
    placement = place(model, choose(model, Policy()))
    assert {tensor: [node for node, _ in uses] for tensor, uses in placement.readers.items()} == EXPECTED[name]
    assert {tensor: of for tensor, of in placement.scale_of.items() if of != tensor} == SHARED.get(name, {})
    assert placement.int8_nodes == {tensor for tensor in ("joined", "two", "three") if tensor in EXPECTED[name]}


@pytest.mark.parametrize(
    ("name", "output", "readers"),
    [
        ("residual", "b", {"image": ["stem"], "skip": ["a"], "a": ["b"], "sum": ["out"]}),
        ("two convolutions added", "long", {"image": ["short", "a"], "a": ["long"], "long": ["sum"], "sum": ["out"]}),
        ("max pool", "pool", {"image": ["a"], "pool": ["out"]}),
        ("average pool", "a", {"image": ["a"], "pool": ["out"]}),
    ],
)
def test_a_tensor_that_is_also_an_output_is_needed_in_float(name, output, readers):
    """A convolution whose own result is an output does not fuse with an add."""
    model = network(PATTERNS[name], output)
    placement = place(model, choose(model, Policy()))
    assert {tensor: [node for node, _ in uses] for tensor, uses in placement.readers.items()} == readers


@pytest.mark.parametrize("name", PATTERNS)
def test_tensors_that_share_a_scale_get_the_same(name, tmp_path):
    prepared = prepare(saved(pattern(name), tmp_path))
    scales = scales_of(prepared, observe_images(prepared, pictures()), "min-max")
    assert set(scales) >= set(EXPECTED[name])
    for tensor, of in prepared.placement.scale_of.items():
        assert scales[tensor] == scales[of]


@pytest.mark.slow
@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("depthwise", [False, True])
def test_openvino_computes_what_onnx_runtime_computes(name, depthwise, tmp_path):
    """The reference is ONNX Runtime, operator by operator. Tolerance: a few steps, as OpenVINO orders sums differently.

    With Q/DQ around a concatenation in place of int8 in it, OpenVINO 2026.4 is off by a quarter of the range.
    """
    heads = saved(pattern(name), tmp_path)
    output = tmp_path / "int8.onnx"
    calibrate(heads, output, pictures(), policy=Policy(depthwise=depthwise))
    onnx.checker.check_model(onnx.load(output), full_check=True)
    here = for_this_processor(output)
    compiled = openvino.Core().compile_model(str(here), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for picture in pictures(2):
        exact, wanted, openvino_outputs = run(heads, picture), run(here, picture), compiled({"image": picture})
        of_file = run(output, picture)
        for name_of_output, values in wanted.items():
            size = np.abs(exact[name_of_output]).max()
            assert np.abs(openvino_outputs[name_of_output] - values).max() < 0.05 * size
            assert np.abs(of_file[name_of_output] - exact[name_of_output]).max() < 0.15 * size


def test_an_activation_behind_a_concatenation_is_moved_before_it(tmp_path):
    """It moves only if nothing else reads the joined tensor; results stay equal to the last bit."""
    heads = saved(pattern("concatenation with an activation"), tmp_path)
    model = read_heads(heads)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Conv", "Relu", "Relu", "Concat", "Conv"]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "moved.onnx")
    for picture in pictures(2):
        assert np.array_equal(run(heads, picture)["out"], run(tmp_path / "moved.onnx", picture)["out"])
    placement = place(model, choose(model, Policy()))
    assert placement.int8_nodes == {"joined"}

    model = network([*PATTERNS["concatenation with an activation"], op("Exp", "joined", made="also")])
    kinds = [node.op_type for node in read_heads(saved(model, tmp_path)).graph.node]
    assert sorted(kinds) == ["Concat", "Conv", "Conv", "Conv", "Exp", "Relu"]


def dequantised_on_the_way(model: onnx.ModelProto) -> list[str]:
    """Return the names of DequantizeLinear nodes between the last convolutions and the outputs."""
    maker = {name: node for node in model.graph.node for name in node.output}
    waiting, names = [value.name for value in model.graph.output], []
    while waiting:
        node = maker.get(waiting.pop())
        if node is None or node.op_type == "Conv":
            continue
        if node.op_type == "DequantizeLinear":
            names.append(node.name)
        waiting.extend(node.input)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PATTERNS) - {"a sum that is an output", "max pool read in float too"}))
def test_no_pair_between_the_last_convolutions_and_the_outputs(name, tmp_path):
    calibrate(saved(pattern(name), tmp_path), tmp_path / "int8.onnx", pictures(), policy=Policy(depthwise=True))
    assert dequantised_on_the_way(onnx.load(tmp_path / "int8.onnx")) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PATTERNS)))
def test_tensorrt_rtx_accepts_the_file_with_the_intended_int8_convolutions(name, tmp_path):
    output = tmp_path / "int8.onnx"
    result = calibrate(saved(pattern(name), tmp_path), output, pictures())
    plan = plan_of(output)
    precisions = plan.convolutions(onnx.load(output))
    assert sum(precision == "INT8" for precision in precisions.values()) == result.num_quantised


def test_the_ends_of_a_network():
    model = pattern("two convolutions added")
    assert first_convolutions(model) == {"short", "a"}
    assert last_convolutions(model) == {"out"}
    assert last_convolutions(pattern("heads joined")) == {"one", "two"}
    assert last_convolutions(pattern("a sum that is an output")) == {"b", "a"}  # a's activation is the skip


@pytest.mark.parametrize(
    ("ends", "chosen"),
    [
        ("none", ["short", "a", "long", "out"]),
        ("first", ["long", "out"]),
        ("last", ["short", "a", "long"]),
        ("both", ["long"]),
    ],
)
def test_the_ends_stay_in_float_by_policy(ends, chosen):
    int8_convolutions = choose(pattern("two convolutions added"), Policy(float_ends=ends))
    assert [convolution.name for convolution in int8_convolutions] == chosen


def test_unknown_ends_are_refused():
    with pytest.raises(CalibrationError, match="none, first, last, both, but got 'middle'"):
        choose(pattern("chain"), Policy(float_ends="middle"))


def test_a_real_residual_network():
    """The pedestrian SSDLite has ten residual adds behind convolutions: all ten skips are read as int8."""
    model = read_heads(shared("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx"))
    kinds = {node.name: node.op_type for node in model.graph.node}
    placement = place(model, choose(model, Policy()))
    readers = [kinds[node] for uses in placement.readers.values() for node, _ in uses]
    assert (readers.count("Conv"), readers.count("Add")) == (55, 10)
    assert not placement.int8_nodes


def test_ultraface_joins_int8():
    """UltraFace has one concatenation that feeds a convolution; the two of its heads stay in float."""
    model = read_heads(shared("weights/ultraface/version-RFB-320_without_postprocessing.onnx"))
    placement = place(model, choose(model, Policy()))
    (joined,) = placement.int8_nodes
    node = next(node for node in model.graph.node if node.name == joined)
    assert len({placement.scale_of[name] for name in (*node.input, node.output[0])}) == 1

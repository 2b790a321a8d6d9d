"""check-onnx: names every spot; claims about NVIDIA's compilers are checked with the real one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.calibration.lint.check import check_onnx
from ssd_edge.calibration.lint.finding import KINDS
from ssd_edge.calibration.network.policy import Policy
from ssd_edge.errors import CalibrationError
from tests.calibration.chain import calibrate
from tests.calibration.nets import images, saved, tiny_net
from tests.calibration.patterns import PATTERNS, conv, network, op, pattern, pictures
from tests.calibration.rtx import plan_of
from tests.foreign import ORT, by_onnx_runtime, with_float_weights
from tests.helpers import shared


class Edited:
    """A model to edit, with its nodes and constants by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def node(self, name: str) -> onnx.NodeProto:
        return next(node for node in self.nodes if node.name == name)

    def set(self, name: str, value) -> str:
        array = np.asarray(value)
        if name not in self.constants:
            self.constants[name] = self.model.graph.initializer.add()
        self.constants[name].CopyFrom(numpy_helper.from_array(array, name))
        return name

    def get(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.constants[name])

    def pair(self, tensor: str, scale: float, reader: str, place: int = 0) -> None:
        """Put a pair before one input of a node."""
        given = [tensor, self.set(f"{reader}_{place}_step", np.float32(scale)), self.set("nought", np.int8(0))]
        names = [f"{reader}_{place}_q", f"{reader}_{place}_dq"]
        node = self.node(reader)
        node.input[place] = names[1]
        at = self.nodes.index(node)
        self.nodes[at:at] = [
            helper.make_node("QuantizeLinear", given, names[:1], f"{reader}_{place}_Q"),
            helper.make_node("DequantizeLinear", [names[0], *given[1:]], names[1:], f"{reader}_{place}_DQ"),
        ]

    def unpair(self, reader: str, place: int = 0) -> None:
        """Let a node read a tensor in float instead of through a pair."""
        node = self.node(reader)
        node.input[place] = node.input[place].removesuffix("_dequantised")
        read = {name for node in self.nodes for name in node.input} | {v.name for v in self.model.graph.output}
        while unread := [node for node in self.nodes if not read.intersection(node.output)]:
            self.nodes = [node for node in self.nodes if node not in unread]
            read = {name for node in self.nodes for name in node.input} | {v.name for v in self.model.graph.output}

    def save(self, path: Path) -> Path:
        graph = onnx.GraphProto()
        for node in self.nodes:
            graph.node.add().CopyFrom(node)
        del self.model.graph.node[:]
        self.model.graph.node.extend(graph.node)
        path.write_bytes(self.model.SerializeToString())
        return path


@pytest.fixture
def edited(tmp_path):
    """Fixture: ``edited("residual")`` returns that pattern as calibrate writes it, ready to be spoilt."""

    def of(name="tiny", **policy):
        model = tiny_net() if name == "tiny" else pattern(name)
        calibrate(saved(model, tmp_path), tmp_path / "int8.onnx", images() if name == "tiny" else pictures(), **policy)
        return Edited(onnx.load(tmp_path / "int8.onnx"))

    return of


def the_finding(path: Path, kind: str):
    """Return the only finding of a kind, and check that there is no other error or warning."""
    findings = [finding for finding in check_onnx(path).findings if finding.gravity != "note" or finding.kind == kind]
    (finding,) = [finding for finding in findings if not finding.sentence.startswith("Conv 'depthwise'")]
    assert finding.kind == kind, finding
    assert finding.node in finding.sentence
    return finding


# Scales and zero points, in files that the builder refuses or reads differently. Each function edits the INT8 tiny net.


def a_zero_point(model):
    model.set("ssd_edge_zero_point", np.int8(3))


def uint8_in_the_middle(model):
    model.set("ssd_edge_zero_point", np.uint8(128))


def a_zero_point_of_a_weight(model):
    model.set("first.weight_zero_point", np.full(8, 2, np.int8))


def a_weight_in_uint8(model):
    model.set("first.weight_quantised", np.abs(model.get("first.weight_quantised")).astype(np.uint8))
    model.set("first.weight_zero_point", np.zeros(8, np.uint8))


def a_bias_in_int32(model):
    names = [model.set("b", np.zeros(8, np.int32)), model.set("bs", np.full(8, 1e-4, np.float32))]
    names.append(model.set("bz", np.zeros(8, np.int32)))
    model.nodes.insert(0, helper.make_node("DequantizeLinear", names, ["bias"], "bias_DQ", axis=0))
    model.node("first").input[2] = "bias"


def int16(model):
    model.set("ssd_edge_zero_point", np.int16(0))
    model.model.opset_import[0].version = 21


def a_scale_of_nought(model):
    model.set("image_scale", np.float32(0))


def a_scale_that_is_nan(model):
    model.set("image_scale", np.float32(np.nan))


def a_scale_below_nought(model):
    model.set("image_scale", np.float32(-0.1))


def a_scale_that_is_computed(model):
    model.nodes.insert(0, helper.make_node("ReduceMax", ["image"], ["image_scale"], "range", keepdims=0))
    model.model.graph.initializer.remove(model.constants.pop("image_scale"))


REFUSED = {
    a_zero_point: ("refused", "image_QuantizeLinear", "zero point 3, and NVIDIA takes 0 only"),
    uint8_in_the_middle: ("refused", "image_QuantizeLinear", "zero point 128"),
    a_zero_point_of_a_weight: ("refused", "first.weight_DequantizeLinear", "zero point 2"),
    a_weight_in_uint8: ("refused", "first.weight_DequantizeLinear", "a weight as uint8"),
    a_bias_in_int32: ("refused", "bias_DQ", "a bias as int32"),
    int16: ("refused", "image_QuantizeLinear", "is of int16"),
    a_scale_of_nought: ("no scale", "image_QuantizeLinear", "not above 0 and finite"),
    a_scale_that_is_nan: ("no scale", "image_QuantizeLinear", "not above 0 and finite"),
    a_scale_below_nought: ("no scale", "image_QuantizeLinear", "not above 0 and finite"),
    a_scale_that_is_computed: ("refused", "image_QuantizeLinear", "computed at run time"),
}


@pytest.mark.slow
@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_what_nvidias_parser_refuses_is_reported(edited, spoil, tmp_path):
    model = edited()
    spoil(model)
    path = model.save(tmp_path / "spoilt.onnx")
    kind, node, words = REFUSED[spoil]
    errors = [finding for finding in check_onnx(path).findings if finding.gravity == "error"]
    assert {finding.kind for finding in errors} <= {kind, "read otherwise"}
    (first,) = [finding for finding in errors if finding.node == node and finding.kind == kind]
    assert words in first.sentence
    assert plan_of(path).content == b""


@pytest.mark.slow
def test_nvidias_builder_accepts_what_calibrate_makes(edited, tmp_path):
    assert plan_of(edited().save(tmp_path / "sound.onnx")).content


def without_zero_point(model):
    """Remove the zero points, so that ONNX's default type applies: uint8."""
    for name in ("image_QuantizeLinear", "image_DequantizeLinear"):
        del model.node(name).input[2]


def with_an_unsigned_zero_point(model):
    model.set("unsigned", np.uint8(0))
    for name in ("image_QuantizeLinear", "image_DequantizeLinear"):
        model.node(name).input[2] = "unsigned"


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [without_zero_point, with_an_unsigned_zero_point])
def test_uint8_that_nvidias_compiler_reads_as_int8_is_reported(edited, spoil, tmp_path):
    """The plan's own kernels clamp to −128 … 127; 255 does not occur in them."""
    model = edited()
    spoil(model)
    path = model.save(tmp_path / "spoilt.onnx")
    assert "which NVIDIA's compilers take for int8" in the_finding(path, "read otherwise").sentence
    plan = plan_of(path).content
    assert b"0x1.fcp+6f" in plan
    assert b"0x1.fep+7f" not in plan


def test_a_q_and_dq_with_different_scales_are_reported(edited, tmp_path):
    model = edited()
    model.node("image_DequantizeLinear").input[1] = model.set("other", np.float32(0.05))
    finding = the_finding(model.save(tmp_path / "spoilt.onnx"), "read otherwise")
    assert finding.node == "image_DequantizeLinear"
    assert "values are multiplied" in finding.sentence


def test_two_pairs_with_different_scales_on_one_tensor_are_reported(edited, tmp_path):
    model = edited("two convolutions added")
    model.pair("image", 0.5, "short")
    assert "quantised with 2 scales" in the_finding(model.save(tmp_path / "spoilt.onnx"), "blocks fusion").sentence


# Convolutions in float.


def float_weight(model):
    model.node("first").input[1] = model.set("w", np.ones((8, 3, 3, 3), np.float32))


def float_input(model):
    model.node("first").input[0] = "image"


def float_both(model):
    float_weight(model)
    float_input(model)


def a_computed_weight(model):
    float_both(model)
    model.nodes.insert(0, helper.make_node("Abs", ["w"], ["computed"], "abs"))
    model.node("first").input[1] = "computed"


def input_by_channel(model):
    model.set("image_scale", np.full(3, 0.02, np.float32))
    model.set("zeros", np.zeros(3, np.int8))
    for name in ("image_QuantizeLinear", "image_DequantizeLinear"):
        model.node(name).input[2] = "zeros"


def weight_by_input_channel(model):
    model.set("first.weight_scale", np.full(3, 0.01, np.float32))
    model.set("first.weight_zero_point", np.zeros(3, np.int8))
    model.node("first.weight_DequantizeLinear").attribute[0].i = 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (float_weight, "only its input is quantised"),
        (float_input, "only its weight is quantised"),
        (float_both, "it has no Q/DQ"),
        (a_computed_weight, "its weight is computed"),
        (input_by_channel, "a scale for each channel"),
        (weight_by_input_channel, "scales along axis 1: output channels lie along axis 0"),
    ],
)
def test_a_convolution_that_stays_in_float_is_reported(edited, spoil, reason, tmp_path):
    """The plan of the real builder also has it in float."""
    model = edited()
    spoil(model)
    path = model.save(tmp_path / "spoilt.onnx")
    report = check_onnx(path)
    in_float = {finding.node: finding.sentence for finding in report.findings if finding.kind == "in float"}
    assert set(in_float) == {"first", "depthwise"}
    assert reason in in_float["first"]
    assert (report.int8, report.convolutions) == (2, 4)
    precisions = plan_of(path).convolutions(onnx.load(path))
    assert precisions.get("first", "FP32") == "FP32"
    assert precisions["loc"] == "INT8"


def test_a_depthwise_convolution_in_float_is_a_note(edited, tmp_path):
    (finding,) = check_onnx(edited().save(tmp_path / "sound.onnx")).findings
    assert (finding.kind, finding.node) == ("in float", "depthwise")
    assert "gains little" in finding.sentence


def test_one_scale_for_a_whole_weight_is_reported(edited, tmp_path):
    model = edited()
    model.set("first.weight_scale", np.float32(0.01))
    model.set("first.weight_zero_point", np.int8(0))
    del model.node("first.weight_DequantizeLinear").attribute[:]
    assert "per_channel=True" in the_finding(model.save(tmp_path / "spoilt.onnx"), "coarse").sentence


# Fusions.


def test_a_pair_before_the_activation_is_reported(edited, tmp_path):
    model = edited()
    model.pair("a", 0.05, "relu")
    finding = the_finding(model.save(tmp_path / "spoilt.onnx"), "blocks fusion")
    assert "between Conv 'first' and Relu 'relu'" in finding.sentence


@pytest.mark.parametrize(
    ("name", "reader", "place", "words"),
    [
        ("residual", "sum", 1, "reads its skip 'skip' in float"),
        ("residual with an activation", "sum", 0, "reads its skip 'skip' in float"),
        ("max pool", "pool", 0, "works in float between Conv 'a' and the Q behind it"),
        ("average pool", "pool", 0, "works in float between Conv 'a' and the Q behind it"),
    ],
)
def test_a_missing_pair_is_reported(edited, name, reader, place, words, tmp_path):
    model = edited(name)
    model.unpair(reader, place)
    finding = the_finding(model.save(tmp_path / "spoilt.onnx"), "blocks fusion")
    assert finding.node == reader
    assert words in finding.sentence


def test_a_pair_between_a_convolution_and_its_add_is_reported(edited, tmp_path):
    model = edited("residual")
    model.pair("b", 0.05, "sum", 0)
    finding = the_finding(model.save(tmp_path / "spoilt.onnx"), "blocks fusion")
    assert "remove it, and keep that of the skip" in finding.sentence


def test_a_max_pool_with_two_scales_is_reported(edited, tmp_path):
    model = edited("max pool")
    model.set("a_scale", np.float32(0.3))
    assert "give both pairs one scale" in the_finding(model.save(tmp_path / "spoilt.onnx"), "blocks fusion").sentence


def joined_in_float(model):
    """Put the concatenation between pairs, as other tools do."""
    join = model.node("joined")
    join.output[0] = "joined"
    for place, name in enumerate(list(join.input)):
        tensor = name.removesuffix("_quantised")
        model.pair(tensor, float(model.get("joined_scale")), "joined", place)
    model.node("joined_DequantizeLinear").input[0] = "joined_q"
    at = model.nodes.index(model.node("joined_DequantizeLinear"))
    given = ["joined", "joined_scale", "ssd_edge_zero_point"]
    model.nodes.insert(at, helper.make_node("QuantizeLinear", given, ["joined_q"], "joined_Q"))
    model.nodes = [node for node in model.nodes if node.name not in {"a_QuantizeLinear", "c_QuantizeLinear"}]


def test_a_concatenation_between_pairs_is_reported(edited, tmp_path):
    model = edited("concatenation")
    joined_in_float(model)
    finding = the_finding(model.save(tmp_path / "spoilt.onnx"), "read otherwise")
    assert "OpenVINO 2026.4 loses the zero point" in finding.sentence


def test_a_concatenation_between_pairs_with_different_scales_is_reported(edited, tmp_path):
    model = edited("concatenation")
    joined_in_float(model)
    model.set("joined_0_step", np.float32(0.9))
    kinds = {finding.kind: finding.sentence for finding in check_onnx(model.save(tmp_path / "spoilt.onnx")).findings}
    assert "tensors of different scales" in kinds["blocks fusion"]


def test_a_concatenation_of_floats_is_reported(edited, tmp_path):
    model = edited("concatenation")
    joined_in_float(model)
    for place in range(3):
        model.node("joined").input[place] = ["a", "b", "c"][place]
    model.nodes = [node for node in model.nodes if "_step" not in str(node.input)]
    kinds = {finding.kind: finding.sentence for finding in check_onnx(model.save(tmp_path / "spoilt.onnx")).findings}
    assert "joins floats that are quantised behind it" in kinds["blocks fusion"]


def test_joining_int8_with_different_scales_is_reported(edited, tmp_path):
    model = edited("concatenation")
    model.set("a_scale", np.float32(0.9))
    finding = the_finding(model.save(tmp_path / "spoilt.onnx"), "read otherwise")
    assert "joins int8 of different scales" in finding.sentence


def test_a_pair_before_an_output_is_reported(edited, tmp_path):
    model = edited()
    model.node("loc").output[0] = "exact"
    model.nodes.append(helper.make_node("Transpose", ["exact"], ["loc"], "turn"))
    model.pair("exact", 0.05, "turn")
    finding = the_finding(model.save(tmp_path / "spoilt.onnx"), "rounds outputs")
    assert "output 'loc' comes through the pair" in finding.sentence


# Whole files.


@pytest.mark.slow
@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("depthwise", [False, True])
def test_files_of_calibrate_have_no_errors_or_warnings(name, depthwise, tmp_path):
    heads = saved(pattern(name), tmp_path)
    result = calibrate(heads, tmp_path / "int8.onnx", pictures(), policy=Policy(depthwise=depthwise))
    report = check_onnx(tmp_path / "int8.onnx")
    left = ["d"] if name == "depthwise" and not depthwise else []
    assert [(finding.kind, finding.node) for finding in report.findings] == [("in float", node) for node in left]
    assert (report.form, report.int8, report.convolutions) == ("Q/DQ", result.num_quantised, result.num_convolutions)


@pytest.mark.parametrize(("name", "output"), [("max pool", "pool"), ("average pool", "a"), ("residual", "b")])
def test_a_tensor_that_is_also_an_output_may_be_float(name, output, tmp_path):
    heads = saved(network(PATTERNS[name], output), tmp_path)
    calibrate(heads, tmp_path / "int8.onnx", pictures())
    assert check_onnx(tmp_path / "int8.onnx").findings == ()


def test_an_fp32_report_names_what_would_become_int8(tmp_path):
    report = check_onnx(saved(tiny_net(), tmp_path))
    assert (report.form, report.int8, report.convolutions) == ("FP32", 0, 4)
    assert set(report.would_be_int8) == {"first", "loc", "logits"}
    assert [(finding.kind, finding.node) for finding in report.findings] == [("in float", "depthwise")]


def test_an_fp32_report_says_why_calibrate_refuses_the_file(tmp_path):
    model = tiny_net()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    report = check_onnx(saved(model, tmp_path))
    assert report.would_be_int8 == ()
    assert "calibrate does not take this file: " in report.findings[0].sentence


@pytest.mark.slow
@pytest.mark.parametrize("options", ORT)
def test_files_of_onnx_runtime(options, tmp_path, capfd):
    """The builder accepts only the file without errors."""
    path = by_onnx_runtime(saved(tiny_net(), tmp_path), tmp_path / "ort.onnx", images(), options)
    report = check_onnx(path)
    kinds = {finding.kind for finding in report.findings}
    assert report.form == ("QOperator" if options == "QOperator" else "Q/DQ")
    assert report.int8 == 4
    assert ("refused" in kinds) == (options != "for NVIDIA")
    assert report.count("error") == (0 if options == "for NVIDIA" else report.count("error"))
    assert bool(plan_of(path).content) == (options == "for NVIDIA")
    if options == "QOperator":
        assert any("QLinearConv 'first_quant' is of ONNX Runtime's QOperator" in f.sentence for f in report.findings)


@pytest.mark.slow
def test_weights_stored_as_floats_with_a_q_are_int8_too(edited, tmp_path):
    path = tmp_path / "modelopt.onnx"
    onnx.save(with_float_weights(edited().model), path)
    report = check_onnx(path)
    assert (report.int8, [finding.node for finding in report.findings]) == (3, ["depthwise"])
    assert plan_of(path).convolutions(onnx.load(path))["first"] == "INT8"


def test_constant_nodes_and_unnamed_nodes_are_handled(edited, tmp_path):
    """Scales may come from Constant nodes; a node without a name is called by its output."""
    model = edited()
    model.nodes.insert(0, helper.make_node("Constant", [], ["image_scale"], value=model.constants["image_scale"]))
    model.model.graph.initializer.remove(model.constants.pop("image_scale"))
    model.node("depthwise").name = ""
    (finding,) = check_onnx(model.save(tmp_path / "unnamed.onnx")).findings
    assert finding.node == "d"


def test_weights_in_other_files_are_not_needed(edited, tmp_path):
    model = edited()
    tensor = model.constants["first.weight_quantised"]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    assert check_onnx(model.save(tmp_path / "outside.onnx")).int8 == 3


def test_the_order_and_the_json(edited, tmp_path):
    model = edited()
    a_zero_point(model)
    model.pair("a", 0.05, "relu")
    report = check_onnx(model.save(tmp_path / "spoilt.onnx"))
    gravities = [finding.gravity for finding in report.findings]
    assert gravities == sorted(gravities, key=["error", "warning", "note"].index)
    content = json.loads(json.dumps(report.to_json()))
    assert content["findings"][0].keys() == {"gravity", "kind", "node", "sentence"}
    assert {finding["kind"] for finding in content["findings"]} <= set(KINDS)


@pytest.mark.parametrize(("content", "said"), [(b"", "is empty"), (b"no model at all", "is not an ONNX file")])
def test_a_file_that_is_no_model_is_refused(tmp_path, content, said):
    path = tmp_path / "none.onnx"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=said):
        check_onnx(path)
    with pytest.raises(CalibrationError, match="cannot read"):
        check_onnx(tmp_path / "absent.onnx")


def test_fp32_files_from_elsewhere(tmp_path):
    path = shared("weights/ultraface/version-RFB-320_without_postprocessing.onnx")
    report = check_onnx(path)
    assert (report.form, len(report.would_be_int8), report.convolutions) == ("FP32", 34, 52)
    no_convolution = network([op("Relu", "image", made="r")])
    report = check_onnx(saved(no_convolution, tmp_path))
    assert "has no convolution" in report.findings[0].sentence
    assert check_onnx(saved(network([conv("image", "a")]), tmp_path)).would_be_int8 == ("a",)

"""The graph with decode nodes: its operators against the host decode and the kernels, bit by bit, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import openvino
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnxruntime import InferenceSession

from ssd_edge.boxes import default_boxes
from ssd_edge.decode import Decoder
from ssd_edge.engines.plugins.decode_graph import DOMAIN, result_tensors, with_decode
from ssd_edge.errors import BackendError, ModelError
from ssd_edge.graph.heads import write_heads
from ssd_edge.models.registry import make_spec
from ssd_edge.spec import METADATA_KEY, ModelSpec
from tests.cuda.build import kernel_library
from tests.decode_nodes.in_onnx import OPERATORS
from tests.decode_nodes.in_onnxruntime import session_options
from tests.decode_nodes.in_openvino import extensions
from tests.engines.kernels.test_kernels import decode_on_cpu
from tests.helpers import small_spec

RESULTS = ["num_detections", "boxes", "scores", "classes", "num_cut"]


def heads_given(spec: ModelSpec, kind: int = TensorProto.FLOAT, batch: int | str = 2) -> onnx.ModelProto:
    """A network whose heads are its inputs, so that a test can say what they are."""
    shapes = {"loc": 4, "logits": spec.num_classes}
    values = {
        side: [
            helper.make_tensor_value_info(name + end, kind, [batch, spec.num_default_boxes, width])
            for name, width in shapes.items()
        ]
        for side, end in (("in", "_in"), ("out", ""))
    }
    nodes = [helper.make_node("Identity", [name + "_in"], [name]) for name in shapes]
    graph = helper.make_graph(nodes, "heads", values["in"], values["out"])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def random_heads(spec: ModelSpec, dtype: Any = np.float32, batch: int = 2) -> list[npt.NDArray[Any]]:
    rng = np.random.default_rng(0)
    loc = rng.normal(0, 1, (batch, spec.num_default_boxes, 4))
    logits = np.round(rng.normal(0, 3, (batch, spec.num_default_boxes, spec.num_classes)) * 2) / 2  # with ties
    loc[0, 3, 1], loc[0, 4, 2], logits[0, 5, 1], logits[0, 6, 0] = np.nan, np.inf, np.nan, np.inf
    return [loc.astype(dtype), logits.astype(dtype)]


def evaluated(model: onnx.ModelProto, heads: list[npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    outputs = ReferenceEvaluator(model, new_ops=OPERATORS).run(None, {"loc_in": heads[0], "logits_in": heads[1]})
    return dict(zip(RESULTS, outputs, strict=True))


SPECS = [
    small_spec(),
    small_spec(score_function="sigmoid", box_order="yxhw", score_threshold=0.3, variances=(0.2, 0.1)),
    small_spec(top_k=3, max_detections=5, nms_iou=0.2, clip_boxes="before-nms"),
    small_spec(score_threshold=0.9999999),
    replace(make_spec("ssdlite320_mobilenet_v3_large", [f"label {i}" for i in range(20)]), top_k=50),
]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("spec", SPECS, ids=["plain", "sigmoid", "cut", "nothing", "real"])
def test_results_equal_the_host_decodes_bit_for_bit(spec: ModelSpec, half: bool) -> None:
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    heads = random_heads(spec, dtype)
    results = evaluated(with_decode(heads_given(spec, kind), spec), heads)
    for name, buffer in result_tensors(spec, 2).items():
        assert (results[name].shape, results[name].dtype) == (buffer.shape, buffer.dtype), name
    decoder = Decoder(spec)
    for image in range(2):
        wanted = decoder(*(head[image].astype(np.float32) for head in heads), (1, 1))
        n = len(wanted)
        assert results["num_detections"][image] == n
        assert results["num_cut"][image] == wanted.num_cut
        np.testing.assert_array_equal(results["scores"][image, :n], wanted.scores)
        np.testing.assert_array_equal(results["classes"][image, :n], wanted.labels)
        # The host cuts boxes at the frame's edge while it scales them to pixels.
        np.testing.assert_array_equal(np.clip(results["boxes"][image, :n], 0, 1), wanted.boxes)


@pytest.mark.parametrize("spec", SPECS[:4], ids=["plain", "sigmoid", "cut", "nothing"])
def test_all_buffers_equal_the_kernels_bit_for_bit(spec: ModelSpec) -> None:
    heads = random_heads(spec)
    model = with_decode(heads_given(spec), spec)
    between = [value for value in model.graph.value_info if value.name.startswith(("all_", "kept_", "cut"))]
    assert len(between) == 5
    model.graph.output.extend(between)
    outputs = ReferenceEvaluator(model, new_ops=OPERATORS).run(None, {"loc_in": heads[0], "logits_in": heads[1]})
    wanted = decode_on_cpu(kernel_library(), spec, *heads)
    for value, array in zip(model.graph.output, outputs, strict=True):
        assert array.dtype == wanted[value.name].dtype
        np.testing.assert_array_equal(array.reshape(wanted[value.name].shape), wanted[value.name], value.name)


@pytest.mark.parametrize("batch", [2, "batch"])
@pytest.mark.parametrize("spec", SPECS, ids=["plain", "sigmoid", "cut", "nothing", "real"])
def test_openvino_gives_the_reference_evaluators_bits(spec: ModelSpec, batch: int | str) -> None:
    heads = random_heads(spec)
    model = with_decode(heads_given(spec, batch=batch), spec)
    core = openvino.Core()
    for extension in extensions(spec):
        core.add_extension(extension)
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    outputs = compiled({"loc_in": heads[0], "logits_in": heads[1]})
    for name, array in evaluated(model, heads).items():
        assert outputs[name].dtype == array.dtype
        np.testing.assert_array_equal(outputs[name], array, name)


@pytest.mark.parametrize("batch", [2, "batch"])
@pytest.mark.parametrize("spec", SPECS, ids=["plain", "sigmoid", "cut", "nothing", "real"])
def test_onnx_runtime_gives_the_reference_evaluators_bits(spec: ModelSpec, batch: int | str) -> None:
    heads = random_heads(spec)
    model = with_decode(heads_given(spec, batch=batch), spec)
    session = InferenceSession(model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    outputs = session.run(RESULTS, {"loc_in": heads[0], "logits_in": heads[1]})
    for (name, wanted), array in zip(evaluated(model, heads).items(), outputs, strict=True):
        assert array.dtype == wanted.dtype
        np.testing.assert_array_equal(array, wanted, name)


def test_geometry_is_a_constant_and_scalars_are_attributes() -> None:
    spec = small_spec(box_order="yxhw", score_threshold=0.01)
    heads = heads_given(spec, batch="batch")
    before = heads.SerializeToString()
    model = with_decode(heads, spec)
    assert heads.SerializeToString() == before
    nodes = [node for node in model.graph.node if node.domain == DOMAIN]
    assert [node.op_type for node in nodes] == ["SsdDecode", "SsdSelect", "SsdMerge"]
    written = {a.name: helper.get_attribute_value(a) for node in nodes for a in node.attribute}
    assert written == {
        "plugin_namespace": b"ssd_edge",
        "plugin_version": b"1",
        "is_yxhw": 1,
        "is_sigmoid": 0,
        "is_clipped": 0,
        "score_threshold": np.float32(0.01),
        "centre_variance": np.float32(0.1),
        "size_variance": np.float32(0.2),
        "top_k": spec.top_k,
        "nms_iou": np.float32(0.45),
        "max_detections": spec.max_detections,
    }
    [constant] = [onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "defaults"]
    np.testing.assert_array_equal(constant, default_boxes(spec))
    assert [value.name for value in model.graph.output] == RESULTS
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.output] == ["batch"] * 5


def test_every_result_has_a_dimension_beside_the_batch() -> None:
    """nvinfer leaves the batch out, and reserves no memory for what is left of (B,)."""
    spec = small_spec()
    inferred = onnx.shape_inference.infer_shapes(with_decode(heads_given(spec), spec))
    shapes = {v.name: [dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in inferred.graph.output}
    assert shapes == {name: list(buffer.shape) for name, buffer in result_tensors(spec, 2).items()}
    assert shapes["num_detections"] == shapes["num_cut"] == [2, 1]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_the_image_is_float32(kind: int) -> None:
    """nvinfer writes FP32, whatever the type of the input: an FP16 network gets one Cast, an FP32 one none."""
    spec = small_spec()
    heads = heads_given(spec, kind)
    for value, name in zip(heads.graph.input, ("image", "logits_in"), strict=True):
        heads.graph.node[0 if name == "image" else 1].input[0] = value.name = name
    model = with_decode(heads, spec)
    assert heads.graph.input[0].type.tensor_type.elem_type == kind
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert len(casts) == (kind == TensorProto.FLOAT16)
    onnx.checker.check_model(model, full_check=True)
    loc, logits = random_heads(spec, helper.tensor_dtype_to_np_dtype(kind))
    given = {"image": loc.astype(np.float32), "logits_in": logits}
    outputs = ReferenceEvaluator(model, new_ops=OPERATORS).run(None, given)
    wanted = evaluated(with_decode(heads_given(spec, kind), spec), [loc, logits])
    for name, array in zip(RESULTS, outputs, strict=True):
        np.testing.assert_array_equal(array, wanted[name], name)


def test_a_written_graph_keeps_its_spec(tmp_path: Any) -> None:
    spec = small_spec()
    write_heads(with_decode(heads_given(spec), spec), spec, tmp_path / "decoded.onnx")
    written = onnx.load(tmp_path / "decoded.onnx")
    onnx.checker.check_model(written, full_check=True)
    [entry] = [entry for entry in written.metadata_props if entry.key == METADATA_KEY]
    assert ModelSpec.from_text(entry.value) == spec


# ---- what is refused


def test_heads_of_another_geometry() -> None:
    spec = small_spec()
    with pytest.raises(
        ModelError, match=r"^loc is \(2, 56, 4\), but 48 default boxes and 2 labels ask for \(B, 48, 4\)"
    ):
        with_decode(heads_given(spec), replace(spec, levels=spec.levels[:1]))


def test_heads_of_other_labels() -> None:
    spec = small_spec()
    with pytest.raises(ModelError, match=r"^logits is \(2, 56, 3\), but .* 3 labels ask for \(B, 56, 4\)"):
        with_decode(heads_given(spec), replace(spec, labels=("bolt", "nut", "screw")))


def test_a_network_that_already_has_a_decode() -> None:
    spec = small_spec()
    with pytest.raises(
        ModelError, match="heads must have the outputs loc and logits, but this network has boxes, classes"
    ):
        with_decode(with_decode(heads_given(spec), spec), spec)


def test_heads_of_two_types() -> None:
    heads = heads_given(small_spec())
    heads.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(ModelError, match=r"but they are FLOAT16 and FLOAT$"):
        with_decode(heads, small_spec())


def test_heads_of_two_batches() -> None:
    heads = heads_given(small_spec())
    heads.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 3
    with pytest.raises(ModelError, match="the same batch, but have 3 and 2"):
        with_decode(heads, small_spec())


def test_a_name_that_decode_needs() -> None:
    heads = heads_given(small_spec())
    heads.graph.node[0].output[0] = "boxes"
    heads.graph.node.append(helper.make_node("Identity", ["boxes"], ["loc"]))
    with pytest.raises(ModelError, match="already has a tensor 'boxes'"):
        with_decode(heads, small_spec())


def test_models_beyond_the_kernels_limits() -> None:
    with pytest.raises(BackendError, match="hold top_k up to 1024"):
        with_decode(heads_given(small_spec()), small_spec(top_k=1025))

"""Conversion of FP32 heads to FP16: what becomes FP16, what must not, and that results stay the same.

The arithmetic is checked on ONNX's reference evaluator, which computes every FP16 node in NumPy's float16: ONNX Runtime
computes FP16 in FP32 on a CPU, and would not show an overflow.
"""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ssd_edge.errors import ModelError
from ssd_edge.graph import half
from ssd_edge.graph.half import LARGEST, to_half
from ssd_edge.preprocess import preprocess
from tests.helpers import shared
from tests.models_for_tests import quantised, tiny_model

EPSILON = 2.0**-11
"""Relative error of one rounding to FP16."""


def net(nodes, inputs, outputs, weights=None, opset=20):
    """Make a graph of float tensors: {name: shape}."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items()]
        for ends in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", *values, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def evaluated(model, **inputs):
    """Compute the outputs in order, as float32; every node as ONNX defines it."""
    kind = model.graph.input[0].type.tensor_type.elem_type
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    with np.errstate(all="ignore"):
        outputs = ReferenceEvaluator(model).run(None, {name: array.astype(dtype) for name, array in inputs.items()})
    assert all(output.dtype == dtype for output in outputs)
    return [output.astype(np.float32) for output in outputs]


def operators(model, kind):
    """Outputs of the nodes of one operator."""
    return [node.output[0] for node in model.graph.node if node.op_type == kind]


def types(model):
    """ONNX element type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    value_types = {value.name: value.type.tensor_type.elem_type for value in values}
    return value_types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_everything_becomes_half():
    model = tiny_model()
    before = model.SerializeToString()
    converted = to_half(model)
    assert TensorProto.FLOAT not in types(converted).values()
    assert operators(converted, "Cast") == []
    assert [node.name for node in converted.graph.node] == [node.name for node in model.graph.node]
    assert model.SerializeToString() == before


def test_the_numbers_stay():
    """Reference: the FP32 model. Four layers of up to 144 products each: 4·√144 roundings of values up to 10."""
    model = tiny_model()
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    for output, wanted in zip(evaluated(to_half(model), image=image), evaluated(model, image=image), strict=True):
        assert np.abs(wanted).max() > 1
        np.testing.assert_allclose(output, wanted, rtol=0, atol=48 * EPSILON * np.abs(wanted).max())


# L2Norm: 512 channels, each of a size that real ones have.

CHANNELS = 512


def l2norm(kind):
    """x (1, C, 2, 2) → y, each position's vector divided by its length, then times 20; as exporters write it."""
    node = helper.make_node
    axes = {"axes": np.int64([1]), "eps": np.float32(1e-6), "two": np.float32(2), "twenty": np.float32(20)}
    ways = {
        "Pow, Sqrt, Div": [
            node("Pow", ["x", "two"], ["square"]),
            node("ReduceSum", ["square", "axes"], ["sum"]),
            node("Add", ["sum", "eps"], ["more"]),
            node("Sqrt", ["more"], ["length"]),
            node("Div", ["x", "length"], ["unit"]),
        ],
        "Mul, Reciprocal": [
            node("Mul", ["x", "x"], ["square"]),
            node("ReduceSum", ["square", "axes"], ["sum"]),
            node("Add", ["sum", "eps"], ["more"]),
            node("Sqrt", ["more"], ["length"]),
            node("Reciprocal", ["length"], ["inverse"]),
            node("Mul", ["x", "inverse"], ["unit"]),
        ],
        "ReduceL2, Clip, Expand": [
            node("ReduceL2", ["x", "axes"], ["sum"]),
            node("Clip", ["sum", "eps"], ["length"]),
            node("Shape", ["x"], ["shape"]),
            node("Expand", ["length", "shape"], ["wide"]),
            node("Div", ["x", "wide"], ["unit"]),
        ],
        "ReduceSumSquare, Max": [
            node("ReduceSumSquare", ["x", "axes"], ["sum"]),
            node("Sqrt", ["sum"], ["root"]),
            node("Max", ["root", "eps"], ["length"]),
            node("Div", ["x", "length"], ["unit"]),
        ],
        "LpNormalization": [node("LpNormalization", ["x"], ["unit"], axis=1)],
    }
    nodes = [*ways[kind], node("Mul", ["unit", "twenty"], ["y"])]
    read = {name for n in nodes for name in n.input}
    shape = [1, CHANNELS, 2, 2]
    return net(nodes, {"x": shape}, {"y": shape}, {name: a for name, a in axes.items() if name in read})


KINDS = ("Pow, Sqrt, Div", "Mul, Reciprocal", "ReduceL2, Clip, Expand", "ReduceSumSquare, Max", "LpNormalization")


@pytest.fixture
def features():
    """conv4_3 of a trained VGG-16: up to a few hundred behind its ReLU."""
    x = np.maximum(np.random.default_rng(1).normal(0, 100, (1, CHANNELS, 2, 2)), 0).astype(np.float16)
    x[..., 1, 1] = 0  # black
    assert np.square(x.astype(np.float32)).sum(axis=1).max() > 30 * LARGEST
    return x.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_l2norm_does_not_overflow(kind, features):
    """Reference: NumPy in float64. The last multiplication and the rounding of its input are FP16: 2 roundings."""
    if kind == "LpNormalization" and tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23):
        pytest.skip("the reference evaluator of onnx 1.19 and before divides a vector of zeros by zero; 1.23 is right")
    converted = to_half(l2norm(kind))
    (outputs,) = evaluated(converted, x=features)
    length = np.sqrt(np.square(features.astype(np.float64)).sum(axis=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(outputs, 20 * features / length, rtol=3 * EPSILON, atol=1e-7)
    assert not outputs[..., 1, 1].any()
    assert types(converted)["unit"] == TensorProto.FLOAT
    assert types(converted)["y"] == TensorProto.FLOAT16


@pytest.mark.parametrize("kind", KINDS[:4])
def test_l2norm_overflows_if_nothing_stays_in_float(kind, features, monkeypatch):
    """With nothing kept in FP32, the sum of squares is infinite and all results are lost."""
    monkeypatch.setattr(half, "kept_in_float", lambda graph: set())
    (outputs,) = evaluated(to_half(l2norm(kind)), x=features)
    assert not np.any(np.nan_to_num(outputs))


def test_no_round_trip_between_what_stays_in_float(features):
    """A sum of squares that passes through FP16 on its way from one FP32 node to the next has overflowed."""
    converted = to_half(l2norm("Pow, Sqrt, Div"))
    assert operators(converted, "Cast") == ["x_fp32", "unit_fp16"]


def photos():
    """And a black frame."""
    for name in ("astronaut.png", "chelsea.png"):
        yield cv2.imread(str(shared(f"media/{name}")))
    yield np.zeros((300, 300, 3), np.uint8)


def assert_close(heads, wanted):
    """Some tens of layers, each rounding its output once: errors add up as a walk, √35·ε of a value, and the largest of
    40000 of them is five times that."""
    for head, right in zip(heads, wanted, strict=True):
        assert head.dtype == np.float16
        np.testing.assert_allclose(head.astype(np.float32), right, rtol=0, atol=30 * EPSILON * np.abs(right).max())


@pytest.mark.slow
def test_ssd300_on_real_photos_and_a_black_frame(tmp_path):
    """Reference: the FP32 heads on ONNX Runtime. Activations are made as large as a trained network's."""
    torch = pytest.importorskip("torch")
    from ssd_edge.export import export_onnx
    from ssd_edge.models.registry import make_network, make_spec

    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = make_network(make_spec("ssd300_vgg16", ("person",)))
    with torch.no_grad():
        network.backbone.features[0].weight *= 60
    spec = export_onnx(network, tmp_path / "heads.onnx")
    model = onnx.load(tmp_path / "heads.onnx")
    run_half = session(to_half(model))
    (square,) = operators(model, "ReduceSum")
    model.graph.output.append(onnx.ValueInfoProto(name=square))
    run = session(model)
    for frame in photos():
        image = preprocess(frame, spec)
        *wanted, sums = run(None, {"image": image})
        assert sums.max() > 2 * LARGEST
        assert_close(run_half(None, {"image": image.astype(np.float16)}), wanted)


@pytest.mark.slow
def test_a_trained_ssdlite_on_real_photos_and_a_black_frame(tmp_path):
    """Reference: the FP32 heads on ONNX Runtime."""
    pytest.importorskip("torch")
    from ssd_edge.export import export_onnx
    from ssd_edge.samples import SAMPLE_CHECKPOINT
    from ssd_edge.training.checkpoints import load_checkpoint

    spec = export_onnx(load_checkpoint(SAMPLE_CHECKPOINT), tmp_path / "heads.onnx")
    model = onnx.load(tmp_path / "heads.onnx")
    run, run_half = session(model), session(to_half(model))
    for frame in photos():
        image = preprocess(frame, spec)
        wanted = run(None, {"image": image})
        assert np.abs(wanted[1]).max() > 5
        assert_close(run_half(None, {"image": image.astype(np.float16)}), wanted)


def session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run


# INT8: what was calibrated stays to the last bit.


def test_int8_parts_are_unchanged():
    model = quantised(tiny_model())
    converted = to_half(model)
    tensor_types, before = types(converted), {tensor.name: tensor for tensor in model.graph.initializer}
    for node in converted.graph.node:
        if node.op_type in {"Conv", "QuantizeLinear", "DequantizeLinear"}:
            assert {tensor_types[name] for name in node.input} <= {TensorProto.FLOAT, TensorProto.INT8}
    for tensor in converted.graph.initializer:
        if tensor.data_type != TensorProto.INT64:
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(before[tensor.name]))
    assert tensor_types["image"] == tensor_types["loc"] == tensor_types["logits"] == TensorProto.FLOAT16


def test_int8_heads_give_their_numbers():
    """Reference: the INT8 file itself, on an image that FP16 holds exactly: only the outputs are rounded, once.

    So the activations between two INT8 convolutions are not rounded to FP16 on their way to INT8.
    """
    model = quantised(tiny_model())
    image = np.random.default_rng(2).normal(0, 1, (1, 3, 32, 32)).astype(np.float16).astype(np.float32)
    for output, wanted in zip(evaluated(to_half(model), image=image), evaluated(model, image=image), strict=True):
        np.testing.assert_array_equal(output, wanted.astype(np.float16))


def test_a_scale_that_half_does_not_hold():
    """1e-8 would become 0 in FP16, and divide."""
    model = quantised(tiny_model(), scale=1e-8)
    heads = evaluated(to_half(model), image=np.ones((1, 3, 32, 32), np.float32))
    assert all(np.isfinite(head).all() for head in heads)
    (scale,) = [tensor for tensor in to_half(model).graph.initializer if tensor.name == "step"]
    assert numpy_helper.to_array(scale) == np.float32(1e-8)


def test_only_activations_between_two_int8_nodes_stay():
    converted = to_half(quantised(tiny_model()))
    tensor_types = types(converted)
    assert tensor_types["stem.out"] == TensorProto.FLOAT  # a ReLU between two convolutions
    assert tensor_types["loc1.out.last"] == TensorProto.FLOAT16  # a Transpose on the way to an output


def test_an_activation_that_others_read_too_becomes_half():
    """If it were kept in FP32, the other readers would read FP32 from memory."""
    model = quantised(tiny_model())
    model.graph.node.append(helper.make_node("Sigmoid", ["stem.out"], ["more"]))
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1, 8, 16, 16]))
    tensor_types = types(to_half(model))
    assert tensor_types["stem.out"] == TensorProto.FLOAT16
    assert tensor_types["body.out"] == TensorProto.FLOAT


# Corners of the format.


def test_numbers_in_whichever_field_of_the_tensor():
    """NVIDIA's Model Optimizer leaves scales in ``float_data``; a file from elsewhere once ended in a ValueError."""
    model = quantised(tiny_model())
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            tensor.ClearField("raw_data")
            tensor.float_data.extend(values.ravel().tolist())
    image = np.random.default_rng(2).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    wanted = evaluated(to_half(quantised(tiny_model())), image=image)
    for actual, same in zip(evaluated(to_half(model), image=image), wanted, strict=True):
        np.testing.assert_array_equal(actual, same)


def test_bounds_that_mean_none():
    lowest, highest = np.finfo(np.float32).min, np.finfo(np.float32).max
    model = net(
        [helper.make_node("Clip", ["x", "low", "high"], ["y"])],
        {"x": [3]},
        {"y": [3]},
        {"low": lowest, "high": highest},
    )
    x = np.float32([-1e4, 0, 1e4])
    np.testing.assert_array_equal(evaluated(to_half(model), x=x)[0], x)


def test_a_constant_for_readers_of_both_kinds():
    """The FP32 reader gets the number in FP32, not rounded to FP16."""
    nodes = [
        helper.make_node("LRN", ["x"], ["n"], size=1, alpha=0.0),
        helper.make_node("Pow", ["n", "third"], ["p"]),
        helper.make_node("Sigmoid", ["p"], ["s"]),
        helper.make_node("Add", ["s", "third"], ["y"]),
    ]
    model = net(nodes, {"x": [1, 2, 2, 2]}, {"y": [1, 2, 2, 2]}, {"third": np.float32(1 / 3)})
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in to_half(model).graph.initializer}
    assert values == {"third": np.float32(1 / 3), "third_fp16": np.float16(1 / 3)}


@pytest.mark.parametrize("attribute", ["value", "value_float", "value_floats"])
def test_constants_as_nodes(attribute):
    value = {
        "value": numpy_helper.from_array(np.float32([3])),
        "value_float": 3.0,
        "value_floats": [3.0],
    }[attribute]
    nodes = [
        helper.make_node("Constant", [], ["three"], **{attribute: value}),
        helper.make_node("Constant", [], ["shape"], value_ints=[3, 1]),
        helper.make_node("Mul", ["x", "three"], ["m"]),
        helper.make_node("Reshape", ["m", "shape"], ["y"]),
    ]
    model = net(nodes, {"x": [3]}, {"y": [3, 1]})
    np.testing.assert_array_equal(evaluated(to_half(model), x=np.float32([1, 2, 3]))[0], [[3], [6], [9]])


def test_inputs_that_onnx_has_in_float_only():
    """The scales of Resize."""
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")]
    model = net(nodes, {"x": [1, 1, 2, 2]}, {"y": [1, 1, 4, 4]}, {"scales": np.float32([1, 1, 2, 2])})
    converted = to_half(model)
    assert types(converted)["scales"] == TensorProto.FLOAT
    assert evaluated(converted, x=np.ones((1, 1, 2, 2), np.float32))[0].shape == (1, 1, 4, 4)


def test_a_cast_to_float_and_a_filled_tensor():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["sides"], to=TensorProto.FLOAT),
        helper.make_node(
            "ConstantOfShape", ["shape"], ["ones"], value=numpy_helper.from_array(np.float32([1]), "value")
        ),
        helper.make_node("Add", ["x", "ones"], ["more"]),
        helper.make_node("Add", ["more", "sides"], ["y"]),
    ]
    model = net(nodes, {"x": [2]}, {"y": [2]})
    np.testing.assert_array_equal(evaluated(to_half(model), x=np.float32([1, 2]))[0], [4, 5])


def test_an_output_that_stays_in_float_and_names_that_are_taken():
    nodes = [
        helper.make_node("LpNormalization", ["x"], ["y"], axis=1),
        helper.make_node("Relu", ["y"], ["y_fp32"]),
        helper.make_node("LpNormalization", ["y_fp32"], ["x_fp32"], axis=1),
    ]
    shape = [1, 2, 1, 1]
    model = net(nodes, {"x": shape}, {"y": shape, "y_fp32": shape, "x_fp32": shape})
    converted = to_half(model)
    outputs = evaluated(converted, x=np.float32([3, 4]).reshape(shape))
    for head in outputs:
        np.testing.assert_allclose(head.ravel(), [0.6, 0.8], rtol=EPSILON)


# What is refused.


def spoilt(value):
    model = tiny_model()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "body.weight")
    array = numpy_helper.to_array(weight).copy()
    array[1, 2, 0, 0] = value
    weight.CopyFrom(numpy_helper.from_array(array, "body.weight"))
    return model


@pytest.mark.parametrize("value", [7e4, -7e4, 1e38])
def test_a_weight_beyond_half(value):
    with pytest.raises(ModelError, match=r"'body\.weight' holds .*FP16 ends at 65504: build with --precision fp32"):
        to_half(spoilt(value))
    to_half(spoilt(LARGEST))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number(value):
    with pytest.raises(ModelError, match=r"'body\.weight' holds NaN or infinite values"):
        to_half(spoilt(value))


def test_a_tiny_weight_becomes_zero_without_a_word():
    converted = to_half(spoilt(1e-9))
    weight = next(t for t in converted.graph.initializer if t.name == "body.weight_fp16")
    assert numpy_helper.to_array(weight)[1, 2, 0, 0] == 0


def test_a_custom_operator_and_control_flow():
    model = tiny_model()
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "Swoosh", "mine"
    with pytest.raises(ModelError, match=r"node 'stem/Relu' is the custom operator mine\.Swoosh"):
        to_half(model)
    model = tiny_model()
    empty = helper.make_graph([], "g", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], "choice", then_branch=empty, else_branch=empty))
    with pytest.raises(ModelError, match=r"node 'choice' is If, and heads must be free of control flow"):
        to_half(model)


def test_a_graph_that_contradicts_itself():
    model = tiny_model()
    model.graph.node[-1].attribute[0].i = 9
    with pytest.raises(ModelError, match="cannot be converted to FP16") as error:
        to_half(model)
    assert "\n" not in str(error.value)

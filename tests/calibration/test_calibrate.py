from __future__ import annotations

import hashlib
import importlib
import sys

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.calibration.network.policy import Policy
from ssd_edge.calibration.scales.grid import weight_scales
from ssd_edge.calibration.scales.methods import METHODS
from ssd_edge.errors import CalibrationError, MissingDependencyError, SpecError
from ssd_edge.spec import METADATA_KEY, ModelSpec
from tests.calibration.chain import calibrate
from tests.calibration.nets import convolved, fake_quantised, images, run, saved, tiny_net
from tests.helpers import for_this_processor, shared, small_spec

pytestmark = pytest.mark.int8


@pytest.fixture
def heads(tmp_path):
    return saved(tiny_net(), tmp_path)


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def quantised_convolutions(path) -> dict[str, bool]:
    """Return, for each Conv in a file, whether its activation and its weight both come from a DequantizeLinear."""
    model = onnx.load(path)
    made_by = {output: node.op_type for node in model.graph.node for output in node.output}
    both = ["DequantizeLinear"] * 2
    return {n.name: [made_by.get(i) for i in n.input[:2]] == both for n in model.graph.node if n.op_type == "Conv"}


def test_the_file_is_explicit_qdq_as_nvidias_parser_requires(heads, tmp_path):
    output = tmp_path / "out" / "int8.onnx"
    result = calibrate(heads, output, images())
    model = onnx.load(output)
    onnx.checker.check_model(model, full_check=True)
    constants, kinds = weights_of(model), [node.op_type for node in model.graph.node]

    assert quantised_convolutions(output) == {"first": True, "depthwise": False, "loc": True, "logits": True}
    assert (result.num_quantised, result.num_convolutions) == (3, 4)
    assert list(result.scales) == ["image", "e"]
    # Each tensor has one pair, shared by its readers; each weight has one DQ.
    assert kinds.count("QuantizeLinear") == 2
    assert kinds.count("DequantizeLinear") == 2 + 3
    assert "BatchNormalization" not in kinds
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            stored = constants[node.input[0]]
            assert stored.dtype == np.int8
            assert np.abs(stored.astype(int)).max() == 127
            assert helper.get_node_attr_value(node, "axis") == 0
            assert constants[node.input[1]].shape == (len(stored),)
        if node.op_type == "Conv":
            assert constants[node.input[2]].dtype == np.float32
        if node.op_type == "ReduceSum":
            assert node.input[0] == "e"
    assert not [
        name for name in constants if name.endswith(".weight") and name != "depthwise.weight" and "norm" in name
    ]
    assert {value.name for value in model.graph.output} == {"loc", "logits", "sum"}


def test_depthwise_and_skipped_convolutions(heads, tmp_path):
    output = tmp_path / "int8.onnx"
    calibrate(heads, output, images(), policy=Policy(depthwise=True, skip=["loc", "first"]))
    assert quantised_convolutions(output) == {"first": False, "depthwise": True, "loc": False, "logits": True}


@pytest.mark.parametrize(
    ("least", "int8"),
    [(8, {"first", "depthwise", "loc", "logits"}), (9, {"first", "depthwise"}), (10, {"first"}), (27, {"first"})],
)
def test_convolutions_of_few_products_stay_in_float(heads, tmp_path, least, int8):
    """For an output value, "first" sums 3·3·3 products, "depthwise" 3·3, "loc" and "logits" 8."""
    output = tmp_path / "int8.onnx"
    calibrate(heads, output, images(), policy=Policy(depthwise=True, least_products=least))
    assert {name for name, quantised in quantised_convolutions(output).items() if quantised} == int8


def test_int8_outputs_equal_a_numpy_reference(heads, tmp_path):
    output = tmp_path / "int8.onnx"
    result = calibrate(heads, output, images(), method="min-max")
    c = {name: array.astype(np.float32) for name, array in weights_of(tiny_net()).items()}

    def grid(weight):
        return fake_quantised(weight, weight_scales(weight).reshape(-1, 1, 1, 1))

    factor = c["norm.weight"] / np.sqrt(c["norm.var"] + 1e-5)
    for image in images(2):
        x = fake_quantised(image, result.scales["image"])
        b = np.maximum(convolved(x, grid(c["first.weight"]), c["first.bias"]), 0)
        folded = c["depthwise.weight"] * factor[:, None, None, None]
        d = convolved(b, folded, c["norm.bias"] - c["norm.mean"] * factor, depthwise=True)
        e = np.maximum(d, 0)
        q = fake_quantised(e, result.scales["e"])
        outputs = run(output, image)
        # A value of e between two steps may round either way: an error of one step, times the largest weight.
        step = result.scales["e"] * 3
        for name in ("loc", "logits"):
            wanted = convolved(q, grid(c[f"{name}.weight"]), c[f"{name}.bias"])
            assert np.abs(outputs[name] - wanted).max() < step
            assert np.mean(np.abs(outputs[name] - wanted) < 1e-4) > 0.98
        assert outputs["sum"] == pytest.approx(e.sum(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_openvino_and_onnx_runtime_agree_and_are_near_fp32(heads, tmp_path, method):
    output = tmp_path / "int8.onnx"
    calibrate(heads, output, images(8), method=method)
    here = for_this_processor(output)
    compiled = openvino.Core().compile_model(str(here), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in images(3):
        exact, int8, wanted = run(heads, image), run(output, image), run(here, image)
        others = compiled({"image": image})
        for name in ("loc", "logits"):
            size = np.abs(exact[name]).max()
            assert np.abs(others[name] - wanted[name]).max() < 0.02 * size
            assert np.abs(int8[name] - exact[name]).max() < 0.1 * size


def test_metadata_is_kept_and_the_spec_records_its_provenance(heads, tmp_path):
    output = tmp_path / "int8.onnx"
    result = calibrate(heads, output, images(3), method="entropy")
    metadata = {entry.key: entry.value for entry in onnx.load(output).metadata_props}
    assert metadata["made_by"] == "a test"
    spec = ModelSpec.from_text(metadata[METADATA_KEY])
    assert spec.provenance == {
        "dataset": "none",
        "parent": "heads.onnx",
        "parent_sha256": hashlib.sha256(heads.read_bytes()).hexdigest(),
        "calibration_method": "entropy",
        "calibration_images": "3",
        "calibration_images_sha256": result.observations.image_set_sha256,
    }
    assert spec.with_provenance() == small_spec(provenance=spec.provenance)


def test_heads_without_a_spec_get_none(tmp_path):
    output = tmp_path / "int8.onnx"
    calibrate(saved(tiny_net(with_spec=False), tmp_path), output, images())
    assert METADATA_KEY not in {entry.key for entry in onnx.load(output).metadata_props}


def test_a_damaged_spec_is_refused(tmp_path):
    model = tiny_net()
    helper.set_model_props(model, {METADATA_KEY: "{}"})
    with pytest.raises(SpecError):
        calibrate(saved(model, tmp_path), tmp_path / "int8.onnx", images())


@pytest.mark.parametrize("image", [np.zeros((1, 3, 8, 8), np.float32), np.full((1, 3, 8, 8), 0.7, np.float32)])
@pytest.mark.parametrize("method", METHODS)
def test_uniform_images_give_a_valid_file(heads, tmp_path, image, method):
    output = tmp_path / "int8.onnx"
    result = calibrate(heads, output, [image] * 3, method=method)
    assert all(np.isfinite(scale) and scale > 0 for scale in result.scales.values())
    assert all(np.isfinite(array).all() for array in run(output, image).values())


def test_a_channel_of_zero_weights_gives_its_bias(tmp_path):
    weight = np.zeros((4, 8, 1, 1), np.float32)
    output = tmp_path / "int8.onnx"
    calibrate(saved(tiny_net(**{"loc.weight": weight}), tmp_path), output, images())
    bias = weights_of(tiny_net())["loc.bias"]
    assert np.allclose(run(output, images(1)[0])["loc"], bias.reshape(1, -1, 1, 1))


def test_a_tensor_that_becomes_nan_or_infinite_is_named(tmp_path):
    path = saved(tiny_net(**{"norm.weight": np.full(8, np.inf, np.float32)}), tmp_path)
    with pytest.raises(CalibrationError, match=r"tensor 'e' becomes NaN or infinite on calibration image 1"):
        calibrate(path, tmp_path / "int8.onnx", images())
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.slow
def test_a_free_batch_and_other_opsets_are_accepted(tmp_path):
    for number, model in enumerate([tiny_net(batch="N"), tiny_net(opset=13), tiny_net(opset=20)]):
        output = tmp_path / f"{number}.onnx"
        assert calibrate(saved(model, tmp_path), output, images()).num_quantised == 3
        assert np.isfinite(run(output, images(1)[0])["loc"]).all()


def without_convolutions(model):
    model.CopyFrom(helper.make_model(helper.make_graph([], "none", [], [])))


def of_free_size(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def of_batch_four(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def of_doubles(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def of_two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))


def broken(model):
    model.graph.node[0].input[0] = "nothing"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_convolutions, "no convolution"),
        (of_free_size, "fixed but for the batch"),
        (of_batch_four, "takes 4 images at once"),
        (of_doubles, "must take float32, but takes double"),
        (of_two_inputs, "one input, the image, but has 2"),
        (broken, "ONNX Runtime cannot load"),
    ],
)
def test_a_model_that_cannot_be_calibrated_is_refused_in_one_sentence(tmp_path, change, sentence):
    model = tiny_net()
    change(model)
    with pytest.raises(CalibrationError, match=sentence) as caught:
        calibrate(saved(model, tmp_path), tmp_path / "int8.onnx", images())
    assert "\n" not in str(caught.value)


# Weights outside the file.


def with_weights_outside(folder, name="weights.bin"):
    """Write heads.onnx with its convolutions' weights in another file, and everything else inside."""
    folder.mkdir(exist_ok=True)
    model, content = tiny_net(), b""
    for tensor in model.graph.initializer:
        if tensor.name.endswith("weight") and len(tensor.dims) == 4:
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", name), ("offset", len(content)), ("length", len(tensor.raw_data))):
                tensor.external_data.add(key=key, value=str(value))
            content += tensor.raw_data
            tensor.ClearField("raw_data")
    return saved(model, folder), content


def test_external_weights_beside_the_file_are_loaded(heads, tmp_path):
    outside, content = with_weights_outside(tmp_path / "outside")
    (outside.parent / "weights.bin").write_bytes(content)
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    calibrate(heads, first, images())
    calibrate(outside, second, images())
    models = [onnx.load(path, load_external_data=False) for path in (first, second)]
    for model in models:
        del model.metadata_props[:]
    assert models[0] == models[1]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../weights.bin", r"wants weights from '\.\./weights\.bin', outside its own folder"),
        ("/etc/passwd", "outside its own folder"),
        ("", "outside its own folder"),
        ("link.bin", "outside its own folder"),
        ("weights.bin", "which does not lie beside it"),
        ("short.bin", r"the weights of .*heads\.onnx cannot be read|cannot load .*heads\.onnx"),
    ],
)
def test_external_weights_from_other_folders_are_refused(tmp_path, name, sentence):
    path, content = with_weights_outside(tmp_path / "outside", name)
    (tmp_path / "weights.bin").write_bytes(content)
    (path.parent / "link.bin").symlink_to(tmp_path / "weights.bin")
    (path.parent / "short.bin").write_bytes(content[:100])
    with pytest.raises(CalibrationError, match=sentence) as caught:
        calibrate(path, tmp_path / "int8.onnx", images())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "int8.onnx").exists()


def test_an_already_quantised_file_is_refused(heads, tmp_path):
    output = tmp_path / "int8.onnx"
    calibrate(heads, output, images())
    with pytest.raises(CalibrationError, match="already quantised"):
        calibrate(output, tmp_path / "again.onnx", images())


def test_files_that_are_not_models_are_refused(tmp_path):
    with pytest.raises(CalibrationError, match="cannot read"):
        calibrate(tmp_path / "absent.onnx", tmp_path / "int8.onnx", images())
    text = tmp_path / "text.onnx"
    text.write_text("no model at all")
    with pytest.raises(CalibrationError, match="is not an ONNX file"):
        calibrate(text, tmp_path / "int8.onnx", images())


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"method": "median"}, "method must be one of"),
        ({"policy": Policy(skip=["nowhere"])}, "no convolution is named 'nowhere'"),
        ({"policy": Policy(skip=["first", "loc", "logits"])}, "no convolution is left"),
        ({"policy": Policy(least_products=28)}, "no convolution is left"),
    ],
)
def test_invalid_options_are_refused_before_any_image_is_read(heads, tmp_path, choice, sentence):
    def unread():
        pytest.fail("an image was read")
        yield

    with pytest.raises(CalibrationError, match=sentence):
        calibrate(heads, tmp_path / "int8.onnx", unread(), **choice)


def test_a_file_that_cannot_be_written_leaves_nothing(heads, tmp_path):
    folder = tmp_path / "int8.onnx"
    folder.mkdir()
    with pytest.raises(CalibrationError, match="cannot write"):
        calibrate(heads, folder, images())
    assert {entry.name for entry in tmp_path.iterdir()} == {"heads.onnx", "int8.onnx"}


@pytest.mark.slow
def test_the_pedestrian_detector_keeps_its_heads_in_int8(tmp_path):
    path = shared("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx")
    import cv2

    from ssd_edge.preprocess import preprocess

    spec = small_spec(input_size=(300, 300), mean=(127.5,) * 3, std=(127.5,) * 3)
    pictures = sorted(shared("data/coco128_yolo/images").rglob("*.jpg"))[:5]
    inputs = [preprocess(cv2.imread(str(picture)), spec) for picture in pictures]
    output = tmp_path / "int8.onnx"
    result = calibrate(path, output, inputs[:4])
    assert (result.num_quantised, result.num_convolutions) == (55, 88)
    assert output.stat().st_size < 0.3 * path.stat().st_size

    compiled = openvino.Core().compile_model(str(output), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kinds = [operator.get_rt_info() for operator in compiled.get_runtime_model().get_ops()]
    convolutions = [info for info in kinds if info["layerType"].astype(str) == "Convolution"]
    assert sum(info["runtimePrecision"].astype(str) in ("u8", "i8") for info in convolutions) == 55

    exact = run(path, inputs[4])
    int8 = compiled({"image": inputs[4]})
    scores = [1 / (1 + np.exp(-logits[0, :, 1])) for logits in (exact["logits"], int8["logits"])]
    assert np.abs(scores[0] - scores[1]).mean() < 0.001


@pytest.mark.slow
def test_an_old_opset_with_weights_among_its_inputs_is_converted(tmp_path):
    path = shared("weights/ultraface/version-RFB-320_without_postprocessing.onnx")
    output, random = tmp_path / "int8.onnx", np.random.default_rng(2)
    pictures = [random.uniform(-1, 1, (1, 3, 240, 320)).astype(np.float32) for _ in range(2)]
    result = calibrate(path, output, pictures)
    model = onnx.load(output)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["input"]
    assert sum(quantised_convolutions(output).values()) == result.num_quantised < result.num_convolutions == 52
    assert all(np.isfinite(array).all() for array in run(output, pictures[0]).values())


def test_without_onnx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "ssd_edge.graph.fp32")
    with pytest.raises(MissingDependencyError, match="calibrate"):
        importlib.import_module("ssd_edge.graph.fp32")

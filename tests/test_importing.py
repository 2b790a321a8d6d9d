"""Import of models that others trained, compared with the original file and with independent figures."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.data.dataset import read_image
from ssd_edge.data.readers import open_dataset
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.engines.opening import open_model
from ssd_edge.errors import ModelError, SpecError
from ssd_edge.evaluation import measure_ap
from ssd_edge.files import sha256
from ssd_edge.graph.heads import precision_of, read_spec
from ssd_edge.importing import import_onnx, read_description
from ssd_edge.preprocess import preprocess
from tests.foreign import ORT, by_onnx_runtime, with_float_weights
from tests.helpers import ROOT, shared, small_spec
from tests.models_for_tests import quantised, tiny_model, write_tiny

DESCRIPTION = {
    "labels": ["bolt", "nut"],
    "input_size": [32, 32],
    "mean": [0, 0, 0],
    "std": [1, 1, 1],
    "levels": [
        {"grid": [4, 4], "sizes": [[0.2, 0.2], [0.3, 0.15], [0.15, 0.3]]},
        {"grid": [2, 2], "sizes": [[0.5, 0.5], [0.8, 0.6]]},
    ],
}


def describe(folder, **changes):
    content = {**DESCRIPTION, **changes}
    path = folder / "model.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path


def rename(model, names):
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    return model


def add_output(model, name, *shape):
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


@pytest.fixture
def bring(tmp_path):
    """Import a model with the small description; the result runs the heads on an image, and knows their file."""

    def imported(model, **options):
        changes = options.pop("changes", {})
        source = tmp_path / "source.onnx"
        onnx.save(model, source)
        import_onnx(source, describe(tmp_path, **changes), tmp_path / "heads.onnx", **options)
        engine = open_model(tmp_path / "heads.onnx")
        heads = engine.submit(IMAGE)()
        engine.close()
        return heads

    imported.file = tmp_path / "heads.onnx"
    return imported


IMAGE = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)


def run(model, *outputs, image="image"):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(outputs), {image: IMAGE})


def agree(heads, wanted):
    for head, right in zip(heads, wanted, strict=True):
        np.testing.assert_allclose(head, right, rtol=1e-5, atol=1e-5)


# Two models from elsewhere.


@pytest.fixture(scope="module")
def pedestrian(tmp_path_factory):
    source = shared("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx")
    path = tmp_path_factory.mktemp("pedestrian") / "heads.onnx"
    import_onnx(source, ROOT / "benchmarks/specs/pedestrian_ssdlite.json", path)
    return path


@pytest.fixture(scope="module")
def ultraface(tmp_path_factory):
    source = shared("weights/ultraface/version-RFB-320_without_postprocessing.onnx")
    path = tmp_path_factory.mktemp("ultraface") / "heads.onnx"
    import_onnx(source, ROOT / "benchmarks/specs/ultraface.json", path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_pedestrian_ap_is_the_independent_figure(pedestrian, tmp_path, backend):
    """The independent figure is person AP50 0.372 ± 0.005, by other code, Pillow and pycocotools (shared/README.md)."""
    build_bundle(pedestrian, tmp_path / "a.engine", backend)
    engine = load_bundle(tmp_path / "a.engine")
    dataset = open_dataset(shared("data/coco128_yolo"), labels=("person",))
    result = measure_ap(engine.detector(), dataset.samples, ("person",))
    engine.close()
    assert result.ap50 == pytest.approx(0.372, abs=0.005)
    assert result.ap == pytest.approx(0.189, abs=0.005)


@pytest.mark.slow
def test_pedestrian_heads_are_those_of_the_original(pedestrian):
    """The tolerance is 1e-3 for logits up to 20, since folding constants reorders some sums."""
    original = onnxruntime.InferenceSession(
        str(shared("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx")), providers=["CPUExecutionProvider"]
    )
    spec = read_spec(pedestrian)
    assert spec.num_default_boxes == 1917
    engine = open_model(pedestrian)
    for name in ("astronaut.png", "coffee.png"):
        image = preprocess(read_image(shared(f"media/{name}")), spec)
        for head, wanted in zip(engine.submit(image)(), original.run(["loc", "logits"], {"image": image}), strict=True):
            np.testing.assert_allclose(head, wanted, atol=1e-3)
    engine.close()


def test_provenance_names_the_original(pedestrian):
    source = shared("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx")
    provenance = read_spec(pedestrian).provenance
    assert provenance["parent"] == source.name
    assert provenance["parent_sha256"] == sha256(source)


def test_ultraface_heads_are_those_of_the_original(ultraface):
    """The original ends in Softmax, so softmax(logits) must equal its scores, and loc its boxes; tolerance 1e-5."""
    original = onnxruntime.InferenceSession(
        str(shared("weights/ultraface/version-RFB-320_without_postprocessing.onnx")),
        providers=["CPUExecutionProvider"],
    )
    spec = read_spec(ultraface)
    assert spec.num_default_boxes == 4420
    engine = open_model(ultraface)
    for name in ("astronaut.png", "chelsea.png", "china.jpg"):
        image = preprocess(read_image(shared(f"media/{name}")), spec)
        heads = engine.submit(image)()
        scores, boxes = original.run(["scores", "boxes"], {"input": image})
        exponentials = np.exp(heads.logits - heads.logits.max(-1, keepdims=True))
        np.testing.assert_allclose(exponentials / exponentials.sum(-1, keepdims=True), scores, atol=1e-5)
        np.testing.assert_allclose(heads.loc, boxes, rtol=1e-4, atol=1e-4)
    engine.close()


def test_ultraface_batchnorms_go_into_the_convolutions(ultraface):
    """The file comes from an old exporter and lists its weights as inputs, so they are not constants."""
    model = onnx.load(ultraface)
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Conv", "Relu", "Add", "Concat", "Transpose", "Reshape"}
    assert [value.name for value in model.graph.input] == ["image"]


def test_ultraface_finds_the_astronaut(ultraface):
    """The one face lies about where a person sees it: x 165 … 285, y 65 … 215 of 512 × 512."""
    engine = open_model(ultraface)
    detections = engine.detector()(read_image(shared("media/astronaut.png"))).above(0.7)
    engine.close()
    assert len(detections) == 1
    x1, y1, x2, y2 = detections.boxes[0]
    assert 160 < x1 < 200
    assert 55 < y1 < 100
    assert 245 < x2 < 285
    assert 165 < y2 < 220


def test_no_face_on_a_cup_of_coffee(ultraface):
    engine = open_model(ultraface)
    assert len(engine.detector()(read_image(shared("media/coffee.png"))).above(0.7)) == 0
    engine.close()


# Graphs of other shapes; the reference is ONNX Runtime on the graph before the import.


def test_a_model_of_other_names(bring):
    model = rename(tiny_model(), {"image": "data", "loc": "regression", "logits": "classification"})
    agree(bring(model), run(model, "regression", "classification", image="data"))


def test_names_that_are_swapped(bring):
    model = rename(tiny_model(), {"loc": "logits", "logits": "loc"})
    agree(bring(model), run(model, "logits", "loc"))


def test_inner_names_that_clash(bring):
    """A layer of the original has the name of our output."""
    model = rename(
        tiny_model(),
        {"loc": "a", "logits": "b", "image": "c", "stem.out": "loc", "body.out": "logits", "map1.out": "image"},
    )
    agree(bring(model), run(model, "a", "b", image="c"))


@pytest.mark.parametrize(("kind", "function"), [("Softmax", "softmax"), ("Sigmoid", "sigmoid")])
@pytest.mark.parametrize("behind", ["", "Reshape", "Transpose"])
def test_a_last_activation_is_cut_off(bring, kind, function, behind):
    model = tiny_model()
    wanted = run(model, "loc", "logits")
    if behind == "Transpose":  # (1, 56, 3) → (1, 3, 56) → activation → (1, 56, 3)
        model.graph.node.append(helper.make_node("Transpose", ["logits"], ["turned"], perm=[0, 2, 1]))
        axis = {"axis": 1} if kind == "Softmax" else {}
        model.graph.node.append(helper.make_node(kind, ["turned"], ["active"], **axis))
        model.graph.node.append(helper.make_node("Transpose", ["active"], ["scores"], perm=[0, 2, 1]))
    else:
        model.graph.node.append(helper.make_node(kind, ["logits"], ["active" if behind else "scores"]))
        if behind:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray([1, -1, 3]), "shape"))
            model.graph.node.append(helper.make_node("Reshape", ["active", "shape"], ["scores"]))
    del model.graph.output[1]
    add_output(model, "scores", 1, 56, 3)
    agree(bring(model, changes={"score_function": function}), wanted)
    assert kind not in {node.op_type for node in onnx.load(bring.file).graph.node}


def test_an_activation_before_the_concat_is_cut_off(bring):
    model = tiny_model()
    wanted = run(model, "loc", "logits")
    (concat,) = (node for node in model.graph.node if "logits" in node.output)
    at = list(model.graph.node).index(concat)
    for k, part in enumerate(list(concat.input)):
        model.graph.node.insert(at, helper.make_node("Softmax", [part], [f"{part}.scores"], axis=-1))
        concat.input[k] = f"{part}.scores"
    agree(bring(model), wanted)


def test_an_activation_on_a_part_only(bring):
    model = tiny_model()
    (concat,) = (node for node in model.graph.node if "logits" in node.output)
    at = list(model.graph.node).index(concat)
    model.graph.node.insert(at, helper.make_node("Sigmoid", [concat.input[0]], ["part"]))
    concat.input[0] = "part"
    with pytest.raises(ModelError, match="only a part of its logits goes through Sigmoid"):
        bring(model, changes={"score_function": "sigmoid"})


def test_an_activation_that_is_not_the_described_one(bring):
    model = tiny_model()
    model.graph.node.append(helper.make_node("Sigmoid", ["logits"], ["scores"]))
    del model.graph.output[1]
    add_output(model, "scores", 1, 56, 3)
    with pytest.raises(ModelError, match="ends in Sigmoid, but its score_function is 'softmax'"):
        bring(model)


def test_an_activation_inside_the_network_stays(bring):
    """SiLU, x · sigmoid(x), contains a Sigmoid that must stay."""
    model = tiny_model()
    (relu,) = (node for node in model.graph.node if "map1.out" in node.output)
    at = list(model.graph.node).index(relu)
    model.graph.node.remove(relu)
    model.graph.node.insert(at, helper.make_node("Mul", ["map1.conv", "gate"], ["map1.out"]))
    model.graph.node.insert(at, helper.make_node("Sigmoid", ["map1.conv"], ["gate"]))
    agree(bring(model), run(model, "loc", "logits"))


def test_both_logits_and_scores_are_outputs(bring):
    model = tiny_model()
    wanted = run(model, "loc", "logits")
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["scores"]))
    add_output(model, "scores", 1, 56, 3)
    with pytest.raises(ModelError, match=r"one output \[1, 56, 3\] for logits.*name it with --logits"):
        bring(model)
    agree(bring(model, logits="scores"), wanted)
    agree(bring(model, logits="logits"), wanted)


def test_three_classes_look_like_boxes(bring):
    """With three labels both heads have four columns; naming one of them is enough."""
    spec = small_spec(labels=("a", "b", "c"))
    model = tiny_model(spec)
    changes = {"labels": ["a", "b", "c"]}
    with pytest.raises(ModelError, match=r"for loc.*name it with --loc"):
        bring(model, changes=changes)
    agree(bring(model, changes=changes, loc="loc"), run(model, "loc", "logits"))
    with pytest.raises(ModelError, match="cannot both be loc"):
        bring(model, changes=changes, loc="loc", logits="loc")


def test_other_outputs_of_the_file_are_left_out(bring):
    model = tiny_model()
    model.graph.node.append(helper.make_node("ReduceMax", ["logits"], ["best"], keepdims=0))
    add_output(model, "best")
    bring(model)
    imported = onnx.load(bring.file)
    assert {value.name for value in imported.graph.output} == {"loc", "logits"}
    assert "ReduceMax" not in {node.op_type for node in imported.graph.node}


def test_weights_that_are_inputs_too(bring):
    model = tiny_model()
    wanted = run(model, "loc", "logits")
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.ir_version = 3
    agree(bring(model), wanted)


@pytest.mark.parametrize("dims", [(0,), (2, 3), (0, 2, 3)])
def test_an_input_of_any_size_is_fixed_to_the_description(bring, dims):
    model = tiny_model()
    wanted = run(model, "loc", "logits")
    for dim in dims:
        model.graph.input[0].type.tensor_type.shape.dim[dim].dim_param = f"d{dim}"
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_param = "n"
    agree(bring(model), wanted)
    spec = read_spec(bring.file)  # also checks the shapes in the file
    assert spec.input_size == (32, 32)
    (image,) = onnx.load(bring.file).graph.input
    assert [dim.dim_value for dim in image.type.tensor_type.shape.dim] == [1, 3, 32, 32]


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_an_older_opset_is_raised(bring, opset):
    model = tiny_model()
    model.opset_import[0].version = opset
    wanted = run(model, "loc", "logits")
    agree(bring(model), wanted)
    assert [(entry.domain, entry.version) for entry in onnx.load(bring.file).opset_import] == [("", 20)]


def test_the_imported_file_can_be_imported_again(bring, tmp_path):
    model = tiny_model()
    wanted = bring(model)
    again = tmp_path / "again.onnx"
    import_onnx(bring.file, describe(tmp_path), again)
    engine = open_model(again)
    agree(engine.submit(IMAGE)(), wanted)
    engine.close()


# INT8 of other tools.


def exactly(path, *outputs):
    """Run a file operator by operator, without the optimiser, which rounds INT8 in its own ways."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(list(outputs), {"image": IMAGE})


def types_of_weights(path):
    return [tensor.data_type for tensor in onnx.load(path).graph.initializer]


@pytest.mark.parametrize("options", sorted(set(ORT) - {"QOperator"}))
def test_onnx_runtimes_int8_stays_as_it_is(bring, tmp_path, options, capfd):
    """Outputs stay the same to the last bit; no bias becomes int32, which NVIDIA's parser would refuse."""
    heads = tmp_path / "fp32.onnx"
    onnx.save(tiny_model(), heads)
    source = by_onnx_runtime(heads, tmp_path / "int8.onnx", [IMAGE], options)
    bring(onnx.load(source))
    for ours, wanted in zip(exactly(bring.file, "loc", "logits"), exactly(source, "loc", "logits"), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    has_int32 = TensorProto.INT32 in types_of_weights(source)
    assert (TensorProto.INT32 in types_of_weights(bring.file)) == has_int32
    assert precision_of(bring.file) == "INT8"


def test_onnx_runtimes_own_operators_are_refused(tmp_path, capfd):
    heads = tmp_path / "fp32.onnx"
    onnx.save(tiny_model(), heads)
    source = by_onnx_runtime(heads, tmp_path / "int8.onnx", [IMAGE], "QOperator")
    with pytest.raises(ModelError, match=r"uses QLinearConcat, .* if it is INT8, in the Q/DQ format"):
        import_onnx(source, describe(tmp_path), tmp_path / "heads.onnx")


def test_the_style_of_model_optimizer(bring, tmp_path):
    """Its weights are floats followed by Q; they are stored as int8, and the outputs stay the same."""
    source = tmp_path / "modelopt.onnx"
    onnx.save(with_float_weights(quantised(tiny_model())), source)
    bring(onnx.load(source))
    for ours, wanted in zip(exactly(bring.file, "loc", "logits"), exactly(source, "loc", "logits"), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    assert TensorProto.INT8 in types_of_weights(bring.file)
    assert bring.file.stat().st_size < 0.6 * source.stat().st_size


def test_the_spec_of_the_fp32_heads_serves_as_description(tmp_path):
    """Other tools lose the spec of the heads that they quantise."""
    fp32, bare, output = (tmp_path / name for name in ("fp32.onnx", "bare.onnx", "heads.onnx"))
    write_tiny(fp32)
    onnx.save(quantised(tiny_model()), bare)
    import_onnx(bare, fp32, output)
    spec = read_spec(output)
    assert spec.provenance["parent_sha256"] == sha256(bare)
    assert spec == small_spec(provenance=spec.provenance)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "cannot read"),
        (lambda path: path.write_text("text"), "is not an ONNX file"),
        (lambda path: onnx.save(tiny_model(), path), "carries no model spec"),
    ],
)
def test_an_onnx_file_that_describes_nothing(tmp_path, make, words):
    make(tmp_path / "spec.onnx")
    with pytest.raises(SpecError, match=words):
        read_description(tmp_path / "spec.onnx")


# What cannot be imported.


def refused(tmp_path, error, match, model=None, content=None, description=None, **options):
    """Check that an import fails with one sentence, and writes no file."""
    source = tmp_path / "source.onnx"
    if content is not None:
        source.write_bytes(content)
    else:
        onnx.save(model or tiny_model(), source)
    with pytest.raises(error, match=match) as caught:
        import_onnx(source, description or describe(tmp_path), tmp_path / "heads.onnx", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "heads.onnx").exists()


def test_a_wrong_input_size(tmp_path):
    refused(
        tmp_path,
        ModelError,
        r"one input \[1, 3, 64, 64\], by its description, but has image \[1, 3, 32, 32\]",
        description=describe(tmp_path, input_size=[64, 64]),
    )


def test_an_input_with_the_channels_last(tmp_path):
    model = tiny_model()
    model.graph.node.insert(0, helper.make_node("Transpose", ["nhwc"], ["image"], perm=[0, 3, 1, 2]))
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("nhwc", TensorProto.FLOAT, [1, 32, 32, 3]))
    refused(tmp_path, ModelError, r"but has nhwc \[1, 32, 32, 3\]", model)


def test_an_input_of_bytes(tmp_path):
    model = tiny_model()
    model.graph.node.insert(0, helper.make_node("Cast", ["bytes"], ["image"], to=TensorProto.FLOAT))
    model.graph.input[0].name = "bytes"
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    refused(tmp_path, ModelError, "must take FLOAT, but its input bytes is UINT8", model)


def test_two_inputs(tmp_path):
    model = tiny_model()
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    refused(tmp_path, ModelError, r"but has image \[1, 3, 32, 32\], more \[1\]", model)


def test_no_such_outputs(tmp_path):
    for options in ({"loc": "none"}, {"logits": "none"}, {"loc": "logits"}):
        refused(tmp_path, ModelError, r"but has loc \[1, 56, 4\], logits \[1, 56, 3\]; --lo", **options)


def test_levels_of_another_model(tmp_path):
    description = describe(tmp_path, levels=DESCRIPTION["levels"][:1])
    refused(tmp_path, ModelError, "correct the levels and labels of the description", description=description)


def test_labels_of_another_model(tmp_path):
    refused(tmp_path, ModelError, r"\[1, 56, 2\] for logits", description=describe(tmp_path, labels=["bolt"]))


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", b"\x00" * 100, b"\x89PNG\r\n\x1a\n" + b"\x00" * 50])
def test_a_file_that_is_not_onnx(tmp_path, content):
    refused(tmp_path, ModelError, r"source\.onnx ", content=content)


def test_a_truncated_file(tmp_path):
    refused(tmp_path, ModelError, r"source\.onnx is not an ONNX file", content=tiny_model().SerializeToString()[:-2000])


def test_an_unknown_operator(tmp_path):
    model = tiny_model()
    model.graph.node[1].domain = "my.company"
    model.opset_import.append(helper.make_opsetid("my.company", 1))
    refused(tmp_path, ModelError, "cannot be imported|can be imported", model)


def test_no_file(tmp_path):
    with pytest.raises(ModelError, match="there is no file"):
        import_onnx(tmp_path / "none.onnx", describe(tmp_path), tmp_path / "heads.onnx")


def test_an_output_that_cannot_be_written(tmp_path):
    onnx.save(tiny_model(), tmp_path / "source.onnx")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        import_onnx(tmp_path / "source.onnx", describe(tmp_path), tmp_path / "file" / "heads.onnx")


# Descriptions.


def test_sizes_from_scale_and_ratio(tmp_path):
    """w = s·√a, h = s/√a, and the step is 1/grid."""
    levels = [{"grid": [2, 4], "boxes": [[0.5, 1], [0.5, 4]]}, {"grid": [1, 1], "sizes": [[0.3, 0.4]], "step": [1, 1]}]
    first, second = read_description(describe(tmp_path, levels=levels)).levels
    np.testing.assert_allclose(first.sizes, [(0.5, 0.5), (1.0, 0.25)])
    assert first.step == (0.5, 0.25)
    assert second.sizes == ((0.3, 0.4),)


@pytest.mark.parametrize("field", ["labels", "input_size", "mean", "std", "levels"])
def test_a_field_that_is_missing(tmp_path, field):
    refused(tmp_path, SpecError, f"model.json lacks {field}", description=describe(tmp_path, **{field: None}))


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": "bolt"},
        {"labels": []},
        {"labels": ["a", "a"]},
        {"labels": 3},
        {"input_size": 300},
        {"input_size": [300]},
        {"input_size": ["a", "b"]},
        {"input_size": [0, 32]},
        {"input_size": [1e400, 32]},
        {"mean": [1, 2]},
        {"mean": "grey"},
        {"std": [0, 1, 1]},
        {"std": [float("nan"), 1, 1]},
        {"levels": []},
        {"levels": 5},
        {"levels": [5]},
        {"levels": ["grid"]},
        {"levels": {"grid": [1, 1]}},
        {"levels": [{}]},
        {"levels": [{"grid": [1, 1]}]},
        {"levels": [{"grid": [1, 1], "boxes": None}]},
        {"levels": [{"grid": [1, 1], "sizes": ["a" * 5000]}]},
        {"levels": [{"grid": [0, 1], "boxes": [[0.1, 1]]}]},
        {"levels": [{"grid": [1, 1, 1], "boxes": [[0.1, 1]]}]},
        {"levels": [{"grid": [1, 1], "boxes": [[0.1]]}]},
        {"levels": [{"grid": [1, 1], "boxes": [[0.1, -1]]}]},
        {"levels": [{"grid": [1, 1], "boxes": [[0.1, 0]]}]},
        {"levels": [{"grid": [1, 1], "boxes": []}]},
        {"levels": [{"grid": [1, 1], "sizes": [[0.1, "x"]]}]},
        {"levels": [{"grid": [100000, 100000], "sizes": [[0.1, 0.1]]}]},
        {"box_order": "xyxy"},
        {"score_function": "relu"},
        {"channel_order": "grb"},
        {"levels": [{"grid": [1, 1], "sizes": [[0.2], [0.4]]}]},
        {"levels": [{"grid": [1, 1], "sizes": [0.2, 0.4]}]},
        {"levels": [{"grid": [1, 1], "sizes": [[0.2, 0.2, 0.2]]}]},
        {"levels": [{"grid": [1, 1], "sizes": [[0.2, 0.2]], "step": [1]}]},
        {"levels": [{"grid": [1, 1], "sizes": [[0.2, 0.2]], "step": 1}]},
        {"levels": [{"grid": [1, 1], "sizes": [[0.2, 0.2]], "boxes": [[0.2, 1]]}]},
        {"levels": [{"grid": [1, 1], "sizes": [[0.2, 0.2]], "steps": [1, 1]}]},
        {"levels": [{"grid": [1.5, 1], "sizes": [[0.2, 0.2]]}]},
        {"levels": [{"grid": [1, 1], "boxes": [[True, 1]]}]},
        {"levels": [{"grid": [1, 1], "boxes": [[0.1, 10**400]]}]},
        {"mean": [10**400, 0, 0]},
        {"labels": [1, 2]},
        {"clip": "no"},
        {"clip_boxes": "never"},
        {"top_k": 1.5},
        {"variances": [0.1]},
        {"variances": 0.1},
        {"variances": ["0.1", "0.2"]},
        {"variances": [0.1, 0.2, 0.3]},
        {"variances": [0.1, 0.2, 0.1, 0.2]},
        {"variances": [0.1, 0.1, 0.2, 0.3]},
        {"variances": [10, 10, 0.2, 0.2]},
        {"variances": [10, 5]},
        {"score_threshold": "high"},
        {"score_threshold": 2},
        {"lables": ["bolt"]},
        {"spec_version": 99},
    ],
    ids=str,
)
def test_a_field_that_is_wrong(tmp_path, changes):
    refused(tmp_path, SpecError, r"model\.json", description=describe(tmp_path, **changes))


@pytest.mark.parametrize(
    ("given", "variances"),
    [
        ([0.1, 0.2], (0.1, 0.2)),
        ([1, 1], (1.0, 1.0)),
        ([0.1, 0.1, 0.2, 0.2], (0.1, 0.2)),
        ([10, 10, 5, 5], (0.1, 0.2)),
        ([10.0, 10.0, 5.0, 5.0], (0.1, 0.2)),
        ([1, 1, 1, 1], (1.0, 1.0)),
    ],
)
def test_ways_of_writing_variances(tmp_path, given, variances):
    assert read_description(describe(tmp_path, variances=given)).variances == pytest.approx(variances)


def test_two_reciprocals_are_no_variances(tmp_path):
    with pytest.raises(SpecError, match=r"are factors, usually 0\.1 and 0\.2, but got \[10, 5\].* give \[0\.1, 0\.2\]"):
        read_description(describe(tmp_path, variances=[10, 5]))


@pytest.mark.parametrize("text", ["", "{", "labels: [a]", "[]", "3", "null", '"text"', "\ufffe"])
def test_a_file_that_is_not_a_description(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    refused(tmp_path, SpecError, r"model\.json (is not valid JSON|must hold)", description=tmp_path / "model.json")


def test_a_description_of_bytes(tmp_path):
    (tmp_path / "model.json").write_bytes(b"\xff\xfe\x00\x81")
    refused(tmp_path, SpecError, "is not valid JSON", description=tmp_path / "model.json")


def test_no_description(tmp_path):
    refused(tmp_path, SpecError, "cannot read .*none.json", description=tmp_path / "none.json")
    refused(tmp_path, SpecError, "cannot read", description=tmp_path)


def test_the_specs_in_the_repository_are_sound():
    for path in (ROOT / "benchmarks/specs").glob("*.json"):
        assert read_description(path).architecture == "imported"


def test_heads_run_as_an_engine(bring):
    model = tiny_model()
    bring(model)
    engine = OnnxRuntimeEngine(bring.file, read_spec(bring.file), "FP32")
    agree(engine.submit(IMAGE)(), run(model, "loc", "logits"))
    engine.close()

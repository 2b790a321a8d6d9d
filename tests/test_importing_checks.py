"""Imports that are refused because decode would run twice, and files that are no ONNX."""

from __future__ import annotations

import json
import pickle
import unicodedata
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.boxes import default_boxes
from ssd_edge.calibration.lint.check import check_onnx
from ssd_edge.description import read_description
from ssd_edge.errors import ModelError, SsdEdgeError
from ssd_edge.graph.fp32 import read_heads
from ssd_edge.graph.heads import read_spec
from ssd_edge.importing import import_onnx
from ssd_edge.stream.video_file import VideoSource
from ssd_edge.training.checkpoints import load_checkpoint
from tests import test_importing
from tests.helpers import sentence, shared, small_spec
from tests.models_for_tests import tiny_model
from tests.test_importing import agree, describe, run

bring = test_importing.bring
CONSTANTS = [np.float32(0.5), np.full(4, 0.5, np.float32), np.full((1, 1, 4), 0.5, np.float32)]


def append(model, kind, inputs, output, **attributes):
    """Append a node; an input that is an array becomes a constant."""
    names = []
    for number, value in enumerate(inputs):
        if not isinstance(value, str):
            name = f"{output}.{number}"
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
            value = name
        names.append(value)
    model.graph.node.append(helper.make_node(kind, names, [output], f"node of {output}", **attributes))


def output_is(model, old, new, shape):
    """Replace an output."""
    kept = [value for value in model.graph.output if value.name != old]
    del model.graph.output[:]
    model.graph.output.extend([*kept, helper.make_tensor_value_info(new, TensorProto.FLOAT, shape)])
    return model


def with_decode(model, by="Exp"):
    """Append decode as exporters write it, with the shapes of raw heads."""
    defaults, f = default_boxes(small_spec()), np.float32
    append(model, "Slice", ["loc", [0], [2], [2]], "centre")
    append(model, "Slice", ["loc", [2], [4], [2]], "size")
    append(model, "Mul", ["centre", f(0.1)], "c1")
    append(model, "Mul", ["c1", defaults[None, :, 2:]], "c2")
    append(model, "Add", ["c2", defaults[None, :, :2]], "c3")
    append(model, "Mul", ["size", f(0.2)], "s1")
    append(model, *{"Exp": ("Exp", ["s1"]), "Pow": ("Pow", [f(np.e), "s1"]), "none": ("Identity", ["s1"])}[by], "s2")
    append(model, "Mul", ["s2", defaults[None, :, 2:]], "s3")
    append(model, "Concat", ["c3", "s3"], "boxes", axis=2)
    return output_is(model, "loc", "boxes", [1, 56, 4])


@pytest.mark.parametrize(("by", "node"), [("Exp", "'node of s2' (Exp)"), ("Pow", "'node of s2' (Pow)"), ("none", "")])
def test_decoded_boxes_are_refused_and_the_raw_head_is_named(bring, by, node):
    model = with_decode(tiny_model(), by)
    with pytest.raises(ModelError, match="the boxes in 'boxes' are decoded already") as error:
        bring(model)
    assert node in sentence(error)
    assert sentence(error).endswith("export the raw regression head, or take what stands before that: --loc loc")
    agree(bring(model, loc="loc"), run(tiny_model(), "loc", "logits"))


@pytest.mark.parametrize("kind", ["Sigmoid", "Softplus"])
def test_another_function_of_sizes_shows_decode(bring, kind):
    model = tiny_model()
    append(model, kind, ["loc"], "boxes")
    with pytest.raises(ModelError, match=rf"node of boxes' \({kind}\)"):
        bring(output_is(model, "loc", "boxes", [1, 56, 4]))


def test_decode_before_the_matrix_that_gives_corners(bring):
    """Exports for TensorRT's NMS turn centres and sizes into corners by a matrix, which is no head."""
    model = with_decode(tiny_model())
    corners = np.float32([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
    append(model, "MatMul", ["boxes", corners], "corners")
    with pytest.raises(ModelError, match=r"node of s2' \(Exp\).*--loc loc"):
        bring(output_is(model, "boxes", "corners", [1, 56, 4]))


def test_a_constant_for_each_box_alone_shows_decode(bring):
    model = tiny_model()
    append(model, "Add", ["loc", default_boxes(small_spec())[None]], "boxes")
    with pytest.raises(ModelError, match=r"node of boxes' \(Add\)"):
        bring(output_is(model, "loc", "boxes", [1, 56, 4]))


@pytest.mark.parametrize(
    "constant", [np.float32(0.5), np.full(4, 0.5, np.float32), np.full((1, 1, 4), 0.5, np.float32)]
)
@pytest.mark.parametrize("kind", ["Add", "Mul"])
def test_a_bias_or_a_scale_of_the_channels_is_a_raw_head(bring, kind, constant):
    model = tiny_model()
    append(model, kind, ["loc", constant], "more")
    output_is(model, "loc", "more", [1, 56, 4])
    agree(bring(model), run(model, "more", "logits"))


def test_an_exponential_before_the_last_convolution_is_no_decode(bring):
    """Mish and others contain one; there the raw heads follow."""
    model = tiny_model()
    (relu,) = (node for node in model.graph.node if "map1.out" in node.output)
    at = list(model.graph.node).index(relu)
    model.graph.node.remove(relu)
    model.graph.node.insert(at, helper.make_node("Exp", ["map1.conv"], ["map1.out"]))
    agree(bring(model), run(model, "loc", "logits"))


def test_variances_multiplied_inside(bring):
    model = tiny_model()
    append(model, "Mul", ["loc", np.asarray([0.1, 0.1, 0.2, 0.2], np.float32)], "scaled")
    output_is(model, "loc", "scaled", [1, 56, 4])
    with pytest.raises(
        ModelError, match=r'multiplies \'scaled\' by its variances \[0.1, 0.2\] already: write "variance'
    ):
        bring(model)
    agree(bring(model, changes={"variances": [1, 1]}), run(model, "scaled", "logits"))


# Probabilities.


def softmax_by_hand(model, name="logits", shifted=True):
    if shifted:
        append(model, "ReduceMax", [name, *([[2]] if model.opset_import[0].version >= 18 else [])], "peak")
        append(model, "Sub", [name, "peak"], "shifted")
    append(model, "Exp", ["shifted" if shifted else name], "e")
    append(model, "ReduceSum", ["e", [2]], "sum")
    append(model, "Div", ["e", "sum"], "scores")
    return output_is(model, "logits", "scores", [1, 56, 3])


@pytest.mark.parametrize("shifted", [True, False])
def test_a_softmax_written_out_is_cut_off(bring, shifted):
    model = softmax_by_hand(tiny_model(), shifted=shifted)
    agree(bring(model), run(tiny_model(), "loc", "logits"))
    assert not {"Exp", "Div"} & {node.op_type for node in onnx.load(bring.file).graph.node}


@pytest.mark.parametrize(("kind", "function"), [("Softmax", "softmax"), ("Sigmoid", "sigmoid")])
def test_an_activation_between_casts_is_cut_off(bring, kind, function):
    """FP16 exports end in a Cast back to float; the tolerance is FP16's, 2^-11."""
    model = tiny_model()
    append(model, "Cast", ["logits"], "half", to=TensorProto.FLOAT16)
    append(model, kind, ["half"], "active")
    append(model, "Cast", ["active"], "scores", to=TensorProto.FLOAT)
    output_is(model, "logits", "scores", [1, 56, 3])
    heads = bring(model, changes={"score_function": function})
    (logits,) = run(tiny_model(), "logits")
    np.testing.assert_allclose(heads.logits, logits, rtol=2**-11)
    assert kind not in {node.op_type for node in onnx.load(bring.file).graph.node}


def sigmoid_by_hand(model):
    append(model, "Neg", ["logits"], "n")
    append(model, "Exp", ["n"], "e")
    append(model, "Add", ["e", np.float32(1)], "d")
    append(model, "Reciprocal", ["d"], "scores")


def softmax_of_another_kind(model):
    append(model, "LogSoftmax", ["logits"], "l", axis=2)
    append(model, "Exp", ["l"], "scores")


def softmax_and_a_cut(model):
    append(model, "Softmax", ["logits"], "s", axis=2)
    append(model, "Clip", ["s", np.float32(1e-3), np.float32(1)], "scores")


@pytest.mark.parametrize(
    ("end", "function", "said"),
    [
        (sigmoid_by_hand, "sigmoid", "a trial run lies in 0 … 1: export it without its sigmoid"),
        (sigmoid_by_hand, "softmax", "a trial run lies in 0 … 1: export it without its sigmoid"),
        (softmax_of_another_kind, "softmax", "sums to 1: export it without its softmax"),
        (softmax_and_a_cut, "softmax", "sums to 1: export it without its softmax"),
    ],
)
def test_probabilities_are_noticed_in_a_trial_run(bring, end, function, said):
    model = tiny_model()
    end(model)
    output_is(model, "logits", "scores", [1, 56, 3])
    changes = {"score_function": function}
    with pytest.raises(ModelError, match="'scores' holds probabilities instead of logits") as error:
        bring(model, changes=changes)
    assert said in sentence(error)
    assert sentence(error).endswith("or take what stands before that: --logits logits")
    agree(bring(model, changes=changes, logits="logits"), run(tiny_model(), "loc", "logits"))


# NMS.


def with_nms(model, kind, domain=""):
    """Append NMS and make its results the only outputs."""
    append(model, "Softmax", ["logits"], "scores", axis=2)
    if kind == "NonMaxSuppression":
        append(model, "Transpose", ["scores"], "by_class", perm=[0, 2, 1])
        append(model, kind, ["loc", "by_class", [10], np.asarray([0.5], np.float32)], "selected")
    else:
        append(model, kind, ["loc", "scores"], "selected", **({"domain": domain} if domain else {}))
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_empty_tensor_value_info("selected"))
    return model


NMS = [
    ("NonMaxSuppression", ""),
    ("EfficientNMS_TRT", ""),
    ("EfficientNMS_ONNX_TRT", "TRT"),
    ("BatchedNMSDynamic_TRT", ""),
    ("TFLite_Detection_PostProcess", "tflite"),
    ("NMSRotated", "mmdeploy"),
    ("nms", "torchvision"),
]


@pytest.mark.parametrize(("kind", "domain"), NMS)
def test_nms_is_named_with_the_heads_before_it(bring, kind, domain):
    model = with_nms(tiny_model(), kind, domain)
    with pytest.raises(ModelError, match="does NMS itself") as error:
        bring(model)
    assert f"in node 'node of selected' ({kind}): export it without post-processing" in sentence(error)
    assert sentence(error).endswith("or take what stands before that: --loc loc --logits logits")
    agree(bring(model, loc="loc", logits="logits"), run(tiny_model(), "loc", "logits"))


def test_nms_in_a_subgraph_is_named(bring):
    """tf2onnx and PyTorch wrap it into If and Loop."""
    model = with_nms(tiny_model(), "NonMaxSuppression")
    (nms,) = (node for node in model.graph.node if node.op_type == "NonMaxSuppression")
    model.graph.node.remove(nms)
    branch = helper.make_graph(
        [nms], "branch", [], [helper.make_tensor_value_info("selected", TensorProto.INT64, None)]
    )
    append(model, "If", [np.asarray(True)], "chosen", then_branch=branch, else_branch=branch)
    del model.graph.output[:]
    model.graph.output.append(helper.make_empty_tensor_value_info("chosen"))
    with pytest.raises(ModelError, match=r"in node 'node of chosen' \(NonMaxSuppression\)") as error:
        bring(model)
    assert sentence(error).endswith("so that its outputs are the raw heads")


def test_nms_beside_the_heads_is_left_out(bring):
    model = with_nms(tiny_model(), "EfficientNMS_TRT")
    model.graph.output.extend(tiny_model().graph.output)
    agree(bring(model), run(tiny_model(), "loc", "logits"))
    assert "EfficientNMS_TRT" not in {node.op_type for node in onnx.load(bring.file).graph.node}


def test_nms_behind_decode_with_one_more_output(bring):
    """The outputs that do not depend on NMS are not both heads, so NMS is what has to be said."""
    model = with_nms(with_decode(tiny_model()), "NonMaxSuppression")
    (nms,) = (node for node in model.graph.node if node.op_type == "NonMaxSuppression")
    nms.input[0] = "boxes"
    model.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 56, 3]))
    with pytest.raises(ModelError, match="does NMS itself"):
        bring(model)


def test_a_tensor_inside_that_is_no_head(bring):
    with pytest.raises(ModelError, match=r"--loc map1.out is not such an output"):
        bring(tiny_model(), loc="map1.out")


# Files of other formats.


def _zip(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


FORMATS = {
    "Git LFS": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "git lfs pull",
    ),
    "TensorFlow Lite": (lambda p: p.write_bytes(b"\x1c\0\0\0TFL3" + bytes(50)), "with tf2onnx"),
    "PyTorch checkpoint": (lambda p: _zip(p, "model/data.pkl", "model/data/0"), "torch.onnx.export"),
    "Python pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1}, 4)), "not opened because it can run code"),
    "TorchScript": (lambda p: _zip(p, "m/data.pkl", "m/constants.pkl"), "torch.onnx.export"),
    "Keras": (lambda p: _zip(p, "config.json", "model.weights.h5"), "tf2onnx"),
    "Keras model": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50)), "tf2onnx"),
    "zip archive": (lambda p: _zip(p, "model.onnx"), "unpack it"),
    "damaged archive": (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(50)), "download it again"),
    "safetensors": (lambda p: p.write_bytes((20).to_bytes(8, "little") + b'{"a":{}}' + bytes(20)), "torch.onnx.export"),
    "TensorRT plan": (lambda p: p.write_bytes(b"ptrt" + bytes(50)), "ONNX file that it was built from"),
    "web page": (lambda p: p.write_text("\n<!DOCTYPE html><html>"), "download the file itself"),
    "OpenVINO": (lambda p: p.write_text('<?xml version="1.0"?>\n<net name="a" version="11">'), "ONNX file that it was"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b" + bytes(50)), "unpack it"),
    "empty": (lambda p: p.touch(), "download it again"),
    "holds no network": (lambda p: p.write_bytes(b"\x0a\x02ab"), "tf2onnx"),
    "folder": (lambda p: p.mkdir(), "give the file"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_another_format_is_named(tmp_path, name):
    make, advice = FORMATS[name]
    source = tmp_path / "model.onnx"
    make(source)
    with pytest.raises(ModelError, match=f"model.onnx .*{name}") as error:
        import_onnx(source, describe(tmp_path), tmp_path / "heads.onnx")
    assert advice in sentence(error)
    if source.is_file():
        with pytest.raises(ModelError, match=r"model\.onnx "):
            read_spec(source)


def test_a_saved_model_is_named(tmp_path):
    (tmp_path / "model.onnx").mkdir()
    (tmp_path / "model.onnx" / "saved_model.pb").touch()
    with pytest.raises(ModelError, match="is a TensorFlow SavedModel: convert it"):
        import_onnx(tmp_path / "model.onnx", describe(tmp_path), tmp_path / "heads.onnx")


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    (tmp_path / "model.onnx").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match="pickle"):
        import_onnx(tmp_path / "model.onnx", describe(tmp_path), tmp_path / "heads.onnx")
    assert not (tmp_path / "ran").exists()


# The cases that people reported.


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("16-decode-inside/decoded", "decoded already"),
        ("16-decode-inside/raw", ""),
        ("17-softmax-twice/fp16", ""),
        ("17-softmax-twice/by_hand", ""),
        ("18-nms-inside/with_plugin", "(EfficientNMS_TRT)"),
        ("18-nms-inside/with_post", "(NonMaxSuppression)"),
    ],
)
def test_reported_cases(tmp_path, case, said):
    source = shared(f"cases/{case}.onnx")
    if not said:
        import_onnx(source, source.parent / "spec.json", tmp_path / "heads.onnx")
        kinds = {node.op_type for node in onnx.load(tmp_path / "heads.onnx").graph.node}
        assert not {"Softmax", "Exp", "Div"} & kinds
        return
    with pytest.raises(ModelError) as error:
        import_onnx(source, source.parent / "spec.json", tmp_path / "heads.onnx")
    assert said in sentence(error)


def test_an_lfs_pointer_is_named_by_every_reader(tmp_path):
    for name in ("model.onnx", "model.json", "model.pt", "clip.mp4"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    readers = (
        lambda: check_onnx(tmp_path / "model.onnx"),
        lambda: read_heads(tmp_path / "model.onnx"),
        lambda: read_description(tmp_path / "model.json"),
        lambda: load_checkpoint(tmp_path / "model.pt"),
        lambda: VideoSource(tmp_path / "clip.mp4"),
    )
    for read in readers:
        with pytest.raises(SsdEdgeError, match=r"is a Git LFS pointer and not the file itself: fetch that with"):
            read()


def test_labels_of_a_description_are_composed_whatever_its_encoding(tmp_path):
    """Files from macOS hold decomposed Hangul (NFD); some editors write a mark in front, or UTF-16."""
    path = describe(tmp_path, labels=[unicodedata.normalize("NFD", "불량"), "Größe"])
    text = json.dumps(json.loads(path.read_text()), ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text(text, encoding=encoding)
        assert read_description(path).labels == ("불량", "Größe")

"""``ssd-edge export-decode``: its file runs in ONNX Runtime and OpenVINO; other commands refuse it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import openvino
import pytest
from onnxruntime import InferenceSession

from ssd_edge.decode import Decoder
from ssd_edge.engines.opening import open_model
from ssd_edge.engines.plugins.library_plugin import NAME
from ssd_edge.graph.heads import read_spec
from tests.decode_nodes.in_onnxruntime import session_options
from tests.decode_nodes.in_openvino import extensions


@pytest.fixture
def decoded(cli, heads_onnx, tmp_path):
    target = tmp_path / "tiny.decode.onnx"
    done = cli("export-decode", heads_onnx, "-o", target)
    assert (done.code, done.out) == (0, "")
    assert f"next: trtexec --onnx={target} --staticPlugins={NAME}" in done.err
    return target


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_file_gives_the_detections_of_its_heads(decoded, heads_onnx, runtime):
    """The reference is the host decode of the same runtime's heads; results are equal to the last bit."""
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    spec = read_spec(heads_onnx)
    if runtime == "onnxruntime":
        heads = InferenceSession(heads_onnx).run(["loc", "logits"], {"image": image})
        num, boxes, scores, classes, cut = InferenceSession(decoded, session_options()).run(None, {"image": image})
    else:
        core = openvino.Core()
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        heads = list(core.compile_model(core.read_model(heads_onnx), "CPU", exact)(image).values())
        for one in extensions(spec):
            core.add_extension(one)
        num, boxes, scores, classes, cut = core.compile_model(core.read_model(decoded), "CPU", exact)(image).values()
    wanted = Decoder(spec)(*(head[0] for head in heads), spec.input_size)
    count = int(num[0, 0])
    assert count == len(wanted) > 0
    assert int(cut[0, 0]) == wanted.num_cut
    np.testing.assert_array_equal(scores[0, :count], wanted.scores)
    np.testing.assert_array_equal(classes[0, :count], wanted.labels)
    np.testing.assert_array_equal(np.clip(boxes[0, :count] * np.float32(32), 0, 32), wanted.boxes)


def test_json_names_the_outputs(cli, heads_onnx, tmp_path):
    done = cli("export-decode", heads_onnx, "-o", tmp_path / "d.onnx", "--half", "--json")
    assert json.loads(done.out)["outputs"]["num_cut"] == [1, 1]
    assert json.loads(done.out)["outputs"]["boxes"] == [1, read_spec(heads_onnx).max_detections, 4]
    graph = onnx.load(tmp_path / "d.onnx").graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert (types["image"], types["boxes"]) == (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT)
    assert onnx.TensorProto.FLOAT16 in {weight.data_type for weight in graph.initializer}


def test_the_default_output_is_beside_the_heads(cli, heads_onnx, tmp_path):
    heads = tmp_path / "a.int8.onnx"
    heads.write_bytes(heads_onnx.read_bytes())
    assert cli("export-decode", heads).code == 0
    assert (tmp_path / "a.int8.decode.onnx").is_file()


@pytest.mark.parametrize("command", ["eval", "build-engine", "benchmark", "inspect", "export-decode", "calibrate"])
def test_commands_that_need_heads_refuse_the_file(cli, decoded, data, command):
    more = {"eval": [data], "calibrate": [data], "benchmark": ["-c", data]}.get(command, [])
    cli(command, decoded, *more).sentence("has its decode inside", "give the heads")


def test_heads_are_not_overwritten(cli, heads_onnx):
    before = heads_onnx.read_bytes()
    cli("export-decode", heads_onnx, "-o", heads_onnx).sentence("is the heads' own file")
    assert heads_onnx.read_bytes() == before


def test_opened_from_python(decoded):
    with pytest.raises(Exception, match="has its decode inside"):
        open_model(decoded)

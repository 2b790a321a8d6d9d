"""Entries for Triton and folders for DeepStream, from bundles whose plan the fake builder made."""

from __future__ import annotations

import configparser
import ctypes
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from ssd_edge.cli.main import app, main
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.deploy import deepstream, triton
from ssd_edge.engines.deploy.plan import Deployable, deployable
from ssd_edge.engines.plugins.decode_graph import INTERFACE
from ssd_edge.errors import BackendError, BundleIntegrityError
from ssd_edge.preprocess import preprocess
from tests.engines.tensorrt.test_backend import device  # noqa: F401
from tests.helpers import COMPILER, plan_entry, small_spec

ONE_STD = {"mean": (127.5, 127.0, 126.5), "std": (64.0, 64.0, 64.0)}


def model(tmp_path, spec=None, precision="FP32", **facts) -> Deployable:
    (tmp_path / "model.plan").write_bytes(b"plan")
    facts = {"decode": "ahead-of-time", "max_batch": "1", "gpu": "Orin", **facts}
    plan = plan_entry(backend="tensorrt", version="10.16.1", precision=precision, files=("model.plan",), facts=facts)
    return Deployable("parts", tmp_path / "model.plan", plan, spec or small_spec(**ONE_STD))


def tensors(text):
    """(data type, dims) by name."""
    rows = re.findall(r'name: "(\w+)" data_type: (\w+) dims: \[ ([\d, ]+) \] \}', text)
    return {name: (kind, tuple(map(int, dims.split(",")))) for name, kind, dims in rows}


def test_a_plan_of_one_image_keeps_its_shapes(tmp_path):
    text = triton.config(model(tmp_path, precision="FP16"))
    assert "max_batch_size: 0\n" in text
    assert 'platform: "tensorrt_plan"' in text
    described = tensors(text)
    most = small_spec().max_detections
    assert described == {
        "image": ("TYPE_FP32", (1, 3, 32, 32)),
        "num_detections": ("TYPE_INT32", (1, 1)),
        "boxes": ("TYPE_FP32", (1, most, 4)),
        "scores": ("TYPE_FP32", (1, most)),
        "classes": ("TYPE_INT32", (1, most)),
        "num_cut": ("TYPE_INT32", (1, 1)),
    }


def test_a_plan_of_batches_leaves_the_batch_out(tmp_path):
    text = triton.config(model(tmp_path, max_batch="8", dla_core="1"))
    assert "max_batch_size: 8\n" in text
    most = small_spec().max_detections
    assert tensors(text) == {
        "image": ("TYPE_FP32", (3, 32, 32)),
        "num_detections": ("TYPE_INT32", (1,)),
        "boxes": ("TYPE_FP32", (most, 4)),
        "scores": ("TYPE_FP32", (most,)),
        "classes": ("TYPE_INT32", (most,)),
        "num_cut": ("TYPE_INT32", (1,)),
    }
    assert "kind: KIND_NVDLA device_id: 1" in text


@pytest.mark.parametrize(("max_batch", "dla"), [("1", {}), ("8", {"dla_core": "0"})])
def test_triton_reads_it(max_batch, dla, tmp_path):
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    read = text_format.Parse(triton.config(model(tmp_path, max_batch=max_batch, **dla)), schema.ModelConfig())
    assert [len(read.input), len(read.output), len(read.instance_group)] == [1, 5, len(dla)]


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_pages_preprocess_equals_the_models(order, tmp_path):
    """The page's function against ``preprocess``, to the last bit."""
    spec = small_spec(channel_order=order)
    (code,) = re.findall(r"```python\n(.*?)```", triton.page(model(tmp_path, spec)), re.DOTALL)
    names: dict = {}
    exec(code, names)
    frame = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    np.testing.assert_array_equal(names["preprocess"](frame), preprocess(frame, spec))


def test_the_client_of_a_model_that_averages_does_so(tmp_path):
    spec = small_spec(resize="area")
    frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    (code,) = re.findall(r"```python\n(.*?)```", triton.page(model(tmp_path, spec)), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    np.testing.assert_array_equal(names["preprocess"](frame), preprocess(frame, spec))


def test_classes_with_scores_of_their_own_are_shown_from_there(tmp_path):
    scored = model(tmp_path, small_spec(operating_scores={"nut": 0.62}))
    text = deepstream.config(scored)
    assert "[class-attrs-1]\npre-cluster-threshold=0.62\n" in text
    assert "[class-attrs-0]" not in text
    assert "operating score on: nut 0.62." in triton.page(scored)


def test_the_page_names_what_the_server_must_load(tmp_path):
    assert "plugins=" not in triton.page(model(tmp_path))
    text = triton.page(model(tmp_path, decode="python", version_compatible="yes"))
    assert "--backend-config=tensorrt,plugins=/models/libssd_edge_plugin.so" in text
    assert "--backend-config=tensorrt,version-compatible=true" in text
    assert "LD_PRELOAD" not in deepstream.page(model(tmp_path))
    assert "LD_PRELOAD=$PWD/libssd_edge_plugin.so gst-launch-1.0" in deepstream.page(model(tmp_path, decode="library"))


def test_the_page_says_how_many_sources_go_into_a_batch(tmp_path):
    assert "one frame at a time" in deepstream.page(model(tmp_path))
    text = deepstream.page(model(tmp_path, max_batch="4"))
    assert "up to 4 frames at a time" in text
    assert "nvstreammux name=m batch-size=4 " in text
    assert "`m.sink_3`" in text


def test_every_key_is_one_that_nvinfer_reads(tmp_path):
    """Keys of [property] and [class-attrs-N] in gst-nvinfer/gstnvinfer_property_parser.h of DeepStream 8.0."""
    known = {
        *("gpu-id", "gie-unique-id", "process-mode", "network-type", "network-mode", "model-engine-file", "batch-size"),
        *("labelfile-path", "num-detected-classes", "net-scale-factor", "offsets", "model-color-format"),
        *("maintain-aspect-ratio", "scaling-filter", "output-blob-names", "custom-lib-path", "parse-bbox-func-name"),
        *("cluster-mode", "enable-dla", "use-dla-core", "pre-cluster-threshold"),
    }
    read = configparser.ConfigParser()
    read.read_string(deepstream.config(model(tmp_path, small_spec(operating_scores={"nut": 0.62}), dla_core="1")))
    assert {key for section in read.sections() for key in read[section]} == known


def test_nvinfer_is_told_how_to_prepare_its_input(tmp_path):
    read = configparser.ConfigParser()
    read.read_string(deepstream.config(model(tmp_path, max_batch="4", dla_core="1")))
    told = read["property"]
    assert float(told["net-scale-factor"]) == 1 / 64
    assert tuple(map(float, told["offsets"].split(";"))) == ONE_STD["mean"]
    keys = ("model-color-format", "maintain-aspect-ratio", "cluster-mode", "batch-size", "num-detected-classes")
    assert [told[key] for key in keys] == ["0", "0", "4", "4", "2"]
    assert (told["enable-dla"], told["use-dla-core"], told["network-mode"]) == ("1", "1", "0")
    assert told["output-blob-names"] == "num_detections;boxes;scores;classes;num_cut"
    # Without this nvinfer would drop all below its own 0.2.
    assert float(read["class-attrs-all"]["pre-cluster-threshold"]) == small_spec().score_threshold


def test_nvinfer_has_one_scale(tmp_path):
    factor, off = deepstream.scale(small_spec())  # ImageNet's
    assert max(abs(factor * std - 1) for std in small_spec().std) == pytest.approx(off)
    assert off == pytest.approx(0.01104, abs=1e-5)
    assert "contrast is off by 1.1%" in deepstream.config(model(tmp_path, small_spec()))
    with pytest.raises(BackendError, match=r"one number, and this model's std is 50\.0, 57\.0, 64\.0: .*--to triton"):
        deepstream.config(model(tmp_path, small_spec(std=(50.0, 57.0, 64.0))))


@pytest.mark.parametrize(("precision", "mode"), [("FP32", "0"), ("INT8", "1"), ("FP16", "2")])
def test_nvinfer_takes_plans_of_every_precision(precision, mode, tmp_path):
    folder = deepstream.export(model(tmp_path, precision=precision), tmp_path / "out")
    assert f"\nnetwork-mode={mode}\n" in (folder / deepstream.CONFIGURATION).read_text()


# The parser, compiled with a header that has the names and the order of DeepStream's.

HEADER = """
#pragma once
#include <vector>
enum NvDsInferDataType { FLOAT = 0, HALF = 1, INT8 = 2, INT32 = 3 };
struct NvDsInferDims { unsigned numDims; unsigned d[8]; unsigned numElements; };
struct NvDsInferLayerInfo {
  NvDsInferDataType dataType; NvDsInferDims inferDims; int bindingIndex; const char* layerName; void* buffer;
  int isInput;
};
struct NvDsInferNetworkInfo { unsigned width, height, channels; };
struct NvDsInferObjectDetectionInfo { unsigned classId; float left, top, width, height, detectionConfidence; };
struct NvDsInferParseDetectionParams {
  unsigned numClassesConfigured; std::vector<float> perClassPreclusterThreshold;
};
#define CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(f) static_assert(true, "")
"""
CALLER = """
#include "parser.cpp"
extern "C" int call(float* boxes, float* scores, int* classes, int places, int kind, float* values) {
  std::vector<NvDsInferLayerInfo> layers(3);
  const char* names[] = {"classes", "scores", "boxes"};
  void* buffers[] = {classes, scores, boxes};
  for (int k = 0; k < 3; ++k) {
    layers[k].dataType = k ? FLOAT : NvDsInferDataType(kind);
    layers[k].inferDims.numElements = k < 2 ? places : 4 * places;
    layers[k].layerName = names[k];
    layers[k].buffer = buffers[k];
  }
  std::vector<NvDsInferObjectDetectionInfo> objects;
  if (!NvDsInferParseCustomSsdEdge(layers, {300, 200, 3}, {2, {0.1f, 0.5f}}, objects)) return -1;
  for (const auto& o : objects) {
    for (float value : {float(o.classId), o.left, o.top, o.width, o.height, o.detectionConfidence}) *values++ = value;
  }
  return objects.size();
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"no {COMPILER}")
def test_the_parser(tmp_path):
    (tmp_path / "nvdsinfer_custom_impl.h").write_text(HEADER)
    (tmp_path / "call.cpp").write_text(CALLER)
    source = deepstream._SOURCE
    command = [COMPILER, "-std=c++17", "-Wall", "-Werror", "-fPIC", "-shared", f"-I{tmp_path}", f"-I{source.parent}"]
    subprocess.run([*command, tmp_path / "call.cpp", "-o", tmp_path / "call.so"], check=True)
    call = ctypes.CDLL(str(tmp_path / "call.so")).call
    boxes = np.float32([[0.1, 0.2, 0.5, 0.6], [-0.2, 0, 1.5, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0.5, 0, 0.5, 1], [0] * 4])
    scores = np.float32([0.9, 0.8, 0.4, 0.3, 0.2, 0.0])
    classes = np.int32([0, 1, 1, 2, 0, -1])  # then: below its class's threshold; no such class; empty; the end
    objects = np.zeros((6, 6), np.float32)
    arguments = [ctypes.c_void_p(array.ctypes.data) for array in (boxes, scores, classes)]
    assert call(*arguments, 6, 3, ctypes.c_void_p(objects.ctypes.data)) == 2
    expected = [[0, 30, 40, 120, 80, 0.9], [1, 0, 0, 300, 200, 0.8]]
    np.testing.assert_allclose(objects[:2], expected, rtol=1e-6)  # float32's products
    assert call(*arguments, 6, 0, ctypes.c_void_p(objects.ctypes.data)) == -1  # classes of another type


# From a bundle, by the command.


@pytest.fixture
def built(device, heads_onnx, tmp_path, monkeypatch):  # noqa: F811
    """A bundle with the fake builder's plan, whose manifest says that decode is inside."""
    from ssd_edge.engines.base import BuildOptions

    output = tmp_path / "my parts.engine"
    build_bundle(heads_onnx, output, "tensorrt", options=BuildOptions(decode="host-launch", precision="FP32"))
    with pytest.raises(BackendError, match=r"only ssd-edge decodes them \(host-launch\): build it with decode inside"):
        deployable(output)
    from ssd_edge.engines.deploy import plan as module

    manifest = module.read_manifest(output)
    (plan,) = manifest.plans

    def says(**facts):
        inside = replace(manifest, plans=(replace(plan, facts={**plan.facts, "decode": "ahead-of-time", **facts}),))
        monkeypatch.setattr(module, "read_manifest", lambda folder: inside)

    says()
    with pytest.raises(BackendError, match=r"built by an older ssd-edge, with an FP16 image .*: build it again; on"):
        deployable(output)
    says(interface=INTERFACE)
    return output


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["ssd-edge", "export-deploy", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return end.code
    return 0


def test_triton_from_a_bundle(built, tmp_path, monkeypatch, capsys):
    repository = tmp_path / "models"
    assert run(monkeypatch, built, "--to", "triton", repository) == 0
    entry = repository / "my_parts"
    assert {p.relative_to(entry).as_posix() for p in entry.rglob("*") if p.is_file()} == {
        "1/model.plan",
        "README.md",
        "config.pbtxt",
        "labels.txt",
    }
    assert (entry / "1" / "model.plan").read_bytes() == (built / "model.plan").read_bytes()
    assert (entry / "labels.txt").read_text() == "bolt\nnut\n"
    capsys.readouterr()
    assert run(monkeypatch, built, "--to", "triton", repository) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert [p.name for p in repository.iterdir()] == ["my_parts"]


def test_deepstream_from_a_bundle(built, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    assert run(monkeypatch, built, "--to", "deepstream", out) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config_infer_primary.txt",
        "labels.txt",
        "model.plan",
        "nvdsinfer_ssd_edge.cpp",
    ]


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    one = model(tmp_path)
    one.file.unlink()
    with pytest.raises(FileNotFoundError):
        triton.export(one, tmp_path / "models")
    assert not list((tmp_path / "models").iterdir())


def test_bundles_without_a_servable_plan(bundle, tmp_path, monkeypatch, capsys):
    assert app.info.name == "ssd-edge"
    assert run(monkeypatch, bundle, "--to", "triton", tmp_path / "models") == 2
    words = " ".join(capsys.readouterr().err.split())
    assert "Triton and DeepStream run plans of TensorRT, and" in words
    assert "--backend tensorrt --add" in words
    assert not (tmp_path / "models").exists()
    assert run(monkeypatch, bundle, "--to", "elsewhere", tmp_path / "models") == 2
    with pytest.raises(BundleIntegrityError):
        deployable(tmp_path)

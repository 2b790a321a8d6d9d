"""Builds with TensorRT, over a fake that records what it is told: no TensorRT and no GPU is here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.engines import tensorrt as backend
from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.bundle import build_bundle, read_manifest
from ssd_edge.engines.onnxruntime import read_spec
from ssd_edge.engines.trt import compile as compiling
from ssd_edge.engines.trt.compile import compile_plan
from ssd_edge.engines.trt.precision import layers_of, of_convolutions
from ssd_edge.engines.trt.qdq import check_qdq
from ssd_edge.engines.trt.request import Request
from ssd_edge.errors import BackendError, MissingDependencyError, ModelError
from ssd_edge.heads_file import write_heads
from tests.engines.fake_tensorrt import (
    BuilderFlag,
    DeviceType,
    FakeTensorRt,
    HardwareCompatibilityLevel,
    MemoryPoolType,
    ProfilingVerbosity,
)
from tests.helpers import ROOT, plan_entry, small_spec
from tests.models_for_tests import quantised, tiny_model


def silent(done, total):
    """No progress."""


def sentence(error) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text


@pytest.fixture
def known(monkeypatch) -> list[str]:
    """The forms whose plugins were made known."""
    asked: list[str] = []
    monkeypatch.setattr(compiling.forms, "make_known", lambda form, kernels, trt: asked.append(form))
    return asked


@pytest.fixture
def int8_onnx(tmp_path) -> Path:
    path = tmp_path / "int8.onnx"
    write_heads(quantised(tiny_model()), small_spec(), path)
    return path


def request(source: Path, folder: Path, precision: str = "FP16", form: str = "host-launch", **changes) -> Request:
    (folder / "kernels").write_bytes(b"kernels")
    paths = {name: str(folder / name) for name in ("plan", "timing", "layers")}
    return Request(
        source=str(source), kernels=str(folder / "kernels"), precision=precision, form=form, **{**paths, **changes}
    )


@pytest.mark.parametrize(
    ("precision", "counted"), [("FP32", "8 FP32"), ("FP16", "8 FP16"), ("INT8", "8 INT8")], ids=lambda value: value
)
def test_every_convolution_has_the_precision_asked_for(precision, counted, heads_onnx, int8_onnx, tmp_path):
    trt = FakeTensorRt()
    source = int8_onnx if precision == "INT8" else heads_onnx
    facts = compile_plan(request(source, tmp_path, precision), silent, trt)
    assert facts["convolutions"] == facts["layers"] == counted
    assert facts["device_memory_bytes"] == "12345"
    layers = json.loads((tmp_path / "layers").read_text())
    assert [layer["precision"] for layer in layers] == [precision] * 8
    assert layers[0]["nodes"] == ["stem/Conv", "after"]
    (config,) = trt.configs
    assert config.profiling_verbosity is ProfilingVerbosity.DETAILED
    assert config.flags_set == set()
    assert config.limits == {}
    model = onnx.load(tmp_path / "plan")
    assert {value.name for value in model.graph.output} == {"loc", "logits"}


@pytest.mark.parametrize("form", ["ahead-of-time", "python", "library"])
def test_decode_is_in_the_plan(form, known, heads_onnx, tmp_path):
    compile_plan(request(heads_onnx, tmp_path, form=form), silent, FakeTensorRt())
    assert known == [form]
    graph = onnx.load(tmp_path / "plan").graph
    assert [node.op_type for node in graph.node][-3:] == ["SsdDecode", "SsdSelect", "SsdMerge"]
    assert [value.name for value in graph.output] == ["num_detections", "boxes", "scores", "classes", "num_cut"]


def test_all_that_can_be_asked_for(heads_onnx, tmp_path):
    trt = FakeTensorRt()
    asked = request(
        heads_onnx,
        tmp_path,
        workspace_mib=64,
        optimisation_level=5,
        version_compatible=True,
        hardware_compatible="ampere-plus",
    )
    compile_plan(asked, silent, trt)
    (config,) = trt.configs
    assert config.limits == {MemoryPoolType.WORKSPACE: 64 << 20}
    assert config.builder_optimization_level == 5
    assert config.flags_set == {BuilderFlag.VERSION_COMPATIBLE}
    assert config.hardware_compatibility_level is HardwareCompatibilityLevel.AMPERE_PLUS
    assert [runtime.engine_host_code_allowed for runtime in trt.runtimes] == [True]


def test_another_precision_than_asked_for_is_an_error(int8_onnx, tmp_path):
    trt = FakeTensorRt()
    trt.changed = {"body/Conv": "Row major linear FP32", "map1/Conv": "Half"}
    with pytest.raises(BackendError, match=r"made convolution 'body/Conv' FP32 where the heads ask for INT8, 2 of 8"):
        compile_plan(request(int8_onnx, tmp_path, "INT8"), silent, trt)
    assert not (tmp_path / "plan").exists()


def test_what_the_inspector_does_not_say_is_not_claimed(heads_onnx, tmp_path):
    trt = FakeTensorRt()
    trt.changed = {"body/Conv": "a form of a later release"}
    assert compile_plan(request(heads_onnx, tmp_path), silent, trt)["convolutions"] == "7 FP16, 1 unread"


def test_the_timing_cache_serves_the_next_build(heads_onnx, tmp_path):
    trt = FakeTensorRt()
    first = compile_plan(request(heads_onnx, tmp_path), silent, trt)
    assert (first["timing"], (tmp_path / "timing").read_bytes()) == ("measured", b"this GPU+")
    again = compile_plan(request(heads_onnx, tmp_path), silent, trt)
    assert (again["timing"], (tmp_path / "timing").read_bytes()) == ("taken from the bundle's cache", b"this GPU++")
    trt.gpu = b"another"
    other = compile_plan(request(heads_onnx, tmp_path), silent, trt)
    assert other["timing"] == "measured anew: the bundle's cache is of another TensorRT or GPU"
    assert (tmp_path / "timing").read_bytes() == b"another+"


def test_a_dla(heads_onnx, tmp_path):
    trt = FakeTensorRt()
    with pytest.raises(BackendError, match=r"DLA 0 was asked for, but this machine has none: leave out --dla"):
        compile_plan(request(heads_onnx, tmp_path, dla_core=0), silent, trt)
    trt.dla_cores = 2
    with pytest.raises(BackendError, match=r"DLA 2 was asked for, but this machine has DLA 0, 1"):
        compile_plan(request(heads_onnx, tmp_path, dla_core=2), silent, trt)
    facts = compile_plan(request(heads_onnx, tmp_path, dla_core=1, strict=True), silent, trt)
    assert facts["dla_core"] == "1"
    assert "not_on_dla" not in facts
    assert trt.configs[-1].default_device_type is DeviceType.DLA
    assert trt.configs[-1].flags_set == set()
    assert trt.runtimes[-1].DLA_core == 1
    trt.unfit_for_dla = {"body/Conv", "map1/Conv"}
    facts = compile_plan(request(heads_onnx, tmp_path, dla_core=1), silent, trt)
    layers = len(onnx.load(tmp_path / "plan").graph.node)
    assert (facts["dla_layers"], facts["not_on_dla"]) == (f"{layers - 2} of {layers}", "body/Conv, map1/Conv")
    assert trt.configs[-1].flags_set == {BuilderFlag.GPU_FALLBACK}
    with pytest.raises(BackendError, match=r"2 of \d+ layers cannot run on the DLA \(the first is 'body/Conv'\)"):
        compile_plan(request(heads_onnx, tmp_path, dla_core=1, strict=True), silent, trt)


@pytest.mark.parametrize("precision", ["FP32", "FP16", "INT8"])
def test_a_profile_of_batches(precision, heads_onnx, int8_onnx, known, tmp_path):
    """Of heads as they are exported, for one image."""
    trt = FakeTensorRt()
    source = int8_onnx if precision == "INT8" else heads_onnx
    asked = request(source, tmp_path, precision, "ahead-of-time", max_batch=4)
    assert compile_plan(asked, silent, trt)["convolutions"] == f"8 {precision}"
    (profile,) = trt.configs[-1].profiles
    assert profile.shapes == {"image": ((1, 3, 32, 32), (4, 3, 32, 32), (4, 3, 32, 32))}
    for value in onnx.load(tmp_path / "plan").graph.output:
        assert value.type.tensor_type.shape.dim[0].dim_param
    trt.fails = {"add_optimization_profile": "no such shapes"}
    with pytest.raises(BackendError, match="TensorRT refused batches from 1 to 4: leave out --max-batch"):
        compile_plan(asked, silent, trt)


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("parse", "In node 3: x failed In f at /_src/a.cpp:7", r"cannot read heads\.onnx: .*\(node body/Conv, Conv\)"),
        ("build_serialized_network", "out of memory", r"out of memory: close what else uses the GPU, or .*--workspace"),
        ("build_serialized_network", "no tactic", r"TensorRT cannot build heads\.onnx: no tactic$"),
        ("deserialize_cuda_engine", "bad magic", r"cannot load what it has just built: bad magic"),
        ("add_optimization_profile", "", ""),
    ],
)
def test_what_tensorrt_refuses_is_one_sentence(name, said, words, heads_onnx, tmp_path):
    trt = FakeTensorRt()
    trt.fails = {name: said}
    if not words:  # not asked for here
        compile_plan(request(heads_onnx, tmp_path), silent, trt)
        return
    with pytest.raises(BackendError, match=words) as error:
        compile_plan(request(heads_onnx, tmp_path), silent, trt)
    assert "/_src/" not in sentence(error)
    assert not (tmp_path / "plan").exists()


def test_an_old_release(heads_onnx, tmp_path):
    with pytest.raises(BackendError, match=r"TensorRT 8\.6\.1 is too old: 10\.3 or later"):
        compile_plan(request(heads_onnx, tmp_path), silent, FakeTensorRt(version="8.6.1"))


def test_progress_is_that_of_the_whole_and_ends_with_the_parent(heads_onnx, tmp_path, monkeypatch):
    told = []
    compile_plan(request(heads_onnx, tmp_path), lambda *step: told.append(step), FakeTensorRt())
    assert told == [(1, 2), (2, 2)]
    parents = iter([1, 1, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 2))
    with pytest.raises(BackendError, match="cannot build"):
        compile_plan(request(heads_onnx, tmp_path), silent, FakeTensorRt())


# What TensorRT does not take of Q/DQ.


def qdq(name: str, change) -> onnx.ModelProto:
    model = quantised(tiny_model())
    change({tensor.name: tensor for tensor in model.graph.initializer}, model)
    return model


def zero_point(constants, model):
    constants["zero"].CopyFrom(numpy_helper.from_array(np.int8(3), "zero"))


def unsigned(constants, model):
    constants["zero"].CopyFrom(numpy_helper.from_array(np.uint8(0), "zero"))


def int32_bias(constants, model):
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(8, np.int32), "bias.q"))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["bias.q", "step"], ["bias"], "bias/DQ"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (zero_point, "has a zero point that is not 0"),
        (unsigned, "has values of uint8"),
        (int32_bias, "node 'bias/DQ' dequantises a bias of int32"),
    ],
)
def test_what_is_not_taken_is_named_by_node(change, words):
    with pytest.raises(ModelError, match=words) as error:
        check_qdq(qdq("", change))
    assert "node '" in sentence(error)
    check_qdq(quantised(tiny_model()))


# What an inspector says.


def test_layers_of_forms_that_were_seen():
    """Type names as releases write them; a reformat beside a convolution does not speak for it."""
    text = json.dumps(
        {
            "Layers": [
                {"Name": "a + r", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Int8 NC/32HW32"}]},
                {"Name": "Reformatting a", "LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Float"}],
                 "Metadata": "[ONNX Layer: a]"},
                {"Name": "x", "LayerType": "CaskConvolution", "Metadata": "[ONNX Layer: b]\x1e[ONNX Layer: c]",
                 "Inputs": [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
                {"Name": "{ForeignNode[d...e]}", "LayerType": "DLA", "Metadata": "[ONNX Layer: d]", "Inputs": []},
                {"Name": "f", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "BF16"}]},
            ]
        }
    )  # fmt: skip
    assert of_convolutions(layers_of(text), "abcdf") == {"a": "INT8", "b": "FP16", "c": "FP16", "d": "DLA"}
    assert layers_of("no JSON") == layers_of("{}") == layers_of("[]") == []


# The backend and the bundle: through the child process, which imports a fake module of TensorRT's name.

CHILD = """
import os, sys
sys.path.insert(0, {root!r})
from tests.engines import fake_tensorrt
fake = fake_tensorrt.FakeTensorRt()
if os.environ.get("DIES"):
    os._exit(7)
sys.modules["tensorrt"] = fake
"""


class Driver:
    """One GPU as a Jetson's."""

    def device_count(self):
        return 1

    def device_name(self, index):
        return "Orin"

    def compute_capability(self, index):
        return (8, 7)

    def release(self):
        return (13, 0)


@pytest.fixture
def device(monkeypatch, tmp_path):
    """A machine with TensorRT 10.16 and a GPU."""
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "tensorrt.py").write_text(CHILD.format(root=str(ROOT)))
    monkeypatch.setenv("PYTHONPATH", str(fakes))
    monkeypatch.setattr(backend, "open_driver", Driver)
    monkeypatch.setattr(backend, "installed_version", lambda: "10.16.1.11")


def test_a_bundle(device, heads_onnx, tmp_path):
    output = tmp_path / "parts.engine"
    told = []
    options = BuildOptions(decode="host-launch", workspace_mib=32, optimisation_level=4)
    manifest = build_bundle(heads_onnx, output, "tensorrt", options=options, progress=lambda *step: told.append(step))
    (plan,) = manifest.plans
    assert (plan.backend, plan.version, plan.precision) == ("tensorrt", "10.16.1.11", "FP16")
    assert plan.files[0] == "model.plan"
    assert {"timing.cache", "layers.json"} < set(plan.files)
    assert sum(name.startswith("kernels.sm_87.") for name in plan.files) == 2
    facts = plan.facts
    assert (facts["decode"], facts["compute_capability"], facts["gpu"]) == ("host-launch", "8.7", "Orin")
    assert (facts["driver"], facts["max_batch"], facts["optimisation_level"]) == ("13.0", "1", "4")
    assert (facts["version_compatible"], facts["hardware_compatible"]) == ("no", "none")
    assert "plugin_version" not in facts
    assert facts["timing"] == "measured"
    assert told == [(1, 2), (2, 2)]
    assert read_manifest(output) == manifest
    again = build_bundle(heads_onnx, output, "tensorrt", options=options)
    assert again.plans[0].facts["timing"] == "taken from the bundle's cache"


def test_a_build_that_dies_leaves_the_old_bundle(device, heads_onnx, tmp_path, monkeypatch):
    output = tmp_path / "parts.engine"
    options = BuildOptions(decode="host-launch")
    build_bundle(heads_onnx, output, "tensorrt", options=options)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    monkeypatch.setenv("DIES", "1")
    with pytest.raises(BackendError, match="TensorRT died of an error of its own, exit code 7"):
        build_bundle(heads_onnx, output, "tensorrt", options=options)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"parts.engine", "fakes"}


def test_no_tensorrt_and_no_gpu(heads_onnx, tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "installed_version", lambda: None)
    with pytest.raises(MissingDependencyError, match=r"needs TensorRT, which is not installed: pip install"):
        build_bundle(heads_onnx, tmp_path / "a.engine", "tensorrt")
    monkeypatch.setattr(backend, "installed_version", lambda: "10.3.0")
    monkeypatch.setattr(Driver, "device_count", lambda self: 0)
    monkeypatch.setattr(backend, "open_driver", Driver)
    with pytest.raises(BackendError, match="shows no GPU; a plan of TensorRT is built on the GPU that runs it"):
        build_bundle(heads_onnx, tmp_path / "a.engine", "tensorrt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BuildOptions(optimisation_level=9), r"lies in 0 … 5, but got 9"),
        (BuildOptions(hardware_compatible="all"), "ampere-plus or same-compute-capability, but got 'all'"),
        (BuildOptions(strict=True), "--strict is about a DLA"),
        (BuildOptions(decode="magic"), "no form of decode is called 'magic'"),
        (BuildOptions(precision="INT8"), "INT8 needs heads with Q/DQ"),
        (
            BuildOptions(compute_capabilities=("8.6",)),
            "tensorrt takes no --compute-capability: that is asked of tensorrt-rtx",
        ),
    ],
)
def test_options_that_are_wrong(options, words, device, heads_onnx, tmp_path):
    with pytest.raises(BackendError, match=words) as error:
        build_bundle(heads_onnx, tmp_path / "a.engine", "tensorrt", options=options)
    sentence(error)


def test_the_line_for_trtexec():
    folder = Path("parts.engine")
    plan = plan_entry(files=("model.plan",), facts={"decode": "ahead-of-time"})
    line = "trtexec --loadEngine=parts.engine/model.plan --useCudaGraph --useSpinWait --noDataTransfers"
    assert backend.trtexec_line(folder, plan) == line
    facts = {"decode": "library", "dla_core": "1", "version_compatible": "yes"}
    assert backend.trtexec_line(folder, plan_entry(files=("model.plan",), facts=facts)).split()[2:5] == [
        "--staticPlugins=libssd_edge_plugin.so",
        "--useDLACore=1",
        "--versionCompatible",
    ]


def test_nothing_of_the_builder_is_imported_to_look_at_a_bundle():
    import subprocess

    code = (
        "import sys; import ssd_edge.engines.tensorrt; print(sorted({'onnx', 'tensorrt', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_specs_travel(heads_onnx):
    assert compiling._spec_of(onnx.load(heads_onnx)) == read_spec(heads_onnx)
    assert TensorProto.FLOAT == 1

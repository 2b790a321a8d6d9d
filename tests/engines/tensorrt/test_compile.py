"""Builds with TensorRT over a fake that records its calls, without TensorRT and without a GPU."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.engines.nvidia.builder import log_of
from ssd_edge.engines.tensorrt import compile as compiling
from ssd_edge.engines.tensorrt.compile import compile_plan
from ssd_edge.engines.tensorrt.dla import check_dla
from ssd_edge.engines.tensorrt.layers import layers_of, of_convolutions
from ssd_edge.engines.tensorrt.request import Request
from ssd_edge.errors import BackendError, ModelError
from ssd_edge.graph.heads import read_spec, spec_of, write_heads
from ssd_edge.graph.refusals import check_qdq
from tests.engines.fake_tensorrt import (
    BuilderFlag,
    DeviceType,
    FakeTensorRt,
    HardwareCompatibilityLevel,
    ILogger,
    MemoryPoolType,
    ProfilingVerbosity,
)
from tests.helpers import sentence, silent, small_spec
from tests.models_for_tests import quantised, tiny_model


@pytest.fixture
def known(monkeypatch) -> list[tuple[str, bytes]]:
    """Record the forms whose plugins were registered, with their kernels."""
    asked: list[tuple[str, bytes]] = []
    monkeypatch.setattr(compiling.forms, "make_known", lambda form, kernels, trt: asked.append((form, kernels)))
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
    assert float(facts["build_seconds"]) >= 0
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
    assert known == [(form, b"kernels")]
    graph = onnx.load(tmp_path / "plan").graph
    decode = [node.op_type for node in graph.node if node.domain == "ssd_edge"]
    assert decode == ["SsdDecode", "SsdSelect", "SsdMerge"]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT  # though the network is in FP16
    assert [value.name for value in graph.output] == ["num_detections", "boxes", "scores", "classes", "num_cut"]


def test_all_options(heads_onnx, tmp_path):
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


def test_the_lowest_level_is_not_its_own(heads_onnx, tmp_path):
    trt = FakeTensorRt()
    compile_plan(request(heads_onnx, tmp_path, optimisation_level=0), silent, trt)
    compile_plan(request(heads_onnx, tmp_path), silent, trt)
    assert [config.builder_optimization_level for config in trt.configs] == [0, 3]


def test_another_precision_than_asked_for_is_a_fact_and_an_error_if_strict(int8_onnx, tmp_path):
    trt = FakeTensorRt()
    trt.changed = {"body/Conv": "Row major linear FP32", "map1/Conv": "Half"}
    with pytest.raises(BackendError, match=r"2 of 8 convolutions of another precision .*body/Conv FP32 for INT8, "):
        compile_plan(request(int8_onnx, tmp_path, "INT8", strict=True), silent, trt)
    assert not (tmp_path / "plan").exists()
    facts = compile_plan(request(int8_onnx, tmp_path, "INT8"), silent, trt)
    assert facts["other_precision"] == "2 of 8: body/Conv FP32 for INT8, map1/Conv FP16 for INT8"
    assert facts["convolutions"] == "6 INT8, 1 FP16, 1 FP32"
    trt.changed = {}
    assert "other_precision" not in compile_plan(request(int8_onnx, tmp_path, "INT8", strict=True), silent, trt)


def test_unknown_precisions_are_reported_as_unread(heads_onnx, tmp_path):
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
    (tmp_path / "timing").write_bytes(b"torn")
    assert compile_plan(request(heads_onnx, tmp_path), silent, trt)["timing"] == other["timing"]


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
    assert (trt.configs[-1].DLA_core, trt.runtimes[-1].DLA_core) == (1, 1)
    trt.unfit_for_dla = {"body/Conv", "map1/Conv"}
    facts = compile_plan(request(heads_onnx, tmp_path, dla_core=1), silent, trt)
    layers = len(onnx.load(tmp_path / "plan").graph.node)
    assert (facts["dla_layers"], facts["not_on_dla"]) == (f"{layers - 2} of {layers}", "body/Conv, map1/Conv")
    assert trt.configs[-1].flags_set == {BuilderFlag.GPU_FALLBACK}
    with pytest.raises(BackendError, match=r"2 of \d+ layers cannot run on the DLA \(the first is 'body/Conv'\)"):
        compile_plan(request(heads_onnx, tmp_path, dla_core=1, strict=True), silent, trt)


def test_a_plan_for_a_dla_uses_it(heads_onnx, tmp_path):
    """TensorRT falls back to the GPU in silence, for what the DLA cannot run and for what it does not put there."""
    trt = FakeTensorRt()
    trt.dla_cores = 1
    facts = compile_plan(request(heads_onnx, tmp_path, dla_core=0), silent, trt)
    assert facts["convolutions"] == "8 DLA"
    (tmp_path / "plan").unlink()
    convolutions = {node.name for node in onnx.load(heads_onnx).graph.node if node.op_type == "Conv"}
    trt.unfit_for_dla = convolutions
    with pytest.raises(BackendError, match="DLA 0 can run none of the 8 convolutions: leave out --dla"):
        compile_plan(request(heads_onnx, tmp_path, dla_core=0), silent, trt)
    trt.unfit_for_dla, trt.uses_dla = convolutions - {"body/Conv"}, False
    with pytest.raises(BackendError, match="runs nothing on DLA 0: leave out --dla"):
        compile_plan(request(heads_onnx, tmp_path, dla_core=0), silent, trt)
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize("release", [(10, 3), (10, 7)])
def test_quantised_heads_for_a_dla(release, int8_onnx, tmp_path):
    """Explicit quantisation is not for the DLA of these releases; 11 has no other, and decides for itself."""
    asked = request(int8_onnx, tmp_path, "INT8", dla_core=0)
    with pytest.raises(BackendError, match=r"TensorRT 10\.\d does not take Q/DQ for a DLA, .*calibration cache .*FP16"):
        check_dla(asked, release)
    check_dla(asked, (11, 4))
    check_dla(request(int8_onnx, tmp_path, "INT8"), release)
    check_dla(request(int8_onnx, tmp_path, "FP16", dla_core=0), release)


def test_a_convolution_on_a_dla_has_no_type_to_compare(heads_onnx, tmp_path):
    trt = FakeTensorRt()
    trt.kinds = {"body/Conv": "DLA"}
    facts = compile_plan(request(heads_onnx, tmp_path), silent, trt)
    assert facts["convolutions"] == "7 FP16, 1 DLA"


@pytest.mark.parametrize("precision", ["FP32", "FP16", "INT8"])
def test_a_profile_of_batches(precision, heads_onnx, int8_onnx, known, tmp_path):
    """Build heads for several images; they were exported for one."""
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
        (
            "build_serialized_network",
            "out of memory",
            r"out of memory: end other programs on the GPU, or .*--workspace",
        ),
        (
            "build_serialized_network",
            "[v.cpp::resize::140] Error Code 2: OutOfMemory (Requested size was 7 bytes.)\nno implementation",
            r"no implementation, after OutOfMemory \(Requested size was 7 bytes\.\): end other programs on the GPU",
        ),
        ("Builder", "CUDA fails with error: 35", r"^TensorRT cannot start on this machine: CUDA fails with error: 35$"),
        ("Runtime", "CUDA fails with error: 2", r"^TensorRT cannot start on this machine: CUDA fails with error: 2$"),
        ("build_serialized_network", "no tactic", r"TensorRT cannot build heads\.onnx: no tactic$"),
        ("deserialize_cuda_engine", "bad magic", r"cannot load what it has just built: bad magic"),
        ("add_optimization_profile", "", ""),
    ],
)
def test_each_refusal_of_tensorrt_is_one_sentence(name, said, words, heads_onnx, tmp_path):
    trt = FakeTensorRt()
    trt.fails = {name: said}
    if not words:  # not asked for here
        compile_plan(request(heads_onnx, tmp_path), silent, trt)
        return
    with pytest.raises(BackendError, match=words) as error:
        compile_plan(request(heads_onnx, tmp_path), silent, trt)
    assert "/_src/" not in sentence(error)
    assert not (tmp_path / "plan").exists()


def test_a_warning_is_the_reason_where_there_is_no_error():
    """Such as ``CUDA initialization failure`` before a builder that cannot be created."""
    log = log_of(FakeTensorRt())
    assert (log.last_error(), log.lack_of_memory()) == ("it gave no reason", None)
    log.log(ILogger.Severity.WARNING, "CUDA initialization failure with error: 35")
    log.log(ILogger.Severity.INFO, "[MemUsageStats] Peak memory usage: 7 MiB")
    assert (log.last_error(), log.lack_of_memory()) == ("CUDA initialization failure with error: 35", None)


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


# Q/DQ nodes that TensorRT does not take.


def qdq(name: str, change) -> onnx.ModelProto:
    model = quantised(tiny_model())
    change({tensor.name: tensor for tensor in model.graph.initializer}, model)
    return model


def zero_point(constants, model):
    constants["zero"].CopyFrom(numpy_helper.from_array(np.int8(3), "zero"))


def zero_point_of_a_node(constants, model):
    """Zero points in Constant nodes, as other tools write them, and nodes without names."""
    model.graph.initializer.remove(constants["zero"])
    zero = numpy_helper.from_array(np.int8(3), "zero")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["zero"], value=zero))
    for node in model.graph.node:
        node.name = ""


def unsigned(constants, model):
    constants["zero"].CopyFrom(numpy_helper.from_array(np.uint8(0), "zero"))


def int32_bias(constants, model):
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(8, np.int32), "bias.q"))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["bias.q", "step"], ["bias"], "bias/DQ"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (zero_point, "has a zero point that is not 0"),
        (zero_point_of_a_node, "has a zero point that is not 0"),
        (unsigned, "has values of uint8"),
        (int32_bias, "node 'bias/DQ' dequantises a bias of int32"),
    ],
)
def test_nodes_that_tensorrt_does_not_take_are_named(change, words):
    with pytest.raises(ModelError, match=words) as error:
        check_qdq(qdq("", change))
    assert "node '" in sentence(error)
    assert "node ''" not in sentence(error)
    check_qdq(quantised(tiny_model()))


def test_such_nodes_are_reported_before_parsing(tmp_path):
    write_heads(qdq("", zero_point), small_spec(), tmp_path / "zero.onnx")
    trt = FakeTensorRt()
    with pytest.raises(ModelError, match="has a zero point that is not 0"):
        compile_plan(request(tmp_path / "zero.onnx", tmp_path, "INT8"), silent, trt)
    assert trt.networks == []


# The inspector's report.


def test_layers_of_forms_that_were_seen():
    """Type names as different releases write them; a reformat next to a convolution does not count."""
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
                {"Name": "{ForeignNode[g...h]}", "LayerType": "Myelin", "Metadata": "[ONNX Layer: g]",
                 "Inputs": [{"Format/Datatype": "Float"}]},
            ]
        }
    )  # fmt: skip
    assert [layer.on_dla for layer in layers_of(text)] == [False, False, False, True, False, False]
    assert of_convolutions(layers_of(text), "abcdfg") == {"a": "INT8", "b": "FP16", "c": "FP16", "d": "DLA"}
    assert layers_of("no JSON") == layers_of("{}") == layers_of("[]") == []


def test_specs_travel(heads_onnx):
    assert spec_of(onnx.load(heads_onnx)) == read_spec(heads_onnx)
    assert TensorProto.FLOAT == 1

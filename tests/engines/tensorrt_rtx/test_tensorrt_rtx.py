"""Plans for RTX GPUs, built by NVIDIA's own compiler on a machine without a GPU; nothing here runs on a GPU."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from time import monotonic, sleep

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.engines.nvidia.builder import prepared
from ssd_edge.engines.nvidia.child import ask_child
from ssd_edge.engines.nvidia.convolutions import asked_for, counted, differences
from ssd_edge.engines.tensorrt_rtx import backend
from ssd_edge.engines.tensorrt_rtx import compile as compiling
from ssd_edge.engines.tensorrt_rtx.layers import in_plan
from ssd_edge.engines.tensorrt_rtx.request import Request
from ssd_edge.errors import (
    BackendError,
    BundleCompatibilityError,
    BundleIntegrityError,
    MissingDependencyError,
    ModelError,
)
from ssd_edge.files import sha256
from ssd_edge.graph.heads import write_heads
from ssd_edge.progress import Progress
from tests.helpers import plan_entry, sentence, silent, small_spec
from tests.models_for_tests import quantised, tiny_model, write_tiny

needs_compiler = pytest.mark.skipif(
    backend.installed_version() is None or util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed",
)
TARGETS = ("8.6", "8.9", "12.0")


def compile_plan(
    source: Path, plan: Path, precision: str, targets: Sequence[str], progress: Progress
) -> dict[str, str]:
    import tensorrt_rtx

    return compiling.compile_plan(Request(str(source), str(plan), precision, tuple(targets)), progress, tensorrt_rtx)


def compile_in_child(
    source: Path, plan: Path, precision: str, targets: Sequence[str], progress: Progress
) -> dict[str, str]:
    request = Request(str(source), str(plan), precision, tuple(targets))
    return ask_child(compiling.__name__, "TensorRT-RTX", request.to_json(), progress)


@pytest.fixture(scope="session")
def int8_onnx(heads_onnx, tmp_path_factory):
    """The tiny heads as ssd-edge calibrate would write them; tests do not write to them."""
    facts = {"parent": heads_onnx.name, "parent_sha256": sha256(heads_onnx), "calibration_method": "percentile"}
    path = tmp_path_factory.mktemp("int8") / "heads.int8.onnx"
    write_heads(quantised(tiny_model()), small_spec().with_provenance(**facts), path)
    return path


def saved(model, folder, spec=None):
    path = folder / "heads.onnx"
    write_heads(model, spec or small_spec(), path)
    return path


# The precision of each convolution.


def test_the_precision_that_a_file_asks_for():
    assert set(asked_for(tiny_model()).values()) == {"FP32"}
    assert set(asked_for(prepared(tiny_model(), "FP16", "TensorRT-RTX")).values()) == {"FP16"}
    mixed = quantised(tiny_model())
    stem = next(node for node in mixed.graph.node if node.name == "stem/Conv")
    stem.input[0] = "image"  # its weight is quantised, its image is not
    asked = asked_for(mixed)
    assert asked.pop("stem/Conv") == "FP32"
    assert set(asked.values()) == {"INT8"}


PLAN = b"""
  tensor={ alignment=128 dims={ 1 3 8 8 } name="image" offset=0 type=half }
  tensor={ alignment=128 name="w" type=half }
  tensor={ name="wide" type=float }
  tensor={ name="q" type=int8 }
  tensor={ name="wq" type=int8 }
  tensor={ name="odd" type=e8m0 }
  corrltn={ name="n1" output={"a"} input={"image" "w" "bias" } stream=0 layers="[ONNX Layer: one]\x1f[ONNX Layer: r]" }
  fully_connected={ name="n2" output={"b"} input={"wide" "wide" } layers="[ONNX Layer: r2]\x1f[ONNX Layer: two]" }
  corrltn={ name="n3" output={"c"} input={"q" "wq" } kernel=x layers="[ONNX Layer: three]" }
  corrltn={ name="n4" output={"d"} input={"q" "w" } layers="[ONNX Layer: mixed]" }
  corrltn={ name="n5" output={"e"} input={"odd" "odd" } layers="[ONNX Layer: odd]" }
  corrltn={ name="n6" output={"e"} input={"q" "wq" } layers="[ONNX Layer: twice]" }
  corrltn={ name="n7" output={"e"} input={"wide" "wide" } layers="[ONNX Layer: twice]" }
  corrltn={ name="n8" output={"e"} input={"gone" "gone" } layers="[ONNX Layer: unknown]" }
  function={ name=f args={ "image" } layers="[ONNX Layer: fused]" }
\x00\xff\x80 weights and the like
"""
NAMES = ("one", "two", "three", "mixed", "odd", "twice", "unknown", "fused", "elsewhere")


def test_the_precision_of_convolutions_in_a_plan():
    """Ambiguous convolutions are omitted: two types, an unknown type, two operations that disagree."""
    assert in_plan(PLAN, NAMES) == {"one": "FP16", "two": "FP32", "three": "INT8"}
    assert in_plan(b"", NAMES) == {}
    assert in_plan(bytes(range(256)) * 100, NAMES) == {}


def test_a_precision_that_was_not_asked_for():
    asked = {"a": "INT8", "b": "FP16"}
    assert differences(asked, {"a": "INT8"}, "TensorRT-RTX", True) == {}
    other = {"a": "INT8", "b": "FP32"}
    assert differences(asked, other, "TensorRT-RTX", False) == {"other_precision": "1 of 2: b FP32 for FP16"}
    with pytest.raises(BackendError, match=r"1 of 2 convolutions of another .*: b FP32 for FP16: build") as error:
        differences(asked, other, "TensorRT-RTX", True)
    sentence(error)


def test_counts_in_words():
    assert counted(["FP16", "INT8", "FP16", "unread"]) == "1 INT8, 2 FP16, 1 unread"


# The compiler, in this process: it is given nothing here that could end it.


@needs_compiler
@pytest.mark.parametrize("precision", ["FP32", "FP16", "INT8"])
def test_every_convolution_has_the_precision_asked_for(precision, heads_onnx, int8_onnx, tmp_path):
    steps = []
    source = int8_onnx if precision == "INT8" else heads_onnx
    facts = compile_plan(source, tmp_path / "heads.rtx", precision, TARGETS, lambda *step: steps.append(step))
    assert facts["convolutions"] == f"8 {precision}"
    assert facts["compute_capabilities"] == "8.6 8.9 12.0"
    assert facts["built_for_graphs"] == "yes"
    assert (tmp_path / "heads.rtx").stat().st_size > int(facts["weight_bytes"]) > 0
    assert int(facts["activation_bytes"]) > 0
    assert float(facts["build_seconds"]) > 0
    assert steps
    assert steps == sorted(steps)
    assert all(0 < done <= total for done, total in steps)


@needs_compiler
def test_fp32_is_not_rounded_to_tf32(heads_onnx, tmp_path, monkeypatch):
    """The library's default would round FP32 to TF32."""
    import tensorrt_rtx as trt

    made = []

    class Builder(trt.Builder):
        def create_builder_config(self):
            made.append(super().create_builder_config())
            assert made[-1].get_flag(trt.BuilderFlag.TF32)
            return made[-1]

    monkeypatch.setattr(trt, "Builder", Builder)
    compile_plan(heads_onnx, tmp_path / "heads.rtx", "FP32", TARGETS, silent)
    (config,) = made
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert config.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


@pytest.mark.parametrize("captured", [True, False])
def test_a_network_that_cannot_be_captured_is_built_without(captured):
    """No network that the parser takes is known to be one: a stand-in for the builder says so, in its own words."""
    said = "BuilderFlag::kREQUIRE_USER_ALLOCATION is not compatible with networks that prevent stream capture."

    class Parts:
        BuilderFlag = type("BuilderFlag", (), {"REQUIRE_USER_ALLOCATION": "flag"})
        flags = frozenset()

        def set_flag(self, flag):
            self.flags = frozenset({flag})

        def clear_flag(self, flag):
            self.flags = frozenset()

        def build_serialized_network(self, network, config):
            return b"plan" if captured or not config.flags else None

        def text(self):
            return "" if captured else said

        def last_error(self):
            return said

    parts = Parts()
    built, why_not = compiling._built_for_capture(parts, parts, None, parts, parts)
    assert (built, why_not) == (b"plan", None if captured else said)


@needs_compiler
def test_half_of_the_convolutions_in_int8(tmp_path):
    """INT8 and FP16 side by side, as depthwise layers are left."""
    model = quantised(tiny_model())
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name.startswith("log"):
            original = node.input[1].removesuffix(".dq")
            node.input[0], node.input[1] = node.input[0].removesuffix(".dq"), original
            tensor = next(t for t in tiny_model().graph.initializer if t.name == original)
            model.graph.initializer.append(tensor)
    facts = compile_plan(saved(model, tmp_path), tmp_path / "heads.rtx", "INT8", TARGETS, silent)
    assert facts["convolutions"] == "6 INT8, 2 FP16"


@needs_compiler
def test_a_build_of_another_precision_is_a_fact_and_an_error_if_strict(heads_onnx, tmp_path, monkeypatch):
    import tensorrt_rtx

    monkeypatch.setattr(compiling, "asked_for", lambda model: dict.fromkeys(asked_for(model), "INT8"))
    strict = Request(str(heads_onnx), str(tmp_path / "heads.rtx"), "FP16", TARGETS, strict=True)
    with pytest.raises(BackendError, match=r"8 of 8 convolutions of another precision than asked for: .* without"):
        compiling.compile_plan(strict, silent, tensorrt_rtx)
    assert not (tmp_path / "heads.rtx").exists()
    facts = compile_plan(heads_onnx, tmp_path / "heads.rtx", "FP16", TARGETS, silent)
    assert facts["other_precision"].startswith("8 of 8: ")
    assert "stem/Conv FP16 for INT8" in facts["other_precision"]
    assert (tmp_path / "heads.rtx").exists()


@needs_compiler
def test_a_plan_that_cannot_be_read_claims_nothing(heads_onnx, tmp_path, monkeypatch):
    """A release may write its plans in another format."""
    monkeypatch.setattr(compiling, "in_plan", lambda plan, names: in_plan(plan.replace(b"ONNX Layer", b"Node"), names))
    facts = compile_plan(heads_onnx, tmp_path / "heads.rtx", "FP16", TARGETS, silent)
    assert facts["convolutions"] == "8 unread"


@needs_compiler
@pytest.mark.parametrize("name", ["8.7", "9.0", "1.1", "99.9"])
def test_a_compute_capability_that_the_library_does_not_know(heads_onnx, tmp_path, name):
    with pytest.raises(BackendError, match=rf"does not know compute capability {name}; it knows .*8\.6, 8\.9") as error:
        compile_plan(heads_onnx, tmp_path / "heads.rtx", "FP16", ("8.6", name), silent)
    sentence(error)


def with_nms(model):
    """Heads that include a part of decode: a third output."""
    model.graph.initializer.append(numpy_helper.from_array(np.int64([5]), "most"))
    model.graph.node.append(helper.make_node("Transpose", ["logits"], ["by class"], perm=[0, 2, 1]))
    nms = helper.make_node("NonMaxSuppression", ["loc", "by class", "most"], ["kept"], "decode/nms")
    model.graph.node.append(nms)
    model.graph.output.append(helper.make_tensor_value_info("kept", TensorProto.INT64, ["n", 3]))
    return model


@needs_compiler
def test_non_max_suppression(tmp_path, monkeypatch):
    path = saved(with_nms(tiny_model()), tmp_path)
    with pytest.raises(ModelError, match=r"node 'decode/nms' is NonMaxSuppression, .*must end before decode") as error:
        compile_plan(path, tmp_path / "heads.rtx", "FP16", TARGETS, silent)
    sentence(error)
    # The library's own message about an operator that it has no kernel for.
    monkeypatch.setattr(compiling, "prepared", lambda model, precision, library: model)
    with pytest.raises(BackendError, match=r"cannot build heads\.onnx: .*no runners") as error:
        compile_plan(path, tmp_path / "heads.rtx", "FP32", TARGETS, silent)
    sentence(error)


def with_custom_operator(model):
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "Swoosh", "mine"
    return model


@needs_compiler
@pytest.mark.parametrize(("precision", "kind"), [("FP32", BackendError), ("FP16", ModelError)])
def test_a_custom_operator(tmp_path, precision, kind):
    path = tmp_path / "heads.onnx"
    path.write_bytes(with_custom_operator(tiny_model()).SerializeToString())
    with pytest.raises(kind, match="Swoosh") as error:
        compile_plan(path, tmp_path / "heads.rtx", precision, TARGETS, silent)
    sentence(error)


@needs_compiler
def test_a_free_batch_becomes_one(tmp_path):
    model = tiny_model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    compile_plan(saved(model, tmp_path), tmp_path / "heads.rtx", "FP16", TARGETS, silent)


def test_each_convolution_gets_a_name_of_its_own():
    model = tiny_model()
    for node in model.graph.node[:5]:
        node.name = ""
    model.graph.node[6].name = model.graph.node[9].name = "same"
    assert len(asked_for(prepared(model, "FP32", "TensorRT-RTX"))) == 8


# The compiler in its own process, and the causes that end it.


@pytest.mark.slow
@needs_compiler
def test_a_child_compiles(heads_onnx, tmp_path):
    steps = []
    facts = compile_in_child(heads_onnx, tmp_path / "heads.rtx", "FP16", TARGETS, lambda *step: steps.append(step))
    assert facts["convolutions"] == "8 FP16"
    assert (tmp_path / "heads.rtx").is_file()
    assert steps


@pytest.mark.slow
@needs_compiler
def test_the_childs_error_is_this_ones(heads_onnx, tmp_path):
    with pytest.raises(BackendError, match=r"does not know compute capability 8\.7") as error:
        compile_in_child(heads_onnx, tmp_path / "heads.rtx", "FP16", ["8.7"], silent)
    sentence(error)


REGISTERS = """
import tensorrt_rtx as trt

class Swoosh(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
    def __init__(self):
        for base in Swoosh.__bases__:
            base.__init__(self)
        self.num_outputs, self.plugin_name, self.plugin_version, self.plugin_namespace = 1, "Swoosh", "1", ""

    def get_capability_interface(self, kind):
        return self

class Creator(trt.IPluginCreatorV3One):
    def __init__(self):
        trt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_version, self.plugin_namespace = "Swoosh", "1", ""
        self.field_names = trt.PluginFieldCollection([])

    def create_plugin(self, name, fields, phase):
        return Swoosh()

creator = Creator()
trt.get_plugin_registry().register_creator(creator, "")
"""


@needs_compiler
def test_a_registered_creator_ends_the_child_only(tmp_path, monkeypatch):
    """NVIDIA's parser aborts, as seen with 1.7.1; a later one that does not must still give a one-sentence error."""
    (tmp_path / "sitecustomize.py").write_text(REGISTERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    model = tiny_model()
    model.graph.node[1].op_type = "Swoosh"
    (tmp_path / "heads.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BackendError, match=r"heads\.onnx") as error:
        compile_in_child(tmp_path / "heads.onnx", tmp_path / "heads.rtx", "FP32", TARGETS, silent)
    sentence(error)
    if backend.installed_version().startswith("1.7.1."):
        assert "died of SIGABRT while it compiled heads.onnx" in str(error.value)
    assert not (tmp_path / "heads.rtx").exists()


DEATHS = {
    "an abort": ("import os; os.abort()", "died of SIGABRT while it compiled heads.onnx"),
    "a segmentation fault": ("import ctypes; ctypes.string_at(0)", "died of SIGSEGV"),
    "the system, for memory": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "died of SIGKILL, as the system does where memory runs out",
    ),
    "its own will": ("import os; os._exit(3)", "died of an error of its own, exit code 3"),
    "last words": (
        "import os, sys; sys.stderr.write('first\\n  the last words \\n'); sys.stderr.flush(); os._exit(3)",
        "(the last words)",
    ),
    "no memory": ("raise MemoryError", "not enough memory"),
    "an exception": ("raise RuntimeError('what NVIDIA raises')", "RuntimeError: what NVIDIA raises"),
}


def fake_library(folder, code, monkeypatch):
    """A module in the place of tensorrt_rtx, for the child process only."""
    (folder / "fake").mkdir()
    (folder / "fake" / "tensorrt_rtx.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder / "fake"))


@pytest.mark.skipif(os.name != "posix", reason="signals are needed")
@pytest.mark.parametrize("kind", DEATHS)
def test_each_death_of_the_child_is_a_sentence(kind, heads_onnx, tmp_path, monkeypatch):
    code, words = DEATHS[kind]
    fake_library(tmp_path, code, monkeypatch)
    with pytest.raises(BackendError) as error:
        compile_in_child(heads_onnx, tmp_path / "heads.rtx", "FP16", TARGETS, silent)
    assert words in sentence(error)
    assert not (tmp_path / "heads.rtx").exists()


def test_output_of_the_library_is_not_an_answer(heads_onnx, tmp_path, monkeypatch):
    """Text on stdout, printed from Python and from native code."""
    fake_library(tmp_path, "import os; print('{'); os.write(1, b'}{'); os._exit(4)", monkeypatch)
    with pytest.raises(BackendError, match="exit code 4"):
        compile_in_child(heads_onnx, tmp_path / "heads.rtx", "FP16", TARGETS, silent)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 looks into the folder where it starts first")
def test_a_file_that_lies_about_is_no_library(heads_onnx, tmp_path, monkeypatch):
    (tmp_path / "onnx.py").write_text("import os; os._exit(5)")
    monkeypatch.chdir(tmp_path)
    fake_library(tmp_path, "import os; os._exit(6)", monkeypatch)
    with pytest.raises(BackendError, match="exit code 6"):
        compile_in_child(heads_onnx, tmp_path / "heads.rtx", "FP16", TARGETS, silent)


HANGS = """
import os, time
from collections.abc import Sequence
from pathlib import Path
Path(os.environ["MARK"]).write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are needed")
@pytest.mark.parametrize("everywhere", [True, False], ids=["the terminal's Ctrl-C", "to the parent alone"])
def test_ctrl_c_ends_both(heads_onnx, tmp_path, monkeypatch, everywhere):
    fake_library(tmp_path, HANGS, monkeypatch)
    monkeypatch.setenv("MARK", str(tmp_path / "pid"))
    program = "from ssd_edge.cli.main import main; main()"
    arguments = ["build-engine", heads_onnx, "--backend", "tensorrt-rtx", "--output", tmp_path / "a.engine"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        sleep(0.02)
    child = int((tmp_path / "pid").read_text())
    (os.killpg if everywhere else os.kill)(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "ssd-edge: interrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert {path.name for path in tmp_path.iterdir()} == {"pid", "fake"}


# The backend.


@pytest.mark.parametrize(
    ("asked", "of_heads", "built"),
    [
        (None, "FP32", "FP16"),
        (None, "INT8", "INT8"),
        ("FP32", "FP32", "FP32"),
        ("FP16", "FP32", "FP16"),
        ("INT8", "INT8", "INT8"),
    ],
)
def test_the_precision_that_is_built(asked, of_heads, built):
    assert backend.choose_precision(asked, of_heads, small_spec()) == built


@pytest.mark.parametrize(
    ("asked", "of_heads", "words"),
    [
        ("INT8", "FP32", "convert them with ssd-edge calibrate"),
        ("FP32", "INT8", "FP32 needs FP32 heads, and these are INT8: build it from heads.onnx"),
        ("FP16", "INT8", "FP16 needs FP32 heads, and these are INT8: build it from heads.onnx"),
        ("BF16", "FP32", "must be fp32, fp16 or int8, but got 'bf16'"),
        ("", "FP32", "but got ''"),
    ],
)
def test_a_precision_that_the_heads_cannot_give(asked, of_heads, words):
    with pytest.raises(BackendError) as error:
        backend.choose_precision(asked, of_heads, small_spec().with_provenance(parent="heads.onnx"))
    assert words in sentence(error)


def test_compute_capabilities_are_put_in_order():
    assert backend.compute_capabilities(["12.0", "8.6", "8.9", "8.6"]) == ("8.6", "8.9", "12.0")
    for name in ("86", "sm_86", "8", "8.6.1", "1.20", "-8.6", "", "8,6", "0.1", "8.6 "):
        with pytest.raises(BackendError, match=r"looks like 8\.6, but got"):
            backend.compute_capabilities(["8.9", name])


def build(onnx_file, folder, **options):
    return backend.build(onnx_file, small_spec(), folder, BuildOptions(**options), silent)


def test_packages_that_are_not_installed(heads_onnx, tmp_path, monkeypatch):
    monkeypatch.setattr("ssd_edge.engines.nvidia.needed.find_spec", lambda name: None)
    if backend.installed_version() is not None:
        with pytest.raises(MissingDependencyError, match=r"needs onnx, .*: pip install onnx$"):
            build(heads_onnx, tmp_path)
    monkeypatch.setattr(backend, "installed_version", lambda: None)
    with pytest.raises(MissingDependencyError, match=r"needs TensorRT-RTX, .*'ssd-edge\[rtx\]'"):
        build(heads_onnx, tmp_path)


@needs_compiler
def test_a_model_that_the_kernels_do_not_hold(heads_onnx, tmp_path):
    with pytest.raises(BackendError, match="top_k up to 1024"):
        backend.build(heads_onnx, small_spec(top_k=5000), tmp_path, BuildOptions(), silent)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@needs_compiler
def test_a_plan_comes_with_kernels_for_its_gpus(heads_onnx, tmp_path):
    plan = build(heads_onnx, tmp_path, compute_capabilities=("8.9", "7.5"), precision="FP32")
    assert plan.files[0] == "heads.rtx"
    assert {path.name for path in tmp_path.iterdir()} == set(plan.files)
    kinds = [name.split(".")[1] + " " + name.split(".")[-1] for name in plan.files[1:]]
    assert kinds == ["sm_75 cubin", "sm_75 ptx", "sm_89 cubin", "sm_89 ptx"]
    assert (plan.precision, plan.version) == ("FP32", backend.installed_version())


# What cannot run here.


class FakeDriver:
    """The part of a driver that ``why_unfit`` uses."""

    def __init__(self, capability=(8, 9), release=(13, 0), count=1):
        self.capability, self.newest, self.count = capability, release, count

    def device_count(self):
        return self.count

    def device_name(self, index):
        return "NVIDIA GeForce RTX 4090"

    def compute_capability(self, index):
        return self.capability

    def release(self):
        return self.newest


def rtx_entry(**changes):
    fields = {
        "backend": "tensorrt-rtx",
        "version": "1.7.1.116",
        "facts": {"compute_capabilities": "8.6 8.9"},
        "files": ("heads.rtx", "kernels.sm_86.cuda13.0.cubin", "kernels.sm_86.cuda13.0.ptx"),
    }
    return plan_entry(**{**fields, **changes})


@pytest.mark.parametrize(
    ("driver", "changes", "installed", "words"),
    [
        (FakeDriver(), {}, "1.7.1.116", None),
        (FakeDriver(), {}, "1.7.1.200", None),  # another build of the same release
        (FakeDriver((8, 6)), {}, "1.7.1.116", None),
        (FakeDriver(count=0), {}, "1.7.1.116", "the NVIDIA driver shows no GPU"),
        (FakeDriver(), {}, None, "needs TensorRT-RTX 1.7.1.116, .*pip install tensorrt-rtx-cu1[23]==1.7.1.116"),
        (FakeDriver(), {}, "1.8.0.3", "was built by TensorRT-RTX 1.7.1.116, and 1.8.0.3 is installed: .*--backend"),
        (FakeDriver(), {}, "1.7.0.1", "was built by TensorRT-RTX 1.7.1.116, and 1.7.0.1 is installed"),
        (
            FakeDriver((12, 0)),
            {},
            "1.7.1.116",
            r"and this machine's NVIDIA GeForce RTX 4090 has 12\.0: .* --compute-capability 8\.6 8\.9 12\.0",
        ),
        (FakeDriver(), {"facts": {}}, "1.7.1.116", "compute capability"),
        (FakeDriver(release=(12, 6)), {}, "1.7.1.116", r"knows no release after 12\.6: install a newer driver"),
        (FakeDriver(), {"files": ("heads.rtx",)}, "1.7.1.116", "no kernels for compute capability 8.9"),
    ],
)
def test_why_a_plan_does_not_run_here(driver, changes, installed, words, monkeypatch):
    monkeypatch.setattr("ssd_edge.engines.tensorrt_rtx.fitness.installed_version", lambda: installed)
    reason = backend.why_unfit(rtx_entry(**changes), driver)
    if words is None:
        assert reason is None
    else:
        assert re.search(words, reason)
        assert "\n" not in reason


def has_driver():
    try:
        backend.open_driver()
    except BackendError:
        return False
    return True


without_driver = pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")


@without_driver
def test_no_driver():
    reason = backend.incompatibility(rtx_entry())
    assert reason.startswith("cannot run: ")
    assert "\n" not in reason


def test_no_library_for_the_driver(monkeypatch):
    """As in the base install."""
    for name in ("cuda", "cuda.bindings", "pycuda"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("ssd_edge.engines.cuda.bindings", "ssd_edge.engines.cuda.pycuda"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    reason = backend.incompatibility(rtx_entry())
    assert re.search(r"cannot run: .*cuda-bindings.*not installed: pip install 'ssd-edge\[\w+\]'", reason)


@pytest.mark.slow
def test_inspecting_a_bundle_imports_no_nvidia_library():
    """NVIDIA's libraries are 89 MB."""
    program = (
        "import sys\n"
        "from ssd_edge.engines.tensorrt_rtx.backend import incompatibility\n"
        "from tests.helpers import plan_entry\n"
        "incompatibility(plan_entry(backend='tensorrt-rtx', version='1.7.1'))\n"
        "print(*{'tensorrt_rtx', 'tensorrt_rtx_libs', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


# Bundles for several targets.


@pytest.fixture(scope="session")
def rtx_bundle(heads_onnx, tmp_path_factory):
    """A bundle with only an RTX plan; tests do not write to it."""
    folder = tmp_path_factory.mktemp("rtx") / "parts.engine"
    build_bundle(heads_onnx, folder, "tensorrt-rtx", options=BuildOptions(compute_capabilities=("8.9",)))
    return folder


@pytest.fixture(scope="session")
def mixed_bundle(heads_onnx, int8_onnx, tmp_path_factory):
    """A bundle with an INT8 plan for the CPU and an FP16 plan for RTX; tests do not write to it."""
    folder = tmp_path_factory.mktemp("mixed") / "parts.engine"
    build_bundle(int8_onnx, folder, "openvino")
    build_bundle(heads_onnx, folder, "tensorrt-rtx", add=True)
    return folder


@pytest.mark.slow
@needs_compiler
def test_plans_of_all_backends_in_one_bundle(heads_onnx, tmp_path):
    """Built in one call, ordered best first, with distinct files."""
    manifest = build_bundle(heads_onnx, tmp_path / "a.engine", "onnxruntime", "openvino", "tensorrt-rtx")
    assert [plan.backend for plan in manifest.plans] == ["tensorrt-rtx", "openvino", "onnxruntime"]
    assert [plan.precision for plan in manifest.plans] == ["FP16", "FP32", "FP32"]
    files = [name for plan in manifest.plans for name in plan.files]
    assert len(files) == len(set(files))
    assert {path.name for path in (tmp_path / "a.engine").iterdir()} == {"manifest.json", *files}
    assert read_manifest(tmp_path / "a.engine") == manifest


@pytest.mark.slow
@needs_compiler
def test_each_plan_says_which_file_it_comes_from(mixed_bundle, heads_onnx, int8_onnx):
    manifest = read_manifest(mixed_bundle)
    rtx, cpu = manifest.plans
    assert (rtx.backend, rtx.precision, rtx.onnx, rtx.onnx_sha256) == (
        "tensorrt-rtx",
        "FP16",
        heads_onnx.name,
        sha256(heads_onnx),
    )
    assert (cpu.backend, cpu.precision, cpu.onnx, cpu.onnx_sha256) == (
        "openvino",
        "INT8",
        int8_onnx.name,
        sha256(int8_onnx),
    )
    assert manifest.provenance["onnx_sha256"] == sha256(heads_onnx)
    assert cpu.provenance["calibration_method"] == "percentile"
    assert "calibration_method" not in rtx.provenance


@needs_compiler
@without_driver
def test_the_best_plan_that_can_run_does_and_the_better_one_is_named(mixed_bundle):
    said = []
    engine = load_bundle(mixed_bundle, said.append)
    assert (engine.backend, engine.precision) == ("openvino", "INT8")
    engine.close()
    (line,) = said
    assert "its tensorrt-rtx FP16 plan cannot run: " in line
    assert line.endswith("its openvino INT8 plan runs")


@needs_compiler
def test_a_plan_that_can_run_is_taken_before_a_slower_one(mixed_bundle, monkeypatch):
    taken = []
    monkeypatch.setattr(backend, "incompatibility", lambda plan: None)
    monkeypatch.setattr(backend, "load", lambda *arguments: taken.append(arguments))
    said = []
    load_bundle(mixed_bundle, said.append)
    ((folder, plan, spec),) = taken
    assert (folder, plan.files[0], spec, plan.precision) == (mixed_bundle, "heads.rtx", small_spec(), "FP16")
    assert said == []


@pytest.mark.slow
@needs_compiler
def test_adding_again_replaces_that_plan_only(mixed_bundle, heads_onnx, tmp_path):
    folder = tmp_path / "parts.engine"
    folder.mkdir()
    for path in mixed_bundle.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "jit.sm_89.cache").write_bytes(b"of the old plan")
    options = BuildOptions(precision="FP32", compute_capabilities=("8.9",))
    build_bundle(heads_onnx, folder, "tensorrt-rtx", options=options, add=True)
    rtx, cpu = read_manifest(folder).plans
    assert (rtx.precision, rtx.facts["compute_capabilities"]) == ("FP32", "8.9")
    assert cpu == read_manifest(mixed_bundle).plans[1]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *rtx.files, *cpu.files}
    load_bundle(folder).close()


def test_adding_to_what_is_not_there_builds(heads_onnx, tmp_path):
    build_bundle(heads_onnx, tmp_path / "a.engine", "openvino", add=True)
    load_bundle(tmp_path / "a.engine").close()


@pytest.mark.parametrize("difference", ["weights", "labels", "calibrated from another"])
def test_plans_of_other_heads_are_not_mixed(difference, heads_onnx, tmp_path):
    folder = tmp_path / "a.engine"
    build_bundle(heads_onnx, folder, "openvino")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = tmp_path / "other.onnx"
    if difference == "weights":
        write_tiny(other, seed=9)
    elif difference == "labels":
        write_tiny(other, small_spec(labels=("face", "cat")))
    else:
        facts = {"parent": "x.onnx", "parent_sha256": "ab" * 32, "calibration_method": "percentile"}
        write_heads(quantised(tiny_model()), small_spec().with_provenance(**facts), other)
    with pytest.raises(Exception, match=r"holds plans of other heads, .*without --add, or under another name") as error:
        build_bundle(other, folder, "onnxruntime", add=True)
    sentence(error)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_two_calibrations_of_the_same_heads_may_be_mixed(heads_onnx, int8_onnx, tmp_path):
    build_bundle(int8_onnx, tmp_path / "a.engine", "openvino")
    facts = {"parent": "heads.onnx", "parent_sha256": sha256(heads_onnx), "calibration_method": "entropy"}
    write_heads(quantised(tiny_model(), 0.1), small_spec().with_provenance(**facts), tmp_path / "other.onnx")
    manifest = build_bundle(tmp_path / "other.onnx", tmp_path / "a.engine", "onnxruntime", add=True)
    assert [plan.provenance["calibration_method"] for plan in manifest.plans] == ["percentile", "entropy"]


@pytest.mark.parametrize("fault", ["damaged", "no compiler"])
def test_a_failed_addition_leaves_the_bundle(fault, heads_onnx, tmp_path, monkeypatch):
    folder = tmp_path / "a.engine"
    build_bundle(heads_onnx, folder, "openvino")
    if fault == "damaged":
        (folder / "heads.bin").write_bytes(b"half of it")
    else:
        fake_library(tmp_path, "import os; os.abort()", monkeypatch)
        monkeypatch.setattr("ssd_edge.engines.tensorrt_rtx.fitness.installed_version", lambda: "1.7.1.116")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BundleIntegrityError if fault == "damaged" else BackendError) as error:
        build_bundle(heads_onnx, folder, "tensorrt-rtx", add=True)
    sentence(error)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} <= {"a.engine", "fake"}


def test_options_that_no_backend_takes(heads_onnx, tmp_path):
    for options, backends in (
        (BuildOptions(precision="FP32"), ["onnxruntime"]),
        (BuildOptions(compute_capabilities=("8.6",)), ["openvino", "onnxruntime"]),
    ):
        with pytest.raises(BackendError, match=r"takes no --[a-z-]+: .*tensorrt-rtx.* does") as error:
            build_bundle(heads_onnx, tmp_path / "a.engine", *backends, options=options)
        sentence(error)
    build_bundle(heads_onnx, tmp_path / "a.engine", "openvino", options=BuildOptions())


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("place", [0, 4, 20, 0x1A, 5000, -1])
def test_a_changed_or_cut_plan_is_seen_by_its_checksum(rtx_bundle, tmp_path, place):
    folder = tmp_path / "a.engine"
    folder.mkdir()
    for path in rtx_bundle.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = bytearray((rtx_bundle / "heads.rtx").read_bytes())
    content[place] ^= 4
    for spoilt in (content, content[:place]):
        (folder / "heads.rtx").write_bytes(spoilt)
        with pytest.raises(BundleIntegrityError, match=r"heads\.rtx was altered after it was built"):
            load_bundle(folder)


@needs_compiler
@without_driver
def test_an_rtx_bundle_where_there_is_no_driver(rtx_bundle):
    with pytest.raises(BundleCompatibilityError, match="its tensorrt-rtx FP16 plan cannot run: ") as error:
        load_bundle(rtx_bundle)
    text = sentence(error)
    assert f"ssd-edge build-engine heads.onnx --backend openvino --add --output {rtx_bundle}" in text


# The commands.


@pytest.fixture
def cli(monkeypatch, capfd):
    """See tests/cli/conftest.py."""
    from ssd_edge.cli.main import main
    from tests.cli.conftest import Done

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ssd-edge", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Done(end.value.code or 0, *capfd.readouterr())

    return run


SPELLINGS = [
    ("ONNX", "--backend", "tensorrt-rtx", "--compute-capability", "8.6", "8.9", "12.0"),
    ("--backend", "tensorrt-rtx", "--compute-capability", "8.6", "8.9", "12.0", "ONNX"),
    ("--compute-capability", "8.6", "--compute-capability", "8.9", "12.0", "--backend", "tensorrt-rtx", "ONNX"),
    ("ONNX", "--compute-capability", "8.6,8.9", "12.0", "--backend", "tensorrt-rtx"),
    ("ONNX", "--compute-capability=12.0,8.6", "--compute-capability", "8.9,", "--backend=tensorrt-rtx"),
    ("ONNX", "--backend", "tensorrt-rtx"),
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_one_list(cli, spelling, tmp_path, monkeypatch):
    """Compare the backend's options; nothing is built."""
    asked = []

    def stop(onnx, spec, folder, options, progress):
        asked.append(backend.compute_capabilities(options.compute_capabilities or TARGETS))
        raise BackendError("that is enough")

    monkeypatch.setattr(backend, "build", stop)
    onnx_file = write_tiny(tmp_path / "heads.onnx")
    cli("build-engine", *(onnx_file if word == "ONNX" else word for word in spelling)).sentence("that is enough")
    assert asked == [TARGETS]


@pytest.mark.slow
@needs_compiler
def test_build_inspect_and_run(cli, heads_onnx, tmp_path):
    folder = tmp_path / "parts.engine"
    done = cli(
        "build-engine", heads_onnx, "--backend", "tensorrt-rtx", "--compute-capability", "8.6", "8.9", "-o", folder
    )
    assert (done.code, done.out) == (0, "")
    assert f"{folder}: tensorrt-rtx {backend.installed_version()}, FP16 (8 FP16 convolutions), " in done.err
    shown = json.loads(cli("inspect", folder, "--json").out)
    assert shown["plans"][0]["facts"]["compute_capabilities"] == "8.6 8.9"
    text = cli("inspect", folder).out
    for word in ("FP16", "convolutions: 8 FP16", "weight_bytes", "8.6 8.9", sha256(heads_onnx)[:16]):
        assert word in text
    if has_driver():
        return
    assert f"next, on a machine with such a GPU: ssd-edge run {folder}" in done.err
    assert "here: cannot run" in text
    for command in (("run", folder, "-c", "synthetic"), ("benchmark", folder), ("eval", folder, tmp_path)):
        cli(*command).sentence("cannot run here", "its tensorrt-rtx FP16 plan", "--backend openvino --add")
    done = cli("build-engine", heads_onnx, "--add", "-o", folder)
    assert done.code == 0
    assert done.err.count("MiB") == 2
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    done = cli("run", folder, "-c", picture, "--no-window", "--every-frame", "--json")
    assert done.code == 0
    assert json.loads(done.out)["backend"] == "openvino"
    assert "its openvino FP32 plan runs" in done.err


@pytest.mark.slow
@needs_compiler
def test_several_backends_in_one_command(cli, heads_onnx, tmp_path):
    command = ("build-engine", heads_onnx, "--backend", "openvino", "--backend", "tensorrt-rtx", "--precision", "fp32")
    done = cli(*command, "-o", tmp_path / "a.engine", "--json")
    assert done.code == 0
    assert [plan["precision"] for plan in json.loads(done.out)["plans"]] == ["FP32", "FP32"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--compute-capability", "8.6", "8.9x"), ""),
        (("--compute-capability", "sm_86"), "looks like 8.6, but got 'sm_86'"),
        (("--precision", "int8"), "ssd-edge calibrate"),
        (("--precision", "tf32"), "must be fp32, fp16 or int8, but got 'tf32'"),
    ],
)
def test_options_that_are_wrong(cli, options, words, heads_onnx, tmp_path):
    done = cli("build-engine", heads_onnx, "--backend", "tensorrt-rtx", *options, "-o", tmp_path / "a.engine")
    assert done.code == 2
    assert "Traceback" not in done.err
    if words and backend.installed_version() is not None:
        done.sentence(words)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("kind", ["custom operator", "NonMaxSuppression", "wrong shape", "no heads", "not ONNX"])
def test_heads_that_are_wrong(cli, kind, tmp_path):
    path = tmp_path / "heads.onnx"
    model = tiny_model()
    if kind == "NonMaxSuppression":
        saved(with_nms(model), tmp_path)
    elif kind == "wrong shape":
        write_heads(model, small_spec(labels=("a", "b", "c", "d")), path)
    elif kind == "no heads":
        path.write_bytes(model.SerializeToString())
    elif kind == "not ONNX":
        path.write_bytes(b"no protobuf at all")
    else:
        helper.set_model_props(with_custom_operator(model), {"ssd_edge.spec": small_spec().to_text()})
        path.write_bytes(model.SerializeToString())
    said = {
        "custom operator": "Swoosh",
        "NonMaxSuppression": "must end before decode",
        "wrong shape": "logits (B, 56, 5)",
    }
    done = cli("build-engine", path, "--backend", "tensorrt-rtx")
    done.sentence(said.get(kind, "heads.onnx"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["heads.onnx"]

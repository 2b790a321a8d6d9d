"""The ONNX Runtime engine, and the functions that read heads in ONNX files."""

from __future__ import annotations

import platform

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from ssd_edge.engines.cpu.releases import _LAST, newer_than_installed
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine, incompatibility
from ssd_edge.errors import ModelError, SpecError
from ssd_edge.graph.heads import precision_of, read_spec
from ssd_edge.spec import METADATA_KEY
from tests.engines.pipelining import CHECKS, frames
from tests.helpers import ROOT, plan_entry, small_spec
from tests.models_for_tests import tiny_model, write_tiny


@pytest.fixture
def engine(heads_onnx):
    engine = OnnxRuntimeEngine(heads_onnx, small_spec(), "FP32")
    yield engine
    engine.close()


@pytest.mark.parametrize("check", CHECKS)
def test_submit(check, engine, heads_onnx):
    assert engine.depth == 2
    check(engine, heads_onnx)


def test_closing_waits_for_work_under_way(heads_onnx):
    engine = OnnxRuntimeEngine(heads_onnx, small_spec(), "FP32")
    results = [engine.submit(image) for image in frames(2)]
    engine.close()
    assert all(np.isfinite(result().loc).all() for result in results)


@pytest.mark.parametrize(
    ("made_by", "installed", "fits"),
    [
        ("1.20.0", "1.20.0", True),
        ("1.20.3", "1.20.0", True),  # a patch release changes no format
        ("1.9.0", "1.20.0", True),
        ("1.21.0", "1.20.0", False),
        ("2.0.0", "1.20.0", False),
        ("2025.1.0rc1", "2025.1.0", True),
        ("1.20", "1.20.0", True),
        ("", "1.20.0", True),
    ],
)
def test_a_newer_release_is_refused(made_by, installed, fits):
    reason = newer_than_installed("X", "x", made_by, installed)
    assert (reason is None) == fits
    assert fits or f"pip install 'x>={made_by}'" in reason


def test_versions():
    assert incompatibility(plan_entry(version=onnxruntime.__version__)) is None
    assert "ONNX Runtime 999.0" in incompatibility(plan_entry(version="999.0"))


@pytest.mark.parametrize(
    ("python", "made_by", "remedy"),
    [
        ("3.10.12", "1.32.0", "(the last for Python 3.10 is 1.23.2: build it again here, with --backend onnxruntime)"),
        ("3.10.12", "1.23.0", "(pip install 'onnxruntime>=1.23.0')"),
        ("3.11.2", "1.32.0", "(pip install 'onnxruntime>=1.32.0')"),
        ("3.13.0", "1.32.0", "(pip install 'onnxruntime>=1.32.0')"),
    ],
)
def test_the_remedy_for_an_older_release_can_be_followed(monkeypatch, python, made_by, remedy):
    monkeypatch.setattr(platform, "python_version_tuple", lambda: tuple(python.split(".")))
    reason = newer_than_installed("ONNX Runtime", "onnxruntime", made_by, "1.20.1")
    assert reason == f"was built by ONNX Runtime {made_by}, and 1.20.1 is installed {remedy}"


def test_the_last_releases_are_those_of_constraints_txt():
    text = (ROOT / "constraints.txt").read_text()
    for (package, python), release in _LAST.items():
        newer = f"3.{int(python.partition('.')[2]) + 1}"
        assert f'{package}=={release} ; python_version < "{newer}"' in text


def test_the_spec_comes_back(heads_onnx, tmp_path):
    assert read_spec(heads_onnx) == small_spec()
    spec = small_spec(box_order="yxhw", score_function="sigmoid", labels=("a",)).with_provenance(parent="ü")
    assert read_spec(write_tiny(tmp_path / "a.onnx", spec)) == spec


def test_precision(heads_onnx):
    assert precision_of(heads_onnx) == "FP32"


def save(model, path, spec=None):
    if spec is not None:
        helper.set_model_props(model, {METADATA_KEY: spec if isinstance(spec, str) else spec.to_text()})
    onnx.save(model, path)
    return path


def test_heads_without_a_spec(tmp_path):
    path = save(tiny_model(), tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r"carries no model spec.*ssd-edge import-onnx"):
        read_spec(path)


@pytest.mark.parametrize("spec", ["", "no JSON", "[]", '{"spec_version": 99}', '{"spec_version": 1}'])
def test_heads_with_a_damaged_spec(tmp_path, spec):
    path = save(tiny_model(), tmp_path / "a.onnx", spec)
    with pytest.raises((SpecError, ModelError)) as error:
        read_spec(path)
    assert "\n" not in str(error.value)


def test_a_spec_that_contradicts_the_shapes(tmp_path):
    """An ONNX file of another architecture, with a spec that does not belong to it."""
    for wrong, names in (
        (small_spec(labels=("a", "b", "c")), r"logits \(B, 56, 4\), but has \[56, 3\]"),
        (small_spec(levels=small_spec().levels[:1]), r"loc \(B, 48, 4\), but has \[56, 4\]"),
        (small_spec(input_size=(64, 32)), r"image \(B, 3, 64, 32\), but has \[3, 32, 32\]"),
    ):
        path = save(tiny_model(), tmp_path / "a.onnx", wrong)
        with pytest.raises(ModelError, match=names):
            read_spec(path)


def test_a_network_that_is_no_detector(tmp_path):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [value("x", 1, [1, 10])], [value("y", 1, [1, 10])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = save(model, tmp_path / "a.onnx", small_spec())
    with pytest.raises(ModelError, match=r"must have image .* but has None"):
        read_spec(path)


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", b"\x08\x0a" * 50, b"\x00" * 1000])
def test_a_file_that_is_not_onnx(content, tmp_path):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx") as error:
        read_spec(tmp_path / "a.onnx")
    assert "\n" not in str(error.value)


def test_a_truncated_file(heads_onnx, tmp_path):
    content = heads_onnx.read_bytes()
    (tmp_path / "a.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"a\.onnx is no ONNX file"):
        read_spec(tmp_path / "a.onnx")


def test_no_file(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelError, match="there is no file"):
            read_spec(path)


def test_a_batch_of_any_size_is_allowed(tmp_path):
    model = tiny_model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    assert read_spec(save(model, tmp_path / "a.onnx", small_spec())) == small_spec()

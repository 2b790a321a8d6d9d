"""The OpenVINO engine: two requests in flight, FP32 that is FP32."""

from __future__ import annotations

import numpy as np
import pytest

from ssd_edge.engines import openvino as backend
from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.openvino import OpenVinoEngine, incompatibility
from ssd_edge.errors import BackendError
from tests.engines.pipelining import CHECKS, frames
from tests.helpers import plan_entry, small_spec


@pytest.fixture
def engine(heads_onnx):
    engine = OpenVinoEngine(heads_onnx, small_spec(), "FP32")
    yield engine
    engine.close()


@pytest.mark.parametrize("check", CHECKS)
def test_submit(check, engine, heads_onnx):
    assert engine.depth == 2
    check(engine, heads_onnx)


def test_the_plan_gives_what_the_onnx_file_gives(engine, heads_onnx, tmp_path):
    """Bit-equal: the plan is the same graph with the same FP32 weights."""
    plan = backend.build(heads_onnx, small_spec(), tmp_path, BuildOptions(), print)
    assert plan.files == ("heads.xml", "heads.bin")
    loaded = backend.load(tmp_path, plan_entry(files=plan.files), small_spec())
    for image in frames(5):
        for a, b in zip(loaded.submit(image)(), engine.submit(image)(), strict=True):
            np.testing.assert_array_equal(a, b)
    loaded.close()


def test_closing_with_work_under_way(heads_onnx):
    engine = OpenVinoEngine(heads_onnx, small_spec(), "FP32")
    for image in frames(2):
        engine.submit(image)
    engine.close()


@pytest.mark.parametrize("content", [b"", b"<net", b"no plan at all"])
def test_a_damaged_plan(content, tmp_path):
    (tmp_path / "heads.xml").write_bytes(content)
    (tmp_path / "heads.bin").write_bytes(b"")
    with pytest.raises(BackendError, match=r"OpenVINO cannot load .*heads\.xml: ") as error:
        backend.load(tmp_path, plan_entry(files=("heads.xml",)), small_spec())
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_onnx(tmp_path):
    (tmp_path / "heads.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(BackendError, match="OpenVINO cannot build") as error:
        backend.build(tmp_path / "heads.onnx", small_spec(), tmp_path, BuildOptions(), print)
    assert "\n" not in str(error.value)


def test_versions():
    assert incompatibility(plan_entry(version="2024.6.0")) is None
    assert incompatibility(plan_entry(version=backend.version())) is None
    assert "2999.0.1" in incompatibility(plan_entry(version="2999.0.1"))

"""BF16 and FP16 on a CPU: used only if asked for, and built and loaded only on processors that compute in them."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from ssd_edge.engines import openvino
from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.engines.cpu.exact import open_exact
from ssd_edge.errors import BackendError, BundleCompatibilityError
from ssd_edge.machine import instructions
from ssd_edge.machine.host import this_host
from tests.engines.integer_heads import write_integer_heads
from tests.engines.pipelining import frames
from tests.helpers import plan_entry, sentence, silent, small_spec

BF16, ARM, NONE = {"BF16": "AVX512-BF16"}, {"FP16": "fp16"}, {}


def on(monkeypatch, floats):
    monkeypatch.setattr(instructions, "narrow_floats", lambda host: floats)


def build(onnx, folder, precision):
    folder.mkdir()
    return openvino.build(onnx, small_spec(), folder, BuildOptions(precision=precision), silent)


@pytest.mark.parametrize(
    ("floats", "asked", "got"),
    [
        (BF16, None, "FP32"),
        (BF16, "FP32", "FP32"),
        (BF16, "BF16", "BF16"),
        (ARM, None, "FP32"),
        (ARM, "FP16", "FP16"),
        (NONE, "FP32", "FP32"),
    ],
)
def test_narrow_floats_are_used_only_if_asked_for(heads_onnx, tmp_path, monkeypatch, floats, asked, got):
    on(monkeypatch, floats)
    assert build(heads_onnx, tmp_path / "a", asked).precision == got


@pytest.mark.parametrize(
    ("floats", "asked", "said"),
    [
        (NONE, "BF16", "computes neither BF16 nor FP16 natively"),
        (NONE, "FP16", "computes neither BF16 nor FP16 natively"),
        (BF16, "FP16", "computes only BF16 natively, so that FP16 would only be slower"),
        (ARM, "BF16", "computes only FP16 natively"),
        (BF16, "INT8", "INT8 needs heads with Q/DQ"),
    ],
)
def test_refused_in_a_sentence(heads_onnx, tmp_path, monkeypatch, floats, asked, said):
    on(monkeypatch, floats)
    with pytest.raises(BackendError) as error:
        build(heads_onnx, tmp_path / "a", asked)
    assert said in sentence(error)
    assert not list((tmp_path / "a").iterdir())


def test_int8_heads_are_refused(tmp_path, monkeypatch):
    on(monkeypatch, BF16)
    with pytest.raises(BackendError, match="BF16 needs FP32 heads, and these are INT8"):
        build(write_integer_heads(tmp_path / "heads.onnx"), tmp_path / "a", "BF16")


def test_a_machine_without_them_says_why(heads_onnx, tmp_path, monkeypatch):
    on(monkeypatch, BF16)
    build_bundle(heads_onnx, tmp_path / "a.engine", "openvino", options=BuildOptions(precision="BF16"))
    (plan,) = read_manifest(tmp_path / "a.engine").plans
    assert plan.precision == "BF16"
    on(monkeypatch, NONE)
    with pytest.raises(BundleCompatibilityError) as error:
        load_bundle(tmp_path / "a.engine")
    assert "computes in BF16, for which this processor has no instructions" in sentence(error)
    assert "BF16" in openvino.incompatibility(plan_entry(precision="BF16", version="0"))
    assert openvino.incompatibility(plan_entry(precision="FP32", version="0")) is None


@pytest.mark.skipif("BF16" not in instructions.narrow_floats(this_host()), reason="this processor has no bf16")
def test_bf16_computes_in_bf16(heads_onnx, tmp_path):
    """BF16 has 8 bits: each rounding is off by 2⁻⁹ of a value, and four convolutions in a row by a few times that."""
    build_bundle(heads_onnx, tmp_path / "a.engine", "openvino", options=BuildOptions(precision="BF16"))
    with closing(load_bundle(tmp_path / "a.engine")) as engine, closing(open_exact(heads_onnx, small_spec())) as exact:
        assert engine.precision == "BF16"
        for image in frames(3):
            for head, right in zip(engine.submit(image)(), exact.submit(image)(), strict=True):
                off = float(np.abs(head - right).max() / np.abs(right).max())
                assert 2**-12 < off < 8 * 2**-9

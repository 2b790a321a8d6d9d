"""Heads with weights of 7 bits: their biases are corrected with the proof's images, if they carry a proof."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from ssd_edge.calibration.network.divergence import Reference
from ssd_edge.engines.backends import get_backend
from ssd_edge.engines.cpu import weight_bits
from ssd_edge.engines.proof.prove import keep_proof
from ssd_edge.graph.heads import read_proof, read_spec
from tests.engines.integer_heads import images, write_integer_heads

pytestmark = pytest.mark.int8


def seven(path: Path, folder: Path) -> tuple[onnx.ModelProto, str]:
    (folder / path.stem).mkdir()
    heads, facts = next(weight_bits.heads_to_try(path, read_spec(path), get_backend("openvino"), folder / path.stem))
    return onnx.load(heads), facts["weight_bits"]


def test_a_proof_corrects_biases_and_brings_the_heads_closer(tmp_path, monkeypatch):
    monkeypatch.setattr(weight_bits, "bits_to_try", lambda host: (7,))
    plain = write_integer_heads(tmp_path / "plain.onnx")
    proved = write_integer_heads(tmp_path / "proved.onnx")
    random = np.random.default_rng(0)
    keep_proof(proved, [random.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(4)])
    assert read_proof(plain) is None
    left, said = seven(plain, tmp_path)
    assert said == "7, 0 of 5 from the FP32 weights, 0 biases corrected by the proof's images"
    corrected, said = seven(proved, tmp_path)
    assert said == "7, 0 of 5 from the FP32 weights, 5 biases corrected by the proof's images"
    assert {node.input[2] for node in corrected.graph.node if node.op_type == "Conv"} == {
        f"{name}_shifted_bias" for name in ("first_sum", "depthwise", "third_sum", "loc_map", "logits_map")
    }
    assert all(len(node.input) == 2 for node in left.graph.node if node.op_type == "Conv")


@pytest.mark.parametrize("bits", [7, 8])
def test_the_manifest_says_how_weights_were_built(tmp_path, monkeypatch, bits):
    monkeypatch.setattr(weight_bits, "bits_to_try", lambda host: (bits,))
    path = write_integer_heads(tmp_path / "heads.onnx")
    assert seven(path, tmp_path)[1].startswith(str(bits))


def test_a_correction_brings_the_heads_closer(tmp_path, monkeypatch):
    """Measured on images of the same kind as the proof's, but not the same images."""
    from ssd_edge.graph.mean_shift import absorb_shift
    from ssd_edge.graph.seven_bits import with_seven_bits

    path = write_integer_heads(tmp_path / "heads.onnx")
    before, left, corrected = (onnx.load(path) for _ in range(3))
    few, others = images(8)[:4], images(8)[4:]
    for model in (left, corrected):
        with_seven_bits(model)
    absorb_shift(corrected, before, few)
    reference = Reference(before, read_spec(path), others)
    assert 0 < reference.divergence(corrected) < reference.divergence(left)

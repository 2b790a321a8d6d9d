"""Write heads.onnx: a network's heads, with their ModelSpec and proof in ``metadata_props``."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

from ssd_edge.files import written_whole
from ssd_edge.proof import PROOF_KEY, Proof
from ssd_edge.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx


def write_heads(model: onnx.ModelProto, spec: ModelSpec, output: Path) -> None:
    """Check heads with ONNX, and write them with their spec, completely or not at all.

    Other metadata is kept, except for a proof, which belongs to the heads that these were made from; see ``add_proof``.
    """
    import onnx

    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key not in {METADATA_KEY, PROOF_KEY}}
    onnx.helper.set_model_props(model, {**kept, METADATA_KEY: spec.to_text()})
    onnx.checker.check_model(model)
    _write(model, output)


def add_proof(heads: Path, proof: Proof | None) -> None:
    """Write a proof into heads, replacing any earlier one; None records that no proof is wanted.

    Heads made from these then have no proof either, see ``read_proof``.
    """
    import onnx

    model = onnx.load(heads)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, PROOF_KEY: b64encode(proof.pack() if proof else b"").decode()})
    _write(model, heads)


def replace_spec(heads: Path, spec: ModelSpec) -> None:
    """Replace the spec in heads; keep their proof and other metadata."""
    import onnx

    model = onnx.load(heads)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, METADATA_KEY: spec.to_text()})
    _write(model, heads)


def _write(model: onnx.ModelProto, output: Path) -> None:
    with written_whole(output) as partial:
        partial.write_bytes(model.SerializeToString())

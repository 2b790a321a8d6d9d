"""Write a network with its Q/DQ pairs as heads.int8.onnx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ssd_edge.calibration.network.network import Network
from ssd_edge.calibration.network.qdq import Int8Weight, insert_qdq, quantised_weights
from ssd_edge.errors import CalibrationError
from ssd_edge.files import sha256, written_whole
from ssd_edge.graph.fp32 import count_convolutions
from ssd_edge.proof import PROOF_KEY
from ssd_edge.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Int8Heads:
    """A file of INT8 heads.

    Attributes:
        path: the ONNX file.
        scales: the scale of each quantised activation, by tensor name.
        num_quantised: number of convolutions in INT8.
        num_convolutions: number of all convolutions.
    """

    path: Path
    scales: Mapping[str, float]
    num_quantised: int
    num_convolutions: int


def quantise(
    network: Network,
    scales: Mapping[str, float],
    output: Path,
    *,
    weights: Mapping[str, Int8Weight] | None = None,
    **facts: str,
) -> Int8Heads:
    """Write the network with its pairs.

    Args:
        network: FP32.
        scales: the scale of each tensor that has a pair, by name; others are passed over.
        output: the file to write; it appears whole or not at all.
        weights: the weights on their grids, by name; rounded to the nearest step if not given.
        facts: facts for the provenance of the model's spec, beside its parent.

    Raises:
        CalibrationError: a scale is missing, or the file cannot be written.
        SpecError: the heads carry a model spec that is not valid.
    """
    placement = network.placement
    missing = [name for name in placement.readers if name not in scales]
    if missing:
        listed = ", ".join(map(repr, missing[:3])) + (" …" if len(missing) > 3 else "")
        raise CalibrationError(
            f"the scales lack {len(missing)} of the {len(placement.readers)} tensors that need one ({listed}): "
            "take those of this very network, or calibrate with images"
        )
    chosen = {name: scales[name] for name in placement.readers}
    quantised = insert_qdq(network.model, placement, chosen, weights or quantised_weights(network.model, placement))
    _drop_proof(quantised)
    _add_provenance(quantised, parent=network.path.name, parent_sha256=sha256(network.path), **facts)
    try:
        with written_whole(output) as partial:
            partial.write_bytes(quantised.SerializeToString())
    except OSError as error:
        raise CalibrationError(f"cannot write {output}: {error.strerror}") from None
    return Int8Heads(output, chosen, len(placement.convolutions), count_convolutions(network.model))


def _drop_proof(model: onnx.ModelProto) -> None:
    """Remove the proof: it holds the detections of the FP32 heads, not of these."""
    kept = [entry for entry in model.metadata_props if entry.key != PROOF_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def _add_provenance(model: onnx.ModelProto, **facts: str) -> None:
    """Record facts in the model's spec, if it carries one."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = ModelSpec.from_text(entry.value).with_provenance(**facts).to_text()

"""heads.onnx: a network's heads with their ModelSpec in ``metadata_props``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssd_edge.files import written_whole
from ssd_edge.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx


def write_heads(model: onnx.ModelProto, spec: ModelSpec, output: Path) -> None:
    """Write heads with their spec, checked by ONNX, whole or not at all; other metadata is kept."""
    import onnx

    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA_KEY}
    onnx.helper.set_model_props(model, {**kept, METADATA_KEY: spec.to_text()})
    onnx.checker.check_model(model)
    with written_whole(output) as partial:
        partial.write_bytes(model.SerializeToString())

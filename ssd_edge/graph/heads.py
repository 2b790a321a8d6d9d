"""heads.onnx: a network's heads with their ModelSpec and their proof in ``metadata_props``, read and written.

Reading needs ONNX Runtime alone; what edits the file needs the package ``onnx``.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssd_edge.errors import ModelError, ProofError
from ssd_edge.files import written_whole
from ssd_edge.graph.foreign import refuse_other_formats
from ssd_edge.graph.session import NONE, Session, open_session
from ssd_edge.proof import PROOF_KEY, Proof
from ssd_edge.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx


def open_heads(path: Path, **options: Any) -> Session:
    """Open heads in ONNX Runtime; options as for ``open_session``.

    Raises:
        ModelError: there is no such file, or ONNX Runtime refuses it.
    """
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    try:
        return open_session(path, **options)
    except ModelError as error:
        if "ssd_edge:Ssd" in str(error):
            raise ModelError(
                f"{path} has its decode inside, for TensorRT's own tools: give the heads that ssd-edge "
                "export-decode made it from"
            ) from None
        refuse_other_formats(path)
        raise ModelError(f"{path} is no ONNX file that ONNX Runtime can run: {error}") from None


def read_spec(path: Path) -> ModelSpec:
    """Read the spec that heads carry in their metadata, and compare it with their shapes.

    Raises:
        ModelError: the file is not ONNX, does not hold heads of ssd-edge, or has shapes that contradict the spec.
        SpecError: the spec is of another version.
    """
    session = open_heads(path, level=NONE)
    text = _metadata(path, session).get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"{path} carries no model spec, so it was not made by ssd-edge export: "
            "give it one with ssd-edge import-onnx"
        )
    spec = ModelSpec.from_text(text)
    _check_shapes(path, session, spec)
    return spec


def spec_of(model: onnx.ModelProto) -> ModelSpec | None:
    """Return the spec in a model's metadata; None where it carries none.

    Raises:
        SpecError: the spec is of another version.
    """
    text = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)
    return None if text is None else ModelSpec.from_text(text)


def read_proof(path: Path) -> bytes | None:
    """Read the packed proof that heads carry in their metadata, see ``ssd_edge.proof``.

    Returns:
        The archive; empty where none was wanted, None where nothing is said.

    Raises:
        ModelError: the file is not ONNX.
        ProofError: the metadata holds something other than a proof.
    """
    text = _metadata(path, open_heads(path, level=NONE)).get(PROOF_KEY)
    try:
        return None if text is None else b64decode(text, validate=True)
    except ValueError as error:
        raise ProofError(f"the proof in {path} cannot be read ({error}): export or calibrate the model again") from None


def precision_of(path: Path) -> str:
    """Return ``INT8`` if an ONNX file holds Q/DQ nodes, else ``FP32``: operator names are plain bytes in the file."""
    return "INT8" if b"DequantizeLinear" in path.read_bytes() else "FP32"


def write_heads(model: onnx.ModelProto, spec: ModelSpec, output: Path) -> None:
    """Write heads with their spec, checked by ONNX, whole or not at all.

    Other metadata is kept, except for a proof: it is that of the heads that these were made of, see ``add_proof``.
    """
    import onnx

    onnx.helper.set_model_props(model, {**_props(model, without=PROOF_KEY), METADATA_KEY: spec.to_text()})
    onnx.checker.check_model(model)
    _write(model, output)


def add_proof(path: Path, proof: Proof | None) -> None:
    """Write a proof into heads, in place of the one that they may have; None says that none is wanted.

    Heads that are made of these then keep none either, see ``read_proof``.
    """
    import onnx

    from ssd_edge.graph.files import read_model

    model = read_model(path)
    packed = b64encode(proof.pack() if proof else b"").decode()
    onnx.helper.set_model_props(model, {**_props(model), PROOF_KEY: packed})
    _write(model, path)


def replace_spec(path: Path, spec: ModelSpec) -> None:
    """Write another spec into heads; their proof and other metadata stay."""
    import onnx

    from ssd_edge.graph.files import read_model

    model = read_model(path)
    onnx.helper.set_model_props(model, {**_props(model), METADATA_KEY: spec.to_text()})
    _write(model, path)


def _props(model: onnx.ModelProto, without: str = "") -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props if entry.key != without}


def _write(model: onnx.ModelProto, output: Path) -> None:
    with written_whole(output) as partial:
        partial.write_bytes(model.SerializeToString())


def _metadata(path: Path, session: Session) -> Mapping[str, str]:
    try:
        return session.metadata()
    except ModelError as error:
        raise ModelError(f"the metadata of {path} cannot be read: {error}") from None


def _check_shapes(path: Path, session: Session, spec: ModelSpec) -> None:
    boxes, classes = spec.num_default_boxes, spec.num_classes
    wanted = {"image": [3, *spec.input_size], "loc": [boxes, 4], "logits": [boxes, classes]}
    try:
        shapes = {node.name: list(node.shape[1:]) for node in (*session.get_inputs(), *session.get_outputs())}
    except ModelError as error:
        raise ModelError(f"the names in {path} cannot be read: {error}") from None
    for name, shape in wanted.items():
        if shapes.get(name) != shape:
            raise ModelError(f"{path} must have {name} (B, {', '.join(map(str, shape))}), but has {shapes.get(name)}")

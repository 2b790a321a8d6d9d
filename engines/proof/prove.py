"""The proof in a bundle, and an engine against it: what agrees, and where a fault lies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ssd_edge.agreement import TOLERANCES, Agreement
from ssd_edge.decode import Decoder
from ssd_edge.detector import Image
from ssd_edge.engines.base import Engine, PlanEntry
from ssd_edge.errors import BackendError, DisagreementError, NoHeadsError, ProofError
from ssd_edge.graph.heads import add_proof
from ssd_edge.preprocess import preprocess
from ssd_edge.proof import Proof, check, compare_with, record
from ssd_edge.spec import ModelSpec

CLEAR_ABOUT_NOTHING = "the model is clear about nothing in the proof's images: export or calibrate it with others"


def keep_proof(heads: Path, frames: Iterable[Image]) -> Proof:
    """Compute heads exactly on some images, and write into them what they find there; see ``ssd_edge.proof``.

    Args:
        heads: the ONNX file, with its spec.
        frames: of any size, such as validation or calibration images.

    Raises:
        ModelError, SpecError: no heads of ssd-edge.
        OSError: the file cannot be written.
    """
    from ssd_edge.engines.cpu.exact import open_exact
    from ssd_edge.engines.onnxruntime import read_spec

    exact = open_exact(heads, read_spec(heads))
    try:
        proof = record(exact, frames)
    finally:
        exact.close()
    add_proof(heads, proof)
    return proof


def write_proof(onnx: Path, spec: ModelSpec, folder: Path) -> str:
    """Copy the proof that heads carry into a bundle's folder; returns its file's name, "" where they carry none.

    Raises:
        ProofError: it is damaged, or is that of another model.
    """
    from ssd_edge.engines.onnxruntime import read_proof

    packed = read_proof(onnx)
    if not packed:
        return ""
    Proof.unpack(packed, spec)
    name = f"proof-{hashlib.sha256(packed).hexdigest()[:12]}.zip"
    (folder / name).write_bytes(packed)
    return name


def proof_of(folder: Path, plan: PlanEntry, spec: ModelSpec) -> Proof:
    """The proof of a bundle's plan, whose files have been checked.

    Raises:
        ProofError: it has none.
    """
    if not plan.proof:
        raise ProofError(
            f"the {plan.backend} plan of {folder} was built from heads without a proof: make them again with ssd-edge "
            "export or calibrate, without --no-proof, and build it anew"
        )
    return Proof.unpack((folder / plan.proof).read_bytes(), spec)


def prove(engine: Engine, proof: Proof, heads: Path | None = None) -> Agreement:
    """Compare what an engine finds in the proof's images with what is to be found.

    Args:
        engine: any of the model.
        proof: of the model.
        heads: the ONNX file that the engine was built from, where it is at hand: tells a wrong engine from a proof
            that is another model's.

    Raises:
        DisagreementError: it finds something else; says by how much, which stage is at fault, and what to do.
        ProofError: the proof counts no detection, or is that of other heads.
        BackendError: the engine failed.
    """
    if proof.counted == 0:
        raise ProofError(CLEAR_ABOUT_NOTHING)
    agreement = check(engine, proof, engine.precision)
    if agreement.holds:
        return agreement
    if heads is not None and not _of_these_heads(heads, proof):
        raise ProofError(f"the proof in {heads.name} is not one of its heads: export or calibrate the model again")
    stage, remedy = _fault(engine, proof)
    raise DisagreementError(
        f"the {engine.backend} {engine.precision} engine does not find what its model's proof says: "
        f"{agreement.sentence()}; {stage}: {remedy}"
    )


def _of_these_heads(heads: Path, proof: Proof) -> bool:
    """Whether the heads, computed exactly here, find what the proof says."""
    from ssd_edge.engines.cpu.exact import open_exact
    from ssd_edge.engines.onnxruntime import read_spec

    exact = open_exact(heads, read_spec(heads))
    try:
        return check(exact, proof, exact.precision).holds
    finally:
        exact.close()


def _fault(engine: Engine, proof: Proof) -> tuple[str, str]:
    """Which stage is at fault, and what to do about it."""
    spec, decode = engine.spec, Decoder(engine.spec)
    int8 = engine.precision == "INT8"
    remedy = (
        "build FP32 heads or with another --backend, and see what ssd-edge doctor says of this processor and driver"
        if int8
        else "build with another --precision or --backend, and see what ssd-edge doctor says of the driver"
    )
    try:
        found = []
        for image in proof.images:
            heads = engine.submit(preprocess(image, spec))()
            found.append(decode(heads.loc[0], heads.logits[0], spec.input_size))
    except NoHeadsError:
        return "its plan, which carries its decode, is at fault", remedy
    except BackendError as error:
        return f"its network fails by itself ({error})", remedy
    if compare_with(proof, found, TOLERANCES[engine.precision], spec).holds:
        return "its heads are right, so its preprocess or decode is at fault", "report it with ssd-edge selftest"
    arithmetic = ", whose INT8 arithmetic may saturate here" if int8 else ""
    return f"its network is at fault{arithmetic}", remedy

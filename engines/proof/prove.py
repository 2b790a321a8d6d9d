"""Write proofs into heads and bundles, check engines against them, and find the stage at fault."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ssd_edge.agreement import TOLERANCES, Agreement
from ssd_edge.decode import Decoder
from ssd_edge.detector import Engine
from ssd_edge.engines.base import PlanEntry
from ssd_edge.errors import BackendError, DisagreementError, NoHeadsError, ProofError
from ssd_edge.graph.heads import add_proof
from ssd_edge.pixels import Image
from ssd_edge.preprocess import preprocess
from ssd_edge.proof import Proof, check, compare_with, record
from ssd_edge.spec import ModelSpec

CLEAR_ABOUT_NOTHING = "the model is sure of nothing in the proof's images: export or calibrate it with others"


def keep_proof(heads: Path, frames: Iterable[Image]) -> Proof:
    """Compute heads exactly on some images, and store the detections in the file; see ``ssd_edge.proof``.

    Args:
        heads: the ONNX file, with its spec.
        frames: images of any size, such as validation or calibration images.

    Raises:
        ModelError, SpecError: the file does not hold heads of ssd-edge.
        OSError: the file cannot be written.
    """
    from ssd_edge.engines.cpu.exact import open_exact
    from ssd_edge.graph.heads import read_spec

    with open_exact(heads, read_spec(heads)) as exact:
        proof = record(exact, frames)
    add_proof(heads, proof)
    return proof


def write_proof(onnx: Path, spec: ModelSpec, folder: Path) -> str:
    """Copy the proof in the heads into a bundle's folder; returns the new file's name, "" if there is no proof.

    Raises:
        ProofError: the proof is damaged, or belongs to another model.
    """
    from ssd_edge.graph.heads import read_proof

    packed = read_proof(onnx)
    if not packed:
        return ""
    Proof.unpack(packed, spec)
    name = f"proof-{hashlib.sha256(packed).hexdigest()[:12]}.zip"
    (folder / name).write_bytes(packed)
    return name


def proof_of(folder: Path, plan: PlanEntry, spec: ModelSpec) -> Proof:
    """Read the proof of a bundle's plan; the bundle's files have been checked before.

    Raises:
        ProofError: the plan has none.
    """
    if not plan.proof:
        raise ProofError(
            f"the {plan.backend} plan of {folder} was built from heads without a proof: make them again with ssd-edge "
            "export or calibrate, without --no-proof, and build it again"
        )
    return Proof.unpack((folder / plan.proof).read_bytes(), spec)


def prove(engine: Engine, proof: Proof, heads: Path | None = None) -> Agreement:
    """Compare an engine's detections in the proof's images with those in the proof.

    Args:
        engine: an engine of the model.
        proof: the model's proof.
        heads: the ONNX file that the engine was built from, if available; it tells a wrong engine from a proof that
            belongs to another model.

    Raises:
        DisagreementError: the detections differ; says by how much, which stage is at fault, and what to do.
        ProofError: the proof counts no detection, or belongs to other heads.
        BackendError: the engine failed.
    """
    if proof.counted == 0:
        raise ProofError(CLEAR_ABOUT_NOTHING)
    agreement = check(engine, proof, engine.precision)
    if agreement.holds:
        return agreement
    if heads is not None and not _of_these_heads(heads, proof):
        raise ProofError(f"the proof in {heads.name} belongs to other heads: export or calibrate the model again")
    stage, remedy = _fault(engine, proof)
    raise DisagreementError(
        f"the {engine.backend} {engine.precision} engine does not find what its model's proof says: "
        f"{agreement.sentence()}; {stage}: {remedy}"
    )


def _of_these_heads(heads: Path, proof: Proof) -> bool:
    """Whether the heads, computed exactly here, agree with the proof."""
    from ssd_edge.engines.cpu.exact import open_exact
    from ssd_edge.graph.heads import read_spec

    with open_exact(heads, read_spec(heads)) as exact:
        return check(exact, proof, exact.precision).holds


def _fault(engine: Engine, proof: Proof) -> tuple[str, str]:
    """Find the stage at fault, and what to do about it."""
    spec, decode = engine.spec, Decoder(engine.spec)
    int8 = engine.precision == "INT8"
    remedy = (
        "build FP32 heads or with another --backend, and see what ssd-edge doctor says of this processor and driver"
        if int8
        else "build with another --precision or --backend, and see what ssd-edge doctor says of the driver"
    )
    try:
        detections = []
        for image in proof.images:
            heads = engine.submit(preprocess(image, spec))()
            detections.append(decode(heads.loc[0], heads.logits[0], spec.input_size))
    except NoHeadsError:
        return "its plan, which carries its decode, is at fault", remedy
    except BackendError as error:
        return f"its network fails by itself ({error})", remedy
    if compare_with(proof, detections, TOLERANCES[engine.precision], spec).holds:
        return "its heads are right, so its preprocess or decode is at fault", "report it with ssd-edge selftest"
    arithmetic = ", whose INT8 arithmetic may saturate here" if int8 else ""
    return f"its network is at fault{arithmetic}", remedy

"""Open a model in any form (checkpoint, heads in ONNX, or bundle) as an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from ssd_edge.detector import Engine
from ssd_edge.engines.bundle.load import load_bundle, load_smaller
from ssd_edge.engines.bundle.manifest import change_spec, read_manifest
from ssd_edge.engines.proof.prove import proof_of
from ssd_edge.errors import MissingDependencyError, ModelError, ProofError
from ssd_edge.graph.heads import replace_spec as replace_heads_spec
from ssd_edge.parsing import shown
from ssd_edge.progress import Note, no_note
from ssd_edge.proof import Proof
from ssd_edge.spec import ModelSpec


def proof_for(path: Path, engine: Engine) -> Proof:
    """Read the proof for an engine that ``open_model`` returned.

    Args:
        path: the file or folder that ``open_model`` opened.
        engine: the engine that it returned.

    Raises:
        ProofError: the file or bundle has no proof.
    """
    if path.is_dir():
        plan = next(plan for plan in read_manifest(path).plans if plan.backend == engine.backend)
        return proof_of(path, plan, engine.spec)
    packed = None
    if path.suffix == ".onnx":
        from ssd_edge.graph.heads import read_proof

        packed = read_proof(path)
    if not packed:
        raise ProofError(
            f"{path} carries no proof: use heads from ssd-edge export, import-onnx or calibrate, or a bundle of them"
        )
    return Proof.unpack(packed, engine.spec)


def set_operating_scores(path: Path, spec: ModelSpec, scores: Mapping[str, float]) -> None:
    """Write the score from which each label is shown into a model of any form.

    Args:
        path: a model as ``open_model`` takes it.
        spec: the model's spec.
        scores: scores by label; they replace the model's present ones.

    Raises:
        MissingDependencyError: the model is an ONNX file, and the package ``onnx`` is not installed.
        ModelError, BundleError: the model is damaged.
        OSError: the model cannot be written.
    """
    spec = replace(spec, operating_scores=scores)
    if path.is_dir():
        change_spec(path, lambda present: replace(present, operating_scores=scores))
    elif path.suffix == ".onnx":
        try:
            replace_heads_spec(path, spec)
        except ModuleNotFoundError:
            raise MissingDependencyError("onnx", "calibrate", f"writing into {path.name}") from None
    else:
        from ssd_edge.training.checkpoints import replace_spec as replace_checkpoints_spec

        facts = {key: value for key, value in spec.provenance.items() if key != "checkpoint_sha256"}
        replace_checkpoints_spec(path, replace(spec, provenance=facts))


def open_smaller(path: Path, running: Engine, fallback: Path | None, note: Note = no_note) -> Engine:
    """Open the engine that takes over from another when the machine is slowed down.

    Args:
        path: the model that runs.
        running: its engine.
        fallback: the model to open; None for a plan in fewer bits of the same bundle.
        note: see ``open_model``.

    Raises:
        ModelError: the bundle has no such plan, or the fallback has other labels; and as ``open_model``.
    """
    if fallback is None:
        smaller = load_smaller(path, running, note) if path.is_dir() else None
        if smaller is None:
            raise ModelError(
                f"{path} has no plan in fewer bits than the {running.backend} {running.precision} plan that runs, on "
                "the same kind of processor: name a smaller engine with --fallback, or use --degrade skip"
            )
        return smaller
    engine = open_model(fallback, note)
    if engine.spec.labels != running.spec.labels:
        engine.close()
        raise ModelError(
            f"the fallback {fallback} detects {shown(list(engine.spec.labels))}, and {path} detects "
            f"{shown(list(running.spec.labels))}: name an engine with the same labels in the same order"
        )
    return engine


def open_model(path: Path, note: Note = no_note) -> Engine:
    """Open a model file or folder as an engine, chosen by the name's suffix; an ONNX file is computed exactly.

    Args:
        path: ``NAME.engine/``, ``NAME.onnx``, or a checkpoint ``NAME.pt`` or ``NAME.ckpt``.
        note: called with a sentence for each better plan of a bundle that was passed over.

    Raises:
        ModelError: the path is none of these, or the file is damaged.
        BundleError: the bundle cannot run here.
        MissingDependencyError: the model is a checkpoint, and PyTorch is not installed.
    """
    if not path.exists():
        raise ModelError(f"there is no model {path}")
    if path.suffix == ".onnx":
        from ssd_edge.engines.cpu.exact import open_exact
        from ssd_edge.graph.heads import read_spec

        return open_exact(path, read_spec(path))
    if path.suffix in {".pt", ".ckpt"}:
        try:
            from ssd_edge.training.checkpoints import load_checkpoint
            from ssd_edge.training.heads import TorchHeads
        except ModuleNotFoundError:
            raise MissingDependencyError("PyTorch", "train", f"{path.name} is a checkpoint and") from None
        return cast(Engine, TorchHeads(load_checkpoint(path)))
    if path.is_dir():
        return load_bundle(path, note)
    raise ModelError(f"{path} is no model: it must be NAME.engine/, NAME.onnx, NAME.pt or NAME.ckpt")

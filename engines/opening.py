"""Any form of a model, a checkpoint, heads in ONNX or a bundle, as an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from ssd_edge.engines.base import Engine
from ssd_edge.engines.bundle import load_bundle, read_manifest
from ssd_edge.engines.proving import proof_of
from ssd_edge.errors import MissingDependencyError, ModelError, ProofError
from ssd_edge.proof import Proof


def proof_for(path: Path, engine: Engine) -> Proof:
    """The proof that an engine is to be checked by.

    Args:
        path: what ``open_model`` opened.
        engine: what it gave.

    Raises:
        ProofError: the file or bundle has none.
    """
    if path.is_dir():
        plan = next(plan for plan in read_manifest(path).plans if plan.backend == engine.backend)
        return proof_of(path, plan, engine.spec)
    packed = None
    if path.suffix == ".onnx":
        from ssd_edge.engines.onnxruntime import read_proof

        packed = read_proof(path)
    if not packed:
        raise ProofError(
            f"{path} carries no proof: heads of ssd-edge export, import-onnx and calibrate do, and bundles"
        )
    return Proof.unpack(packed, engine.spec)


def open_model(path: Path, note: Callable[[str], None] = lambda sentence: None) -> Engine:
    """The engine of a file or folder, by its name's ending; an ONNX file is computed exactly.

    Args:
        path: ``NAME.engine/``, ``NAME.onnx``, or a checkpoint ``NAME.pt`` or ``NAME.ckpt``.
        note: told why a better plan of a bundle was passed over.

    Raises:
        ModelError: none of these, or damaged.
        BundleError: a bundle that cannot run here.
        MissingDependencyError: a checkpoint, and PyTorch is not installed.
    """
    if not path.exists():
        raise ModelError(f"there is no model {path}")
    if path.suffix == ".onnx":
        from ssd_edge.engines.exact import open_exact
        from ssd_edge.engines.onnxruntime import read_spec

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

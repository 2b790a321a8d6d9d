"""Load the best plan of a bundle that can run on this machine."""

from __future__ import annotations

import hashlib
import platform
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ssd_edge import __version__
from ssd_edge.detector import Engine
from ssd_edge.engines.backends import BACKENDS, GPU_BACKENDS, get_backend
from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.bundle.lock import read_steadily
from ssd_edge.engines.bundle.manifest import MANIFEST, Manifest, rank, read_manifest
from ssd_edge.engines.proof.prove import proof_of, prove
from ssd_edge.errors import BackendError, BundleCompatibilityError, DisagreementError
from ssd_edge.files import user_cache, written_whole
from ssd_edge.hints import command
from ssd_edge.machine import instructions
from ssd_edge.machine.host import this_host
from ssd_edge.progress import Note, no_note


def load_bundle(folder: Path, note: Note = no_note) -> Engine:
    """Check a bundle and load the best of its plans that can run here.

    Args:
        folder: the bundle.
        note: called with a sentence for each better plan that was passed over, and on a first use elsewhere.

    Raises:
        BundleIntegrityError: the bundle is missing, altered or unreadable.
        BundleCompatibilityError: the bundle was made for another version or machine.
        BackendError: the runtime is not installed, or refused the plan.
        DisagreementError: the plan was built on another kind of processor, and gives wrong results on this one.
    """
    return read_steadily(folder, lambda: _loaded(folder, note), lambda engine: engine.close())


def load_smaller(folder: Path, than: Engine, note: Note = no_note) -> Engine | None:
    """Load the plan of a bundle that does the same with less work than the one that runs, if there is one.

    It computes in fewer bits on the same kind of processor: a CPU's INT8 plan is no smaller one of a GPU's FP16 plan.

    Args:
        folder: the bundle.
        than: the engine of it that runs.
        note: see ``load_bundle``.

    Raises:
        As ``load_bundle``.
    """

    def discard(engine: Engine | None) -> None:
        if engine is not None:
            engine.close()

    return read_steadily(folder, lambda: _smaller(folder, than, note), discard)


def _smaller(folder: Path, than: Engine, note: Note) -> Engine | None:
    manifest = read_manifest(folder)
    on_gpu = than.backend in GPU_BACKENDS
    same_kind = [plan for plan in manifest.plans if (plan.backend in GPU_BACKENDS) == on_gpu]
    fewer = [plan for plan in same_kind if _bits(plan.precision) < _bits(than.precision)]
    runnable = [plan for plan in fewer if plan.backend != than.backend and incompatibility(plan) is None]
    smallest = min(runnable, key=lambda plan: (_bits(plan.precision), rank(plan)), default=None)
    return None if smallest is None else _opened(folder, manifest, smallest, note)


def _bits(precision: str) -> int:
    return int("".join(filter(str.isdigit, precision)) or 32)


def _loaded(folder: Path, note: Note) -> Engine:
    manifest = read_manifest(folder)
    reasons: list[str] = []
    for plan in sorted(manifest.plans, key=rank):
        reason = incompatibility(plan)
        if reason is None:
            for passed_over in reasons:
                note(f"{folder}: {passed_over}; its {plan.backend} {plan.precision} plan runs")
            return _opened(folder, manifest, plan, note)
        reasons.append(f"its {plan.backend} {plan.precision} plan {reason}")
    name = manifest.plans[0].onnx if manifest.plans else manifest.provenance.get("onnx", "HEADS.onnx")
    source = beside if (beside := folder.with_name(Path(name).name)).is_file() else name
    build = command("build-engine", source, "--backend", "openvino", "--add", "--output", folder)
    raise BundleCompatibilityError(
        f"{folder} cannot run here: {'; '.join(reasons) or 'it holds no plan'}. A plan for this machine: {build}"
    )


def _opened(folder: Path, manifest: Manifest, plan: PlanEntry, note: Note) -> Engine:
    spec = replace(manifest.spec, provenance=plan.provenance)
    engine = get_backend(plan.backend).load(folder, plan, spec)
    try:
        _check_on_first_use(folder, plan, engine, note)
    except BaseException:
        engine.close()
        raise
    return engine


def _check_on_first_use(folder: Path, plan: PlanEntry, engine: Engine, note: Note) -> None:
    """Prove a plan once on a kind of processor other than the one that built it, and remember the success.

    Raises:
        DisagreementError: the engine does not find the detections in the proof on this processor.
    """
    here, there = instructions.kind(this_host()), plan.facts.get("cpu", "")
    if not there or there == here:
        return
    told = f"{folder} was built on another kind of processor ({there}; here {here})"
    if not plan.proof:
        note(f"{told}, and has no proof to be checked by: compare AP with ssd-edge eval, or build it again here")
        return
    mark = user_cache() / "proved" / hashlib.sha256((folder / MANIFEST).read_bytes() + here.encode()).hexdigest()
    if mark.exists():
        return
    proof = proof_of(folder, plan, engine.spec)
    if proof.counted == 0:
        note(f"{told}, and its proof shows nothing: compare AP with ssd-edge eval, or build it again here")
        return
    try:
        agreement = prove(engine, proof)
    except DisagreementError as error:
        raise DisagreementError(f"{told}: build it again here, from {plan.onnx}; {error}") from None
    note(f"{told}; its proof holds: {agreement.sentence()}")
    with suppress(OSError), written_whole(mark) as partial:  # without a writable cache it is proved again next time
        partial.write_text(agreement.sentence(), encoding="utf-8")


def incompatibility(plan: PlanEntry) -> str | None:
    """Explain why a plan cannot run here, in words that follow "its … plan"; None if it can run."""
    if plan.backend not in BACKENDS:
        return f"needs the backend {plan.backend!r}, which this ssd-edge ({__version__}) does not have"
    if plan.machine and plan.machine != platform.machine():
        return f"was built for {plan.machine}, and this machine is {platform.machine()}"
    try:
        return get_backend(plan.backend).incompatibility(plan)
    except BackendError as error:
        return f"cannot be loaded: {error}"

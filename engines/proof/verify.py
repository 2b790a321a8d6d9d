"""Check a bundle's plans against their proofs at any time, such as after an update of a driver or JetPack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssd_edge.agreement import Agreement
from ssd_edge.engines.backends import get_backend
from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.bundle.load import incompatibility
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.engines.proof.prove import proof_of, prove
from ssd_edge.errors import DisagreementError, ProofError


@dataclass(frozen=True)
class Verified:
    """Result of verifying one plan.

    Attributes:
        plan: the plan's entry in the bundle.
        agreement: agreement with the proof; None if the plan could not be compared, or does not agree.
        reason: why the plan was not compared, or how it disagrees; "" if it agrees.
        disagrees: whether the plan ran and disagrees with its proof.
    """

    plan: PlanEntry
    agreement: Agreement | None
    reason: str
    disagrees: bool = False

    @property
    def status(self) -> str:
        """``right``, ``wrong`` or ``not run``."""
        return "right" if self.agreement is not None else "wrong" if self.disagrees else "not run"

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            "backend": self.plan.backend,
            "precision": self.plan.precision,
            "status": self.status,
            "reason": self.reason,
            "agreement": self.agreement.to_json() if self.agreement else None,
        }


def verify_bundle(folder: Path) -> Iterator[Verified]:
    """Run the proof of each plan that can run here.

    Raises:
        BundleError: the folder is not a bundle, or it is damaged.
        BackendError: a runtime failed.
    """
    manifest = read_manifest(folder)
    for plan in manifest.plans:
        reason = incompatibility(plan)
        if reason is not None:
            yield Verified(plan, None, f"on this machine it {reason}")
            continue
        spec = replace(manifest.spec, provenance=plan.provenance)
        try:
            proof = proof_of(folder, plan, spec)
            with get_backend(plan.backend).load(folder, plan, spec) as engine:
                yield Verified(plan, prove(engine, proof), "")
        except DisagreementError as error:
            yield Verified(plan, None, str(error), disagrees=True)
        except ProofError as error:
            yield Verified(plan, None, str(error))

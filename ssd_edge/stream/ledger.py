"""The ledger: of each frame that a camera sent and that was not shown, why."""

from __future__ import annotations

from collections.abc import Mapping

from ssd_edge.stream.frames import Source

REASONS = {
    "replaced": "replaced by a newer one",
    "queue_full": "dropped from a full queue",
    "too_old": "too old",
    "relief": "left out to relieve the machine",
    "held": "held through a stall",
    "damaged": "damaged",
    "outage": "lost in an outage (about)",
    "waiting": "waiting, or in the engine",
    "left": "left at the end",
}
"""Why a frame was not shown: each key of a ledger, and its words for people."""


def missed_by(source: Source) -> dict[str, int]:
    """Count the frames that a source sent, or would have sent, and did not give to its reader, by reason.

    Frames that were held through a stall came late out of an outage, so they do not count as lost in it.
    """
    missed = source.supervision.health().frames_missed if source.supervision else 0
    held = source.too_old
    return {"held": held, "damaged": source.skipped + source.lost, "outage": max(0, missed - held)}


def ledger(*counts: Mapping[str, int]) -> dict[str, int]:
    """Join counts by reason, in the order of ``REASONS``, without those that are 0."""
    joined = {reason: sum(one.get(reason, 0) for one in counts) for reason in REASONS}
    return {reason: number for reason, number in joined.items() if number}


def in_words(counts: Mapping[str, int]) -> str:
    """Write a ledger for people, such as ``12 replaced by a newer one, 2 too old``; empty if it is."""
    return ", ".join(f"{number} {REASONS[reason]}" for reason, number in counts.items())

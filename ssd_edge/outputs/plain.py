"""A frame's detections as plain values, which is the form of JSON in files and in messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from time import monotonic, time
from typing import Any

from ssd_edge.detections import Detections
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.events import LateEvent
from ssd_edge.tracking.watch import Watched


def plain(frame: Frame, detections: Detections, labels: Sequence[str]) -> dict[str, Any]:
    """Convert to plain values for ``json.dumps``; docs/running.md and docs/tracking.md show the form.

    Args:
        frame: the frame.
        detections: what was detected in it; objects that are followed have ids, events and counts too.
        labels: class names, as in the model's spec.
    """
    return {
        "index": frame.index,
        "time": _seconds(frame.position),
        "file": frame.file,
        **_found(detections, labels),
    }


def time_of(frame: Frame | LateEvent) -> str:
    """Return when a frame was captured by the system's clock: ISO 8601 in UTC, with milliseconds."""
    return utc(time() - (monotonic() - frame.captured))


def utc(wall: float) -> str:
    """Write a time of ``time.time`` in ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(wall, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain_late(late: LateEvent, labels: Sequence[str]) -> dict[str, Any]:
    """Convert an event of an earlier frame, with that frame's number and times, to plain values for ``json.dumps``."""
    return {
        "captured": time_of(late),
        "index": late.index,
        "time": _seconds(late.position),
        **late.event.to_json(labels),
    }


def _seconds(position: float | None) -> float | None:
    return None if position is None else round(position, 3)


def _found(detections: Detections, labels: Sequence[str]) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        {"label": labels[label], "score": round(score, 4), "box": [round(edge, 1) for edge in box]}
        for box, score, label in zip(
            detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True
        )
    ]
    if not isinstance(detections, Watched):
        return {"detections": found, "num_cut": detections.num_cut}
    return {
        "detections": [{"id": number, **one} for number, one in zip(detections.ids.tolist(), found, strict=True)],
        "num_cut": detections.num_cut,
        "events": [event.to_json(labels) for event in detections.events],
        **({"late_events": [plain_late(one, labels) for one in detections.late]} if detections.late else {}),
        "counts": detections.counts,
    }

"""What goes to the browser: plain values without source addresses, folders or errors of libraries."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ssd_edge.loop.stats import LoopReport
from ssd_edge.outputs.draw import PALETTE, annotate
from ssd_edge.outputs.jpeg import as_jpeg
from ssd_edge.pixels import size_of
from ssd_edge.stream.ledger import REASONS
from ssd_edge.tracking.watch import Watched
from ssd_edge.web.tuning import LOWEST_SCORE
from ssd_edge.web.view import Shot, View

_MOST_BOXES = 100
_WIDEST = 1280
"""Width of the page's picture; a snapshot has the frame's own."""
_QUALITY, _SNAPSHOT_QUALITY = 75, 92


def picture_of(shot: Shot) -> bytes:
    """Compress a frame for the page: JPEG, at most 1280 pixels wide."""
    image = shot.frame.image
    height, width = image.shape[:2]
    if width > _WIDEST:
        image = np.asarray(
            cv2.resize(image, (_WIDEST, max(1, round(height * _WIDEST / width))), interpolation=cv2.INTER_AREA),
            np.uint8,
        )
    return as_jpeg(image, _QUALITY, "a picture")


def snapshot_of(shot: Shot, labels: tuple[str, ...], boxes: bool) -> bytes:
    """Compress a frame in full size, with the boxes that count, or without."""
    image = annotate(shot.frame.image, shot.counted, labels) if boxes else shot.frame.image
    return as_jpeg(image, _SNAPSHOT_QUALITY, "a snapshot")


def boxes_of(shot: Shot, view: View) -> dict[str, Any]:
    """Return a frame's boxes: ``[label, score, x1, y1, x2, y2, counts, id]`` each, in fractions of the frame.

    Without tracking, also those that are too faint to count are there, for the page's slider.
    """
    height, width = size_of(shot.frame.pixels)
    watched = isinstance(shot.counted, Watched)
    found = shot.counted if watched else shot.found
    counts = np.ones(len(found), bool) if watched else found.scores >= view.tuning.thresholds[found.labels]
    ids = shot.counted.ids.tolist() if isinstance(shot.counted, Watched) else [None] * len(found)
    boxes = (found.boxes / np.array([width, height, width, height], np.float32)).round(4)
    rows = zip(found.labels.tolist(), found.scores.round(3).tolist(), boxes.tolist(), counts.tolist(), ids, strict=True)
    plain: dict[str, Any] = {
        "frame": shot.number,
        "boxes": [[label, score, *box, int(count), number] for label, score, box, count, number in rows][:_MOST_BOXES],
    }
    if isinstance(shot.counted, Watched):
        plain["counts"] = shot.counted.counts
    return plain


def status_of(view: View) -> dict[str, Any]:
    """Return how a camera is now."""
    age = view.age()
    return {"condition": view.condition(), "age": None if age is None else round(age, 3)}


def numbers_of(view: View, report: LoopReport | None) -> dict[str, Any]:
    """Return a camera's numbers; times in seconds."""
    latency = view.latency()
    plain: dict[str, Any] = {
        **status_of(view),
        "p50": None if latency is None else round(latency[0], 4),
        "p99": None if latency is None else round(latency[1], 4),
        "events": view.events(),
    }
    if report is not None:
        health = report.health
        plain |= {
            "fps": round(report.fps_now, 2),
            "sent": report.sent,
            "shown": report.processed,
            "detections": report.detections,
            "ledger": {reason: number for reason, number in report.ledger.items() if number},
            "dropped": sum(number for reason, number in report.ledger.items() if reason not in ("waiting", "left")),
            "reconnects": report.reconnects,
            "outages": health.outage_count if health else 0,
        }
    return plain


def state_of(view: View) -> dict[str, Any]:
    """Return what of a camera changes only by somebody's hand."""
    tuning = view.tuning
    return {
        "name": view.name,
        "score": tuning.score,
        "thresholds": [round(float(score), 3) for score in tuning.thresholds],
        "watched": tuning.watch is not None,
        "file": tuning.store.name if tuning.store else None,
        **tuning.places(),
    }


def constants(labels: tuple[str, ...]) -> dict[str, Any]:
    """Return what never changes: labels, colours, words for the reasons of lost frames, the slider's lower end."""
    return {
        "labels": list(labels),
        "colours": [f"#{red:02x}{green:02x}{blue:02x}" for blue, green, red in PALETTE],
        "reasons": REASONS,
        "lowest": LOWEST_SCORE,
    }

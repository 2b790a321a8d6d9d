"""Detections as bytes and back, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.detections import Detections
from ssd_edge.errors import RecordingError
from ssd_edge.replay.schema import Found


def to_bytes(array: npt.NDArray[Any]) -> bytes:
    """Return an array's values, little-endian."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def found_of(detections: Detections) -> Found:
    """Convert detections to bytes."""
    boxes, scores, labels = (to_bytes(one) for one in (detections.boxes, detections.scores, detections.labels))
    return Found(boxes, scores, labels, detections.num_cut)


def detections_of(found: Found, num_labels: int) -> Detections:
    """Invert ``found_of``.

    Args:
        found: detections as bytes.
        num_labels: number of labels of the model.

    Raises:
        RecordingError: the bytes are no detections of such a model.
    """
    try:
        boxes = np.frombuffer(found.boxes, "<f4").reshape(-1, 4).astype(np.float32)
        scores = np.frombuffer(found.scores, "<f4").astype(np.float32)
        labels = np.frombuffer(found.labels, "<i8").astype(np.int64)
        if labels.size and not 0 <= labels.min() <= labels.max() < num_labels:
            raise ValueError("a label is none of the model's")
        return Detections(boxes, scores, labels, found.num_cut)
    except ValueError as error:
        raise RecordingError(f"a frame of the recording holds no detections: {error}") from None

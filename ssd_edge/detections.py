"""``Detections``: the one value type that decode, evaluation, drawing and sinks exchange."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = float | npt.NDArray[np.float32]
"""One score for all labels, or (L,) one for each label."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found in one frame, best score first; shapes and dtypes are checked on creation.

    Attributes:
        boxes: (N, 4) float32, ``x1, y1, x2, y2`` in pixels of the frame.
        scores: (N,) float32 in 0 … 1.
        labels: (N,) int64, indices into ``ModelSpec.labels``, which does not contain the background.
        num_cut: number of candidates that top-k left out, among those with a score that the caller reads.

    Raises:
        ValueError: an array has another shape or dtype.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    num_cut: int = 0

    def __post_init__(self) -> None:
        n = len(self.boxes)
        for name, array, shape, dtype in (
            ("boxes", self.boxes, (n, 4), np.float32),
            ("scores", self.scores, (n,), np.float32),
            ("labels", self.labels, (n,), np.int64),
        ):
            if array.shape != shape or array.dtype != dtype:
                wanted = f"{shape} {np.dtype(dtype).name}"
                raise ValueError(f"{name} must be {wanted}, but got {array.shape} {array.dtype.name}")

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls) -> Detections:
        """Make a value with no detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def above(self, score: Scores) -> Detections:
        """Select the detections with a score of at least ``score``: one for all, or (L,) one for each label."""
        least = np.asarray(score, np.float32)
        keep = self.scores >= (least[self.labels] if least.ndim else least)
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], self.num_cut)

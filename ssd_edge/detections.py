"""The one value that passes between decode, evaluation, drawing and sinks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = float | npt.NDArray[np.float32]
"""A score for all labels, or (L,) one for each."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one frame, best score first; checked once, on creation.

    Attributes:
        boxes: (N, 4) float32, ``x1, y1, x2, y2`` in pixels of the frame.
        scores: (N,) float32 in 0 … 1.
        labels: (N,) int64, an index into ``ModelSpec.labels`` (background is not counted).
        num_cut: candidates above the score threshold that top-k left out, of those that the reader asked for; 0 where
            nothing was lost.

    Raises:
        ValueError: a shape or dtype is not as above.
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
        """No detection at all."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def above(self, score: Scores) -> Detections:
        """The detections with a score of at least ``score``: one for all, or (L,) one for each label."""
        least = np.asarray(score, np.float32)
        keep = self.scores >= (least[self.labels] if least.ndim else least)
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], self.num_cut)

"""Detections and the checks on their creation."""

from __future__ import annotations

import numpy as np
import pytest

from ssd_edge.detections import Detections


def some(n: int) -> dict[str, np.ndarray]:
    return {
        "boxes": np.zeros((n, 4), np.float32),
        "scores": np.linspace(1, 0, n, dtype=np.float32),
        "labels": np.arange(n, dtype=np.int64),
    }


@pytest.mark.parametrize("n", [0, 1, 5])
def test_length(n):
    assert len(Detections(**some(n))) == n


def test_empty():
    detections = Detections.empty()
    assert len(detections) == 0
    assert detections.boxes.shape == (0, 4)
    assert len(detections.above(0.5)) == 0


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("boxes", np.zeros((3, 5), np.float32), r"boxes must be \(3, 4\) float32, but got \(3, 5\) float32"),
        ("boxes", np.zeros((3, 4)), r"but got \(3, 4\) float64"),
        ("boxes", np.zeros(3, np.float32), r"but got \(3,\) float32"),
        ("scores", np.zeros(2, np.float32), r"scores must be \(3,\) float32, but got \(2,\)"),
        ("scores", np.zeros((3, 1), np.float32), r"but got \(3, 1\)"),
        ("labels", np.zeros(3, np.int32), r"labels must be \(3,\) int64, but got \(3,\) int32"),
    ],
)
def test_a_wrong_shape_or_dtype_is_named(name, array, said):
    with pytest.raises(ValueError, match=said):
        Detections(**{**some(3), name: array})


def test_above_keeps_equal_scores_and_num_cut():
    detections = Detections(**some(5), num_cut=7).above(0.5)
    assert detections.scores.tolist() == [1.0, 0.75, 0.5]
    assert detections.labels.tolist() == [0, 1, 2]
    assert detections.num_cut == 7

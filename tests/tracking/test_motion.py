from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ssd_edge.tracking.motion import Motion, coordinates

Matrix = npt.NDArray[np.float64]


class Reference:
    """The authors' filter, written from its formulas: one box, 8 × 8 matrices, one frame a step."""

    def __init__(self, box: Matrix) -> None:
        self.mean = np.r_[coordinates(box[None])[0], np.zeros(4)]
        height = self.mean[3]
        self.covariance = self.noise(height / 10, 1e-2, height / 16, 1e-5)

    @staticmethod
    def noise(place: float, ratio: float, speed: float, turning: float) -> Matrix:
        return np.diag(np.square([place, place, ratio, place, speed, speed, turning, speed]))

    def predict(self) -> None:
        height, move = self.mean[3], np.eye(8) + np.eye(8, k=4)
        self.mean = move @ self.mean
        self.covariance = move @ self.covariance @ move.T + self.noise(height / 20, 1e-2, height / 160, 1e-5)

    def correct(self, box: Matrix) -> None:
        see, height = np.eye(4, 8), self.mean[3]
        around = see @ self.covariance @ see.T + np.diag(np.square([height / 20, height / 20, 1e-1, height / 20]))
        gain = self.covariance @ see.T @ np.linalg.inv(around)
        self.mean = self.mean + gain @ (coordinates(box[None])[0] - see @ self.mean)
        self.covariance = self.covariance - gain @ around @ gain.T


def some_boxes(rng: np.random.Generator, count: int) -> Matrix:
    corner = rng.uniform(0, 500, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 200, (count, 2))], axis=1)


def test_equals_the_filter_with_whole_matrices() -> None:
    rng = np.random.default_rng(0)
    boxes = some_boxes(rng, 6)
    motion, references = Motion.of(boxes), [Reference(box) for box in boxes]
    for _ in range(20):
        motion.predict(np.ones(6, bool), 1.0)
        for reference in references:
            reference.predict()
        seen = np.flatnonzero(rng.random(6) < 0.7)
        boxes = boxes + rng.normal(0, 4, (6, 4))
        motion.correct(seen, boxes[seen])
        for index in seen:
            references[index].correct(boxes[index])
        means = np.array([reference.mean for reference in references])
        # float64, 20 steps, numbers below 1000, inversion by another algorithm
        assert np.concatenate([motion.place, motion.speed], axis=1) == pytest.approx(means, rel=1e-9, abs=1e-9)
        for index, reference in enumerate(references):
            blocks = reference.covariance[:4, :4], reference.covariance[:4, 4:], reference.covariance[4:, 4:]
            for kept, whole in zip(motion.spread[:, index], blocks, strict=True):
                assert np.diag(kept) == pytest.approx(whole, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("frames", [2, 5, 30])
def test_a_long_step_equals_short_ones(frames: int) -> None:
    boxes = some_boxes(np.random.default_rng(frames), 3)
    long, short = Motion.of(boxes), Motion.of(boxes)
    long.speed[:] = short.speed[:] = [3, -2, 0, 0]  # noise follows the height, so it must not change
    long.predict(np.ones(3, bool), frames)
    for _ in range(frames):
        short.predict(np.ones(3, bool), 1.0)
    assert long.place == pytest.approx(short.place, rel=1e-12)
    assert long.spread == pytest.approx(short.spread, rel=1e-12)


def test_half_a_frame_twice_moves_as_one() -> None:
    boxes = some_boxes(np.random.default_rng(1), 3)
    whole, half = Motion.of(boxes), Motion.of(boxes)
    whole.speed[:] = half.speed[:] = [3, -2, 0, 0.5]
    whole.predict(np.ones(3, bool), 1.0)
    for _ in range(2):
        half.predict(np.ones(3, bool), 0.5)
        assert (half.spread[0] * half.spread[2] > half.spread[1] ** 2).all()
    assert whole.place == pytest.approx(half.place, rel=1e-12)


def test_no_time_and_no_boxes_change_nothing() -> None:
    motion = Motion.of(some_boxes(np.random.default_rng(2), 2))
    before = motion.select(np.ones(2, bool))
    motion.predict(np.ones(2, bool), 0.0)
    motion.correct(np.zeros(0, np.int64), np.zeros((0, 4)))
    for name, value in vars(before).items():
        assert np.array_equal(getattr(motion, name), value)
    nothing = Motion.of(np.zeros((0, 4)))
    nothing.predict(np.zeros(0, bool), 1.0)
    assert nothing.boxes().shape == (0, 4)
    assert len(motion.joined(nothing).place) == 2


def test_a_box_without_height_gives_numbers() -> None:
    motion = Motion.of(np.array([[5.0, 5, 5, 5], [9, 9, 8, 8]]))
    motion.predict(np.ones(2, bool), 3.0)
    motion.correct(np.arange(2), np.array([[6.0, 6, 6, 6], [9, 9, 8, 8]]))
    assert np.isfinite(motion.boxes()).all()

"""HostDetector with fake heads: each result must belong to its own frame."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from ssd_edge.detector import HostDetector, RawHeads
from ssd_edge.preprocess import preprocess
from tests.helpers import small_spec

SPEC = small_spec(labels=("object",), score_threshold=0.5)


class FakeHeads:
    """Heads that see one object, in the default box whose number is the frame's mean grey level.

    Like an engine, they use ``depth`` buffers in turn, so that older results are overwritten.
    """

    def __init__(self, depth: int) -> None:
        self.spec = SPEC
        self.depth = depth
        self.under_way = 0
        self.most_under_way = 0
        self._buffers = [
            RawHeads(np.zeros((1, 56, 4), np.float32), np.zeros((1, 56, 2), np.float32)) for _ in range(depth)
        ]
        self._next = 0

    def submit(self, images):
        assert images.shape == (1, 3, 32, 32)
        heads = self._buffers[self._next % self.depth]
        self._next += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        grey = round(float(images[0, 0].mean()) * SPEC.std[0] + SPEC.mean[0])
        heads.loc[:] = 0
        heads.logits[:] = (10, 0)
        heads.logits[0, grey] = (0, 10)

        def finish():
            self.under_way -= 1
            return heads

        return finish


def frame(number: int, height: int = 64, width: int = 128):
    return np.full((height, width, 3), number, np.uint8)


def where(number: int, height: int = 64, width: int = 128):
    """Compute the default box of that number from the spec, in pixels of the frame."""
    level = SPEC.levels[0] if number < 48 else SPEC.levels[1]
    cell, k = divmod(number if number < 48 else number - 48, len(level.sizes))
    row, column = divmod(cell, level.grid[1])
    x, y = (column + 0.5) * level.step[1], (row + 0.5) * level.step[0]
    w, h = level.sizes[k]
    box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, 1)
    return box * [width, height, width, height]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_overlapping_results_belong_to_their_frames(depth):
    heads = FakeHeads(depth)
    detector = HostDetector(heads)
    assert detector.depth == depth
    waiting, seen = deque(), []
    for number in range(56):
        waiting.append((number, detector.submit(frame(number))))
        if len(waiting) == depth:
            seen.append((lambda k, finish: (k, finish()))(*waiting.popleft()))
    seen += [(k, finish()) for k, finish in waiting]
    assert [k for k, _ in seen] == list(range(56))
    assert heads.most_under_way == depth
    for number, result in seen:
        assert len(result.detections) == 1
        np.testing.assert_allclose(result.detections.boxes[0], where(number), atol=1e-4)
        assert min(result.times) >= 0


def test_frames_of_different_sizes_scale_their_own_boxes():
    detector = HostDetector(FakeHeads(2))
    small, large = detector.submit(frame(20, 10, 30)), detector.submit(frame(21, 400, 200))
    np.testing.assert_allclose(small().detections.boxes[0], where(20, 10, 30), atol=1e-4)
    np.testing.assert_allclose(large().detections.boxes[0], where(21, 400, 200), atol=1e-4)


def test_call_waits_for_one_frame():
    detections = HostDetector(FakeHeads(1))(frame(55))
    np.testing.assert_allclose(detections.boxes[0], where(55), atol=1e-4)
    assert detections.labels.tolist() == [0]


def test_the_network_sees_what_preprocess_gives():
    seen = []

    class Spy(FakeHeads):
        def submit(self, images):
            seen.append(images.copy())
            return super().submit(images)

    image = np.random.default_rng(0).integers(0, 50, (50, 70, 3), np.uint8)
    HostDetector(Spy(1))(image)
    np.testing.assert_array_equal(seen[0], preprocess(image, SPEC))


def test_an_invalid_frame_never_reaches_the_network():
    with pytest.raises(ValueError, match="must be"):
        HostDetector(FakeHeads(1))(np.zeros((8, 8), np.uint8))


class Batching(FakeHeads):
    """The same for several images at once."""

    max_batch = 4

    def submit(self, images):
        singles = [FakeHeads(1).submit(image[None])() for image in images]
        return lambda: RawHeads(*(np.concatenate(heads) for heads in zip(*singles, strict=True)))


def test_each_frame_of_a_batch_gets_its_own_result():
    """Frames of different sizes, each compared with the same frame alone."""
    detector = HostDetector(Batching(2))
    frames = [frame(3), frame(50, 10, 30), frame(21, 400, 200)]
    results = detector.submit_batch(frames)()
    for one, result in zip(frames, results, strict=True):
        alone = detector(one)
        np.testing.assert_array_equal(result.detections.boxes, alone.boxes)
        np.testing.assert_array_equal(result.detections.scores, alone.scores)
        assert min(result.times) >= 0


@pytest.mark.parametrize("number", [0, 5])
def test_a_batch_of_a_wrong_size_never_reaches_the_network(number):
    with pytest.raises(ValueError, match=f"a batch must have 1 to 4 frames, but got {number}"):
        HostDetector(Batching(1)).submit_batch([frame(1)] * number)

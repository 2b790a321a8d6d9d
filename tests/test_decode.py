"""The host decode, compared with a plain greedy decode written from the paper, box by box."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge import arithmetic, boxes
from ssd_edge.candidates import candidates
from ssd_edge.decode import Decoder, for_reader, nms
from ssd_edge.models.registry import make_spec
from ssd_edge.spec import DefaultBoxLevel
from tests.helpers import small_spec


def greedy(loc, logits, spec, frame_size):
    """Compute the expected result the slow way: [(label, score, box)], and the number cut by top-k."""
    defaults = boxes.default_boxes(spec)
    if spec.box_order == "yxhw":
        loc = loc[:, [1, 0, 3, 2]]
    decoded = boxes.decode(loc, defaults, spec.variances)
    if spec.clip_boxes == "before-nms":
        decoded = np.minimum(np.maximum(decoded, 0), 1)
    sound = np.isfinite(loc).all(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        scores = (arithmetic.softmax if spec.score_function == "softmax" else arithmetic.sigmoid)(logits)
    survivors, cut = [], 0
    for label in range(len(spec.labels)):
        column = scores[:, label + 1]
        order = sorted(
            (-column[i], i) for i in range(len(column)) if sound[i] and column[i] > np.float32(spec.score_threshold)
        )
        cut += max(0, len(order) - spec.top_k)
        kept = []
        for negative, i in order[: spec.top_k]:
            one = decoded[i]
            if all(not covers(decoded[j], one, spec.nms_iou) for _, j in kept):
                kept.append((negative, i))
        survivors += [(negative, label, i) for negative, i in kept]
    survivors.sort()
    height, width = frame_size
    scale = np.asarray([width, height, width, height], np.float32)
    return [
        (label, -negative, np.clip(decoded[i], 0, 1).astype(np.float32) * scale)
        for negative, label, i in survivors[: spec.max_detections]
    ], cut


def covers(first, second, threshold):
    width = max(np.float32(0), min(first[2], second[2]) - max(first[0], second[0]))
    height = max(np.float32(0), min(first[3], second[3]) - max(first[1], second[1]))
    shared = np.float32(width * height)
    union = boxes.areas(first) + boxes.areas(second) - shared
    return shared > np.float32(threshold) * union


def assert_same(spec, loc, logits, frame_size=(480, 640)):
    got = Decoder(spec)(loc, logits, frame_size)
    wanted, cut = greedy(loc, logits, spec, frame_size)
    assert [int(label) for label in got.labels] == [label for label, _, _ in wanted]
    assert got.scores.tolist() == [score for _, score, _ in wanted]
    np.testing.assert_array_equal(got.boxes, np.asarray([box for _, _, box in wanted], np.float32).reshape(-1, 4))
    assert got.num_cut == cut


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(1, 5),
    score_function=st.sampled_from(["softmax", "sigmoid"]),
    box_order=st.sampled_from(["xywh", "yxhw"]),
    threshold=st.sampled_from([0.001, 0.01, 0.3, 0.5, 0.9]),
    top_k=st.sampled_from([1, 3, 400]),
    quantum=st.sampled_from([0.0, 1.0]),
    spread=st.sampled_from([0.0, 1.0, 5.0]),
    contrast=st.sampled_from([3, 60]),
    wanted=st.sampled_from([1, 20]),
    few=st.sampled_from([0, 1 << 16]),
    clip_boxes=st.sampled_from(["after-nms", "before-nms"]),
)
def test_equals_greedy_walk(
    seed, classes, score_function, box_order, threshold, top_k, quantum, spread, contrast, wanted, few, clip_boxes
):
    """Both ways of finding candidates are tested: exact scores only, or cheap scores first, by blocks of three rows."""
    spec = small_spec(
        labels=tuple("abcde"[:classes]),
        score_function=score_function,
        box_order=box_order,
        score_threshold=threshold,
        top_k=top_k,
        max_detections=wanted,
        clip_boxes=clip_boxes,
    )
    rng = np.random.default_rng(seed)
    loc = rng.normal(0, spread, (spec.num_default_boxes, 4)).astype(np.float32)
    logits = rng.normal(0, contrast, (spec.num_default_boxes, spec.num_classes)).astype(np.float32)
    if quantum:  # many ties
        logits = np.round(logits / 4) * 4
    with looked_at_first(few):
        assert_same(spec, loc, logits.astype(np.float32))


@contextmanager
def looked_at_first(few):
    """Compute cheap scores first if there are more than ``few`` logits, in blocks of three rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssd_edge.candidates._FEW", few)
        patch.setattr("ssd_edge.candidates._AT_ONCE", 9)
        yield


@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
def test_scores_too_close_to_the_threshold_for_cheap_scores(score_function):
    """Each row has a score within a few units in the last place of it; some rows are almost out of float32's range."""
    spec = replace(make_spec("ssdlite300_mobilenet_v2", ["a", "b"]), score_function=score_function, score_threshold=0.3)
    rng = np.random.default_rng(0)
    loc = np.zeros((1917, 4), np.float32)
    cases = ((0, 3e-8), (85, 8e-6), (-85, 8e-6)) if score_function == "softmax" else ((0, 3e-8),)
    for shift, step in cases:
        odds = np.log(0.3 / 0.7) + rng.integers(-9, 10, (1917, 1)) * step
        logits = np.concatenate([np.zeros_like(odds), odds, np.full_like(odds, -50)], axis=1)
        shifted = (logits + shift).astype(np.float32)
        exact = candidates(loc, shifted, spec)
        with looked_at_first(0):
            quick = candidates(loc, shifted, spec)
        assert 0 < exact.counts[0] < 1917
        assert quick.counts.tolist() == exact.counts.tolist()
        np.testing.assert_array_equal(quick.best(9), exact.best(9))


def test_more_rows_than_a_byte_can_count():
    """The reference is exact scores of all rows."""
    spec = make_spec("ssdlite300_mobilenet_v2", ["a", "b"])
    rng = np.random.default_rng(0)
    loc, logits = rng.normal(0, 1, (1917, 4)).astype(np.float32), rng.normal(0, 1, (1917, 3)).astype(np.float32)
    exact = candidates(loc, logits, spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssd_edge.candidates._FEW", 0)
        quick = candidates(loc, logits, spec)
    assert exact.counts.min() > 1000
    assert quick.counts.tolist() == exact.counts.tolist()
    for number in (1, 200, 2000, 9999):
        np.testing.assert_array_equal(quick.best(number), exact.best(number))


@pytest.mark.parametrize("few", [0, 1 << 16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
def test_nan_and_infinity_give_no_detection_and_change_no_other(bad, score_function, few):
    spec = small_spec(score_function=score_function, score_threshold=0.3)
    rng = np.random.default_rng(1)
    loc = rng.normal(0, 1, (spec.num_default_boxes, 4)).astype(np.float32)
    logits = rng.normal(0, 3, (spec.num_default_boxes, spec.num_classes)).astype(np.float32)
    logits[::5, 1] = bad
    logits[1::7] = bad
    loc[2::9, 3] = bad
    loc[3, 2] = 1e6  # finite, of infinite size
    with looked_at_first(few):
        assert_same(spec, loc, logits)
        detections = Decoder(spec)(loc, logits, (10, 10))
    assert len(detections) > 5
    assert np.isfinite(detections.scores).all()
    assert np.isfinite(detections.boxes).all()


def test_nothing_above_the_threshold_is_an_empty_result():
    spec = small_spec(score_threshold=0.5)
    heads = (
        np.zeros((spec.num_default_boxes, 4), np.float32),
        np.zeros((spec.num_default_boxes, 3), np.float32),
    )
    detections = Decoder(spec)(*heads, (480, 640))
    assert len(detections) == 0
    assert detections.num_cut == 0


def test_all_boxes_equal_leave_one_a_class():
    spec = small_spec(score_threshold=0.1, levels=(DefaultBoxLevel((1, 1), (1, 1), ((0.5, 0.5),) * 30),))
    heads = np.zeros((30, 4), np.float32), np.zeros((30, 3), np.float32)
    detections = Decoder(spec)(*heads, (100, 100))
    assert detections.labels.tolist() == [0, 1]
    assert detections.boxes.tolist() == [[25.0, 25.0, 75.0, 75.0]] * 2


def test_top_k_reports_what_it_cuts():
    spec = small_spec(score_threshold=0.1, top_k=7, levels=(DefaultBoxLevel((1, 1), (1, 1), ((0.5, 0.5),) * 30),))
    heads = np.zeros((30, 4), np.float32), np.zeros((30, 3), np.float32)
    assert Decoder(spec)(*heads, (100, 100)).num_cut == 2 * 23


@pytest.mark.parametrize(("clip_boxes", "kept"), [("after-nms", 2), ("before-nms", 1)])
def test_clipping_before_nms_as_torchvision_does(clip_boxes, kept):
    """Boxes of x −0.5 … 0.5 and −0.1 … 0.5: their IoU is 0.6 and, clipped to the image, 1.

    torchvision's SSD.postprocess_detections calls clip_boxes_to_image before batched_nms.
    """
    level = DefaultBoxLevel((1, 1), (1, 1), ((1.0, 1.0), (0.6, 1.0)))
    spec = small_spec(levels=(level,), labels=("a",), nms_iou=0.7, clip_boxes=clip_boxes)
    loc = np.float32([[-5, 0, 0, 0], [-5, 0, 0, 0]])  # −0.5 / (0.1 · 1) and −0.3 / (0.1 · 0.6)
    detections = Decoder(spec)(loc, np.float32([[0, 3], [0, 2]]), (10, 10))
    np.testing.assert_allclose(detections.boxes, [[0, 0, 5, 10]] * kept, atol=1e-5)


def torchvision(loc, logits, spec, size):
    """Follow torchvision.models.detection.ssd.SSD.postprocess_detections, in float64 and pixels.

    BoxCoder.decode_single with the weights 1/variances, clip_boxes_to_image, a threshold and top-k for each class, NMS
    in each class (torchvision's batched_nms), and the best of all classes.
    """
    defaults = boxes.default_boxes(spec).astype(np.float64)
    variances = np.repeat(spec.variances, 2)
    values = loc.astype(np.float64) * variances
    centre = (defaults[:, :2] + values[:, :2] * defaults[:, 2:]) * size
    half = defaults[:, 2:] * np.exp(np.minimum(values[:, 2:], np.log(1000 / 16))) * size / 2
    box = np.concatenate([centre - half, centre + half], axis=1).clip(0, size)
    scores = np.exp(logits.astype(np.float64))
    scores /= scores.sum(axis=1, keepdims=True)
    found = []
    for label in range(1, spec.num_classes):
        rows = np.flatnonzero(scores[:, label] > spec.score_threshold)
        rows = rows[np.argsort(-scores[rows, label], kind="stable")][: spec.top_k]
        while len(rows):
            best, rows = rows[0], rows[1:]
            found.append((scores[best, label], label - 1, box[best]))
            sides = np.minimum(box[rows, 2:], box[best, 2:]) - np.maximum(box[rows, :2], box[best, :2])
            inner = sides.clip(0).prod(axis=1)
            area = (box[rows, 2:] - box[rows, :2]).prod(axis=1) + (box[best, 2:] - box[best, :2]).prod() - inner
            rows = rows[inner <= spec.nms_iou * area]
    return sorted(found, key=lambda one: -one[0])[: spec.max_detections]


def test_all_detections_of_torchvisions_formula():
    """The geometry is SSD300's; clipping after NMS gives other boxes at the image's edge."""
    spec = replace(make_spec("ssd300_vgg16", ["a", "b", "c"], "coco"), clip_boxes="before-nms")
    rng = np.random.default_rng(5)
    loc = rng.normal(0, 1.5, (spec.num_default_boxes, 4)).astype(np.float32)
    logits = rng.normal(0, 2, (spec.num_default_boxes, 4)).astype(np.float32)
    wanted = torchvision(loc, logits, spec, 300)
    got = Decoder(spec)(loc, logits, (300, 300))
    assert got.labels.tolist() == [label for _, label, _ in wanted]
    np.testing.assert_allclose(got.scores, [score for score, _, _ in wanted], rtol=1e-5)
    np.testing.assert_allclose(got.boxes, [box for _, _, box in wanted], atol=1e-3)
    after = Decoder(replace(spec, clip_boxes="after-nms"))(loc, logits, (300, 300))
    assert set(map(tuple, after.boxes.tolist())) != set(map(tuple, got.boxes.tolist()))


def test_boxes_of_infinite_size_cover_nothing():
    box = np.float32([[-np.inf, -np.inf, np.inf, np.inf], [-np.inf, 0, np.inf, 1], [0, 0, 1, 1], [0, 0, 1, 1]])
    assert nms(box, np.zeros(4, np.int64), 0.5).tolist() == [True, True, True, False]
    assert nms(box[:0], np.zeros(0, np.int64), 0.5).tolist() == []


def test_nms_in_pieces_equals_nms_at_once(monkeypatch):
    rng = np.random.default_rng(3)
    corner = rng.random((500, 2), np.float32)
    box = np.concatenate([corner, corner + rng.random((500, 2), np.float32) * 0.3], axis=1)
    label = np.sort(rng.integers(0, 4, 500))
    whole = nms(box, label, 0.3)
    monkeypatch.setattr("ssd_edge.decode._ROWS", 7)
    np.testing.assert_array_equal(nms(box, label, 0.3), whole)


def test_heads_of_another_shape_are_refused():
    spec = small_spec()
    with pytest.raises(ValueError, match=r"heads must be .* but got"):
        Decoder(spec)(np.zeros((3, 4), np.float32), np.zeros((3, 3), np.float32), (1, 1))


def test_a_score_equal_to_the_threshold_is_not_a_detection():
    # softmax of two equal logits is exactly one half
    spec = small_spec(labels=("a",), score_threshold=0.5)
    heads = (
        np.zeros((spec.num_default_boxes, 4), np.float32),
        np.zeros((spec.num_default_boxes, 2), np.float32),
    )
    assert len(Decoder(spec)(*heads, (1, 1))) == 0


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(1, 4),
    score_function=st.sampled_from(["softmax", "sigmoid"]),
    min_score=st.one_of(st.sampled_from([0.0, 0.01, 0.5, 1.0]), st.floats(0, 1, width=32)),
    top_k=st.sampled_from([1, 5, 400]),
    max_detections=st.sampled_from([1, 4, 200]),
    quantum=st.sampled_from([0.0, 1.0]),
    holes=st.sampled_from([0.0, 0.1]),
)
def test_a_reader_of_high_scores_gets_what_it_would_have_kept(
    seed, classes, score_function, min_score, top_k, max_detections, quantum, holes
):
    """It is the same to the last bit, even with ties, cuts by top-k and max_detections, and NaN in the heads."""
    spec = small_spec(
        labels=tuple("abcd"[:classes]), score_function=score_function, top_k=top_k, max_detections=max_detections
    )
    rng = np.random.default_rng(seed)
    loc = rng.normal(0, 2, (56, 4)).astype(np.float32)
    logits = rng.normal(0, 3, (56, classes + 1)).astype(np.float32)
    if quantum:
        loc, logits = np.rint(loc), np.rint(logits)
    loc[rng.random(56) < holes, 0] = np.nan
    logits[rng.random(56) < holes, -1] = np.nan
    every = Decoder(spec)(loc, logits, (480, 640))
    if len(every) and seed % 2:
        min_score = float(rng.choice(every.scores))  # one that is met exactly
    read = Decoder(for_reader(spec, min_score))(loc, logits, (480, 640)).above(min_score)
    wanted = every.above(min_score)
    np.testing.assert_array_equal(read.boxes, wanted.boxes)
    np.testing.assert_array_equal(read.scores, wanted.scores)
    np.testing.assert_array_equal(read.labels, wanted.labels)
    assert read.num_cut <= every.num_cut


def test_a_reader_of_all_scores_gets_the_specs_own():
    spec = small_spec()
    assert for_reader(spec, 0.0) is spec
    assert for_reader(spec, 0.01) is spec
    assert for_reader(spec, 0.5).score_threshold < 0.5
    assert for_reader(spec, 1.0).score_threshold < 1  # which a spec must have


def test_num_cut_counts_only_what_is_read():
    """num_cut counts only candidates that the caller reads: it lost none, though 56 of a class exceeded 0.01."""
    spec = small_spec(top_k=10, labels=("a",))
    logits = np.zeros((56, 2), np.float32)
    logits[:5, 1] = 3
    loc = np.zeros((56, 4), np.float32)
    assert Decoder(spec)(loc, logits, (100, 100)).num_cut == 46
    assert Decoder(for_reader(spec, 0.6))(loc, logits, (100, 100)).num_cut == 0


def test_heads_in_another_order_of_memory_are_decoded_alike():
    rng = np.random.default_rng(0)
    loc, logits = rng.normal(0, 1, (56, 4)).astype(np.float32), rng.normal(0, 3, (56, 3)).astype(np.float32)
    decode = Decoder(small_spec())
    one, other = decode(loc, logits, (48, 64)), decode(np.asfortranarray(loc), np.asfortranarray(logits), (48, 64))
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.scores, other.scores)

"""Default boxes and box arithmetic, compared with published formulas that are written out again here."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssd_edge import boxes
from ssd_edge.models.registry import architecture, make_spec
from ssd_edge.spec import DefaultBoxLevel
from tests.helpers import shared, small_spec

COUNTS = {
    "ssd300_vgg16": 8732,
    "ssd512_vgg16": 24564,
    "ssdlite300_mobilenet_v2": 1917,
    "ssdlite320_mobilenet_v3_large": 3234,
}


# --- default boxes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_the_published_ones(name):
    for table in architecture(name).levels:
        spec = make_spec(name, ["object"], table)
        assert spec.num_default_boxes == COUNTS[name]
        defaults = boxes.default_boxes(spec)
        assert defaults.shape == (COUNTS[name], 4)
        assert defaults.dtype == np.float32
        assert (defaults[:, :2] > 0).all()
        assert (defaults[:, :2] < 1.02).all()  # SSD300's steps are not quite 300 / grid: 9.5 · 32 = 304
        assert (defaults[:, 2:] > 0).all()


def torchvision_default_boxes(grids, ratios, scales, steps=None, image=300):
    """Compute torchvision.models.detection.anchor_utils.DefaultBoxGenerator with clip on: cxcywh, row by row."""
    rows = []
    for k, grid in enumerate(grids):
        extra = math.sqrt(scales[k] * scales[k + 1])
        pairs = [(scales[k], scales[k]), (extra, extra)]
        for ratio in ratios[k]:
            wide, narrow = scales[k] * math.sqrt(ratio), scales[k] / math.sqrt(ratio)
            pairs += [(wide, narrow), (narrow, wide)]
        cells = grid if steps is None else image / steps[k]
        for j in range(grid):
            for i in range(grid):
                rows += [((i + 0.5) / cells, (j + 0.5) / cells, min(w, 1), min(h, 1)) for w, h in pairs]
    return np.asarray(rows)


def clipped_sides(spec):
    """Compute our default boxes with sides cut at 1, as torchvision does; the published Caffe models do not."""
    defaults = boxes.default_boxes(spec)
    defaults[:, 2:] = defaults[:, 2:].clip(max=1)
    return defaults


def test_ssd300_is_torchvisions_ssd300_vgg16():
    wanted = torchvision_default_boxes(
        (38, 19, 10, 5, 3, 1),
        ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
        (8, 16, 32, 64, 100, 300),
    )
    defaults = clipped_sides(make_spec("ssd300_vgg16", ["object"], "coco"))
    np.testing.assert_allclose(defaults, wanted, atol=1e-6)


def test_ssdlite320_is_torchvisions_ssdlite320_mobilenet_v3_large():
    scales = [0.2 + (0.95 - 0.2) * k / 5 for k in range(6)] + [1.0]
    wanted = torchvision_default_boxes((20, 10, 5, 3, 2, 1), [(2, 3)] * 6, scales)
    defaults = clipped_sides(make_spec("ssdlite320_mobilenet_v3_large", ["object"]))
    np.testing.assert_allclose(defaults, wanted, atol=1e-6)


def test_ssd300_voc_is_the_prototypes_table():
    path = shared("prototypes/cuda_on_cpu/ref.py")
    module_spec = importlib.util.spec_from_file_location("prototype_ref", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    defaults = boxes.default_boxes(replace(make_spec("ssd300_vgg16", ["object"], "voc"), clip="cxcywh"))
    np.testing.assert_allclose(defaults, module.prior_boxes(), atol=1e-6)


def test_published_first_boxes():
    # ssd_pascal.py: conv4_3 has min_size 30, max_size 60 and step 8 on 300 pixels.
    first = boxes.default_boxes(make_spec("ssd300_vgg16", ["object"], "voc"))[:5] * 300
    root = math.sqrt(2)
    wanted = [
        [4, 4, 30, 30],
        [4, 4, math.sqrt(30 * 60), math.sqrt(30 * 60)],
        [4, 4, 30 * root, 30 / root],
        [4, 4, 30 / root, 30 * root],
        [12, 4, 30, 30],  # the next cell of the row
    ]
    np.testing.assert_allclose(first, wanted, rtol=1e-5)
    # ssd_pascal_512.py: 7 % of 512, then 15 %.
    first = boxes.default_boxes(make_spec("ssd512_vgg16", ["object"], "voc"))[:2] * 512
    np.testing.assert_allclose(first, [[4, 4, 35.84, 35.84], [4, 4, 52.464, 52.464]], rtol=1e-4)


@pytest.mark.parametrize(
    ("table", "size", "smallest", "ratios", "count"),
    [
        (boxes.SSD300_VOC_SIZES, 300, 0.10, (20, 90), 6),
        (boxes.SSD300_COCO_SIZES, 300, 0.07, (15, 90), 6),
        (boxes.SSD512_VOC_SIZES, 512, 0.07, (15, 90), 7),
        (boxes.SSD512_COCO_SIZES, 512, 0.04, (10, 90), 7),
    ],
)
def test_size_tables_are_what_the_caffe_scripts_compute(table, size, smallest, ratios, count):
    step = (ratios[1] - ratios[0]) // (count - 2)
    percent = [100 * smallest, *range(ratios[0], ratios[1] + 1, step)]
    wanted = [size * p / 100 for p in [*percent, percent[-1] + step][: count + 1]]
    np.testing.assert_allclose(table, wanted, rtol=1e-9)


def test_the_papers_own_formula():
    # Section 2.2 with s_min 0.2, s_max 0.9 over five maps; section 3.1 puts conv4_3 at 0.1.
    levels = make_spec("ssd300_vgg16", ["object"], "paper").levels
    squares = [level.sizes[0][0] for level in levels]
    np.testing.assert_allclose(squares, [0.1, 0.2, 0.375, 0.55, 0.725, 0.9], rtol=1e-12)
    for level in levels:
        for w, h in level.sizes[2:]:
            assert w * h == pytest.approx(squares[levels.index(level)] ** 2)


def test_ssdlite300_has_the_boxes_of_the_trained_pedestrian_detector():
    """The reference is shared/README.md; only the order within a cell differs."""
    scales = [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0]
    wanted = []
    for k, grid in enumerate((19, 10, 5, 3, 2, 1)):
        if k == 0:
            shapes = [(1, 0.1), (2, 0.2), (1 / 2, 0.2)]
        else:
            shapes = [(r, scales[k]) for r in (1, 2, 1 / 2, 3, 1 / 3)] + [(1, math.sqrt(scales[k] * scales[k + 1]))]
        for y in range(grid):
            for x in range(grid):
                wanted.append(
                    {
                        tuple(np.round(v, 5) for v in (x / grid + 0.5 / grid, y / grid + 0.5 / grid, *wh))
                        for wh in ((s * math.sqrt(r), s / math.sqrt(r)) for r, s in shapes)
                    }
                )
    defaults, first = boxes.default_boxes(make_spec("ssdlite300_mobilenet_v2", ["person"])), 0
    for cell in wanted:
        rows = {tuple(np.round(v, 5) for v in row.astype(np.float64)) for row in defaults[first : first + len(cell)]}
        assert np.abs(np.asarray(sorted(rows)) - np.asarray(sorted(cell))).max() < 2e-5
        first += len(cell)
    assert first == len(defaults)


def test_a_grid_that_is_not_square_goes_row_by_row():
    spec = small_spec(levels=(DefaultBoxLevel((2, 3), (1 / 2, 1 / 3), ((0.1, 0.2),)),))
    centres = boxes.default_boxes(spec)[:, :2]
    np.testing.assert_allclose(
        centres, [[1 / 6, 1 / 4], [3 / 6, 1 / 4], [5 / 6, 1 / 4], [1 / 6, 3 / 4], [3 / 6, 3 / 4], [5 / 6, 3 / 4]]
    )


def test_clip_cuts_at_the_edge_of_the_image():
    levels = (DefaultBoxLevel((1, 2), (1.0, 0.5), ((0.8, 1.6),)),)
    np.testing.assert_allclose(
        boxes.to_xyxy(boxes.default_boxes(small_spec(levels=levels, clip=True))),
        [[0, 0, 0.65, 1], [0.35, 0, 1, 1]],
        atol=1e-6,
    )
    assert boxes.default_boxes(small_spec(levels=levels))[0].tolist() == pytest.approx([0.25, 0.5, 0.8, 1.6])


def test_clip_as_centre_and_size_moves_no_corner_that_the_size_does_not():
    """ssd.pytorch's clamp: the centre at 1.05 comes to 1, the height of 1.6 to 1, and a corner may stay outside."""
    levels = (DefaultBoxLevel((1, 2), (1.0, 0.7), ((0.8, 1.6),)),)
    np.testing.assert_allclose(
        boxes.default_boxes(small_spec(levels=levels, clip="cxcywh")),
        [[0.35, 0.5, 0.8, 1], [1, 0.5, 0.8, 1]],
        atol=1e-6,
    )


def test_sides_are_cut_and_centres_are_not():
    levels = (DefaultBoxLevel((1, 2), (1.0, 0.7), ((0.8, 1.6), (1.2, 0.3), (1.0, 1.0))),)
    cut = boxes.no_larger_than_the_image(levels)
    assert cut[0].sizes == ((0.8, 1.0), (1.0, 0.3), (1.0, 1.0))
    assert (cut[0].grid, cut[0].step) == ((1, 2), (1.0, 0.7))


@given(st.integers(2, 9), st.floats(0.05, 0.4), st.floats(0.5, 1))
def test_linear_scales(count, smallest, largest):
    scales = boxes.linear_scales(count, smallest, largest)
    assert scales[0] == smallest
    assert scales[-1] == pytest.approx(largest)
    np.testing.assert_allclose(np.diff(scales), (largest - smallest) / (count - 1))


def test_one_scale():
    assert boxes.linear_scales(1, 0.3, 0.9) == (0.3,)


# --- encode and decode -------------------------------------------------------------------------------------------

centre = st.floats(-0.5, 1.5, width=32)
side = st.floats(2**-7, 2, width=32)
a_default = st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32), side, side)
an_object = st.tuples(centre, centre, side, side)
two_variances = st.sampled_from([(0.1, 0.2), (1.0, 1.0), (0.05, 0.3)])


def xyxy(rows):
    rows = np.asarray(rows, np.float64).reshape(-1, 4)
    return np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2], axis=1).astype(np.float32)


@settings(deadline=None)
@given(st.lists(st.tuples(a_default, an_object), max_size=8), two_variances)
def test_decode_undoes_encode(pairs, variances):
    defaults = np.asarray([d for d, _ in pairs], np.float32).reshape(-1, 4)
    objects = xyxy([o for _, o in pairs])
    loc = boxes.encode(objects, defaults, variances)
    assert loc.shape == (len(pairs), 4)
    assert loc.dtype == np.float32
    np.testing.assert_allclose(boxes.decode(loc, defaults, variances), objects, atol=2e-5)


@settings(deadline=None)
@given(st.lists(st.tuples(a_default, st.tuples(*[st.floats(-8, 8, width=32)] * 4)), min_size=1, max_size=8))
def test_decode_is_torchvisions_box_coder(rows):
    """The reference is torchvision's BoxCoder(weights=(10, 10, 5, 5)) in float64; tolerance 1e-5 of a box."""
    for default, code in rows:
        x1, y1, x2, y2 = xyxy([default])[0].astype(np.float64)
        width, height = x2 - x1, y2 - y1
        centre_x, centre_y = code[0] / 10 * width + x1 + width / 2, code[1] / 10 * height + y1 + height / 2
        w, h = math.exp(code[2] / 5) * width, math.exp(code[3] / 5) * height
        wanted = [centre_x - w / 2, centre_y - h / 2, centre_x + w / 2, centre_y + h / 2]
        decoded = boxes.decode(np.asarray([code], np.float32), np.asarray([default], np.float32), (0.1, 0.2))
        np.testing.assert_allclose(decoded[0], wanted, atol=1e-5 * max(1, w, h))


def test_a_box_equal_to_its_default_box_is_zero():
    default = np.asarray([[0.5, 0.25, 0.5, 0.125]], np.float32)
    assert boxes.encode(boxes.to_xyxy(default), default, (0.1, 0.2)).tolist() == [[0, 0, 0, 0]]


@given(st.lists(an_object, max_size=5))
def test_the_two_forms_undo_each_other(rows):
    rows = np.asarray(rows, np.float32).reshape(-1, 4)
    np.testing.assert_allclose(boxes.to_cxcywh(boxes.to_xyxy(rows)), rows, atol=1e-6)


# --- IoU ---------------------------------------------------------------------------------------------------------


def plain_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared_area = max(0.0, width) * max(0.0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared_area
    return shared_area / union if union > 0 else 0.0


@settings(deadline=None)
@given(st.lists(an_object, max_size=6), st.lists(an_object, max_size=6))
def test_iou_of_all_pairs_is_plain_arithmetic(first, second):
    a, b = xyxy(first), xyxy(second)
    overlaps = boxes.iou(a[:, None], b[None])
    assert overlaps.shape == (len(a), len(b))
    wanted = [[plain_iou(p.tolist(), q.tolist()) for q in b] for p in a]
    np.testing.assert_allclose(overlaps, np.asarray(wanted).reshape(len(a), len(b)), atol=1e-5)
    np.testing.assert_array_equal(overlaps, boxes.iou(b[:, None], a[None]).T)
    assert (overlaps >= 0).all()
    assert (overlaps <= 1 + 1e-6).all()


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 1),
        ([0, 0, 1, 1], [2, 2, 3, 3], 0),
        ([0, 0, 1, 1], [1, 0, 2, 1], 0),  # a shared edge
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),
        ([0, 0, 0, 5], [0, 0, 1, 5], 0),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0),  # turned inside out
    ],
)
def test_iou_by_hand(a, b, wanted):
    with np.errstate(all="raise"):
        overlap = boxes.iou(np.asarray(a, np.float32), np.asarray(b, np.float32))
    assert float(overlap) == pytest.approx(wanted)


# --- matching ----------------------------------------------------------------------------------------------------


def plain_match(objects, defaults, threshold):
    """Match by the paper's rule, pair by pair."""
    overlaps = {
        (o, d): float(boxes.iou(objects[o], boxes.to_xyxy(defaults[d])))
        for o in range(len(objects))
        for d in range(len(defaults))
    }
    answer = [-1] * len(defaults)
    for d in range(len(defaults)):
        best = max(range(len(objects)), key=lambda o: overlaps[o, d], default=None)
        if best is not None and overlaps[best, d] >= threshold:
            answer[d] = best
    free_objects, free_defaults = set(range(len(objects))), set(range(len(defaults)))
    while free_objects and free_defaults:
        o, d = max(((o, d) for o in free_objects for d in free_defaults), key=overlaps.__getitem__)
        if overlaps[o, d] == 0:
            break
        answer[d] = o
        free_objects.remove(o)
        free_defaults.remove(d)
    return answer, overlaps


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(*[st.floats(0.125, 0.875, width=32)] * 4), max_size=6),
    st.lists(st.tuples(*[st.floats(0.125, 0.875, width=32)] * 4), min_size=1, max_size=6),
    st.sampled_from([0.1, 0.5, 0.7]),
)
def test_match_is_the_papers_rule(objects, defaults, threshold):
    objects, defaults = xyxy(objects), np.asarray(defaults, np.float32)
    wanted, overlaps = plain_match(objects, defaults, threshold)
    positive = [value for value in overlaps.values() if value > 0]
    assume(len(set(positive)) == len(positive))  # equal overlaps may go either way
    matched = boxes.match(objects, defaults, threshold)
    assert matched.dtype == np.int64
    assert matched.tolist() == wanted
    with_any = {o for (o, _), value in overlaps.items() if value > 0}
    if len(objects) <= len(defaults) and len(with_any) == len(objects) == 1:
        assert set(matched) >= with_any


GRID = np.asarray([[0.25, 0.25, 0.5, 0.5], [0.75, 0.25, 0.5, 0.5], [0.25, 0.75, 0.5, 0.5]], np.float32)


def test_an_object_gets_its_best_box_even_below_the_threshold():
    assert boxes.match(xyxy([[0.25, 0.25, 0.1, 0.1]]), GRID).tolist() == [0, -1, -1]


def test_of_two_objects_on_one_default_box_the_better_keeps_it():
    # Both like box 0 best; the worse one goes to the next best, and neither is left out.
    objects = xyxy([[0.30, 0.25, 0.5, 0.5], [0.26, 0.25, 0.5, 0.5]])
    assert boxes.match(objects, GRID).tolist() == [1, 0, -1]


def test_a_forced_match_takes_a_box_from_an_object_that_overlaps_it_more():
    # Object 0 covers both default boxes by ≥ 0.5; object 1 has only the second, and must not go without.
    defaults = np.asarray([[0.3, 0.5, 0.4, 0.4], [0.35, 0.5, 0.4, 0.4]], np.float32)
    objects = xyxy([[0.31, 0.5, 0.4, 0.4], [0.54, 0.5, 0.1, 0.1]])
    assert boxes.match(objects, defaults).tolist() == [0, 1]


def test_an_overlap_equal_to_the_threshold_is_a_match():
    defaults = np.asarray([[0.5, 0.5, 1, 1], [0.25, 0.5, 0.5, 1]], np.float32)  # IoU with the object: 1 and 1/2
    assert boxes.match(xyxy([[0.5, 0.5, 1, 1]]), defaults, 0.5).tolist() == [0, 0]
    assert boxes.match(xyxy([[0.5, 0.5, 1, 1]]), defaults, 0.51).tolist() == [0, -1]


def test_no_object_is_all_background():
    assert boxes.match(np.zeros((0, 4), np.float32), GRID).tolist() == [-1, -1, -1]


def test_more_objects_than_default_boxes():
    objects = xyxy([[0.2 + 0.02 * k, 0.25, 0.5, 0.5] for k in range(9)])
    assert sorted(boxes.match(objects, GRID[:2]).tolist()) == sorted(set(boxes.match(objects, GRID[:2]).tolist()))


def test_an_object_that_touches_no_default_box_gets_none():
    objects = xyxy([[0.9, 0.9, 0.1, 0.1], [0.25, 0.25, 0.5, 0.5]])
    assert boxes.match(objects, GRID).tolist() == [1, -1, -1]


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite300_mobilenet_v2"])
def test_every_object_of_any_size_has_a_default_box_of_the_real_models(name):
    defaults = boxes.default_boxes(make_spec(name, ["object"]))
    rng = np.random.default_rng(0)
    sides = 10 ** rng.uniform(-3, 0, (40, 2))
    corner = rng.uniform(0, 1 - sides)
    objects = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    assert set(range(40)) <= set(boxes.match(objects, defaults).tolist())

"""Default boxes fitted to a data set, and the picture of them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ssd_edge import boxes
from ssd_edge.data import box_fit
from ssd_edge.data.box_fit import (
    LEAST_GAIN,
    ChosenBoxes,
    choose_boxes,
    fitted,
    groups_of,
    share_unmatched,
)
from ssd_edge.data.box_picture import draw_boxes, picture_of
from ssd_edge.data.check import check_dataset
from ssd_edge.data.coverage import best_ious, objects_of
from ssd_edge.data.readers import open_dataset
from ssd_edge.errors import DataError
from ssd_edge.models.registry import make_spec
from ssd_edge.spec import DefaultBoxLevel, ModelSpec
from tests.helpers import shared, small_spec

SSDLITE = "ssdlite300_mobilenet_v2"
WIDE = (160, 256)


def some_objects(number: int, low: float, high: float, seed: int = 0, shape: tuple[int, int] = (1, 1)) -> boxes.Boxes:
    """Draw objects of log-uniform size, wholly inside: (N, 4) xyxy in fractions of an image of (height, width)."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(low), np.log(high), (number, 1)) + rng.normal(0, 0.2, (number, 2)))
    sides = np.minimum(sides * min(shape) / np.asarray(shape[::-1]), 0.98)
    corner = rng.uniform(0, 1 - sides)
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


def test_a_grid_with_rows_for_columns_gives_another_iou():
    objects = some_objects(30, 0.1, 0.4)
    one, other = (
        small_spec(levels=(DefaultBoxLevel(grid, (1 / grid[0], 1 / grid[1]), ((0.2, 0.3),)),))
        for grid in ((3, 7), (7, 3))
    )
    every = boxes.iou(objects[:, None], boxes.to_xyxy(boxes.default_boxes(one))[None]).max(axis=1)
    np.testing.assert_allclose(best_ious(objects, one), every, atol=1e-6)
    assert not np.allclose(best_ious(objects, other), every, atol=0.01)


def test_no_objects_and_no_fit():
    nothing = np.zeros((0, 4), np.float32)
    spec = make_spec(SSDLITE, ["a"])
    assert share_unmatched(nothing, spec) == 0
    with pytest.raises(DataError, match="cannot be fitted to no objects: leave out --box-sizes fit"):
        fitted(spec, nothing)


@pytest.mark.parametrize("size", [None, WIDE])
def test_a_level_of_the_paper_has_two_scales(size):
    """s_k with its ratios, and s′_k of the extra square, relative to the shorter side."""
    groups = groups_of(make_spec(SSDLITE, ["a"], input_size=size))
    assert [group.level for group in groups] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [len(group.boxes) for group in groups] == [1, 2] + [5, 1] * 5
    scales = [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0]
    wanted = [0.1, 0.2, *(s for k in range(1, 6) for s in (scales[k], (scales[k] * scales[k + 1]) ** 0.5))]
    np.testing.assert_allclose([group.scale for group in groups], wanted, rtol=1e-9)


def ratios(spec: ModelSpec) -> list[list[float]]:
    height, width = spec.input_size
    return [[w * width / (h * height) for w, h in level.sizes] for level in spec.levels]


@pytest.mark.parametrize(
    ("size", "low", "high"), [((300, 300), 0.05, 0.6), (WIDE, 0.05, 0.12), ((256, 160), 0.15, 0.3)]
)
def test_fewer_objects_are_unmatched_and_the_network_stays_the_same(size, low, high):
    spec = make_spec(SSDLITE, ["a"], input_size=size)
    objects = some_objects(400, low, high, shape=size)
    result = fitted(spec, objects)
    before, after = (share_unmatched(objects, one) for one in (spec, result))
    assert after < before
    assert [(level.grid, level.step, len(level.sizes)) for level in result.levels] == [
        (level.grid, level.step, len(level.sizes)) for level in spec.levels
    ]
    for got, wanted in zip(ratios(result), ratios(spec), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9)
    assert fitted(spec, objects.copy()) == result, "the same data gives the same boxes"
    assert ModelSpec.from_text(result.to_text()) == result
    others = some_objects(400, low, high, seed=1, shape=size)
    assert share_unmatched(others, result) < share_unmatched(others, spec) + 0.02, "fitted to chance"


def test_boxes_are_not_smaller_than_their_cells_nor_larger_than_the_image():
    spec = make_spec(SSDLITE, ["a"], input_size=WIDE)
    for objects in (some_objects(300, 0.004, 0.01, shape=WIDE), some_objects(300, 0.8, 3, shape=WIDE)):
        for before, after in zip(groups_of(spec), groups_of(fitted(spec, objects)), strict=True):
            rows, columns = spec.levels[after.level].grid
            cell = (WIDE[0] / rows * WIDE[1] / columns) ** 0.5 / min(WIDE)
            assert after.scale >= min(cell, before.scale) * (1 - 1e-6)
            assert after.scale <= max((WIDE[0] * WIDE[1]) ** 0.5 / min(WIDE), before.scale) * (1 + 1e-6)


def test_objects_that_the_published_boxes_match_change_nothing():
    spec = make_spec(SSDLITE, ["a"])
    objects = boxes.to_xyxy(boxes.default_boxes(spec)[::7]).astype(np.float32)
    assert fitted(spec, objects) is spec
    chosen = ChosenBoxes(spec, spec, objects, True)
    assert chosen.sentence().endswith("no other sizes were found that match more, so the published ones stay")
    assert "fitted" not in ChosenBoxes(spec, spec, objects, False).sentence()


def test_no_scale_alone_would_do_better():
    """The definition of the result: by trial of every candidate, with the worth written out."""
    spec = make_spec(SSDLITE, ["a"], input_size=WIDE)
    objects = some_objects(150, 0.06, 0.4, shape=WIDE)

    def worth(one):
        best = best_ious(objects, one)
        return float((np.minimum(best, 0.6) + 0.5 * (best >= 0.5)).mean())

    result = fitted(spec, objects)
    reached = worth(result)
    assert reached > worth(spec)
    for group in groups_of(result)[:6]:
        for scale in np.geomspace(0.1, 1.2, 25):
            level = result.levels[group.level]
            cell = (level.step[0] * level.step[1] * WIDE[0] * WIDE[1]) ** 0.5 / min(WIDE)
            if scale < cell:
                continue
            sizes = tuple(
                tuple(side * scale / group.scale for side in size) if k in group.boxes else size
                for k, size in enumerate(level.sizes)
            )
            levels = list(result.levels)
            levels[group.level] = replace(level, sizes=sizes)
            assert (
                worth(replace(result, levels=tuple(levels))) < reached + LEAST_GAIN + 0.01
            )  # between the candidates, IoUs are a little higher


def test_of_many_objects_evenly_spaced_ones_are_used(monkeypatch):
    monkeypatch.setattr(box_fit, "MOST_OBJECTS", 100)
    spec, objects = make_spec(SSDLITE, ["a"]), some_objects(1000, 0.05, 0.2)
    assert fitted(spec, objects).levels == fitted(spec, objects[::10]).levels


# --- a data set ---------------------------------------------------------------------------------------------------


def test_platelets_of_bccd():
    """The figures of docs/training.md: 9.8 % of the objects, 77 % of the platelets, match no published box."""
    root = shared("data/bccd")
    data = check_dataset(open_dataset(root, "train")).clean
    is_platelet = objects_of(data)[1] == data.labels.index("Platelets")
    chosen = choose_boxes(make_spec(SSDLITE, data.labels), data, fit=True)
    for spec, everything, platelets in ((chosen.published, 0.098, 0.766), (chosen.spec, 0.048, 0.598)):
        unmatched = best_ious(chosen.objects, spec) < boxes.MATCH_IOU
        assert unmatched.mean() == pytest.approx(everything, abs=0.0005)
        assert unmatched[is_platelet].mean() == pytest.approx(platelets, abs=0.0005)
    assert chosen.sentence() == (
        "default boxes are fitted to the data set: of 2804 objects, 4.8% overlap no default box of "
        "ssdlite300_mobilenet_v2 at 300x300 with an IoU of 0.5 or more; 9.8% with the published sizes"
    )
    facts = chosen.to_json()["default_boxes"]
    assert facts["share_unmatched"] == pytest.approx(0.048, abs=0.0005)
    assert facts["share_unmatched_published"] == pytest.approx(0.098, abs=0.0005)


# --- the picture --------------------------------------------------------------------------------------------------


def places_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Return x, y of the pixels of a colour inside the plot, which is 640 pixels wide and high."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    inside = columns < 70 + 640
    return np.stack([columns[inside], rows[inside]], axis=1)


def test_the_picture_has_width_to_the_right_and_height_upwards(tmp_path):
    """Two default boxes, of 8 × 4 and 8 × 16 pixels of the input, and an object of 64 × 4."""
    spec = small_spec(
        input_size=(32, 64),
        levels=(
            DefaultBoxLevel((4, 8), (1 / 4, 1 / 8), ((8 / 64, 4 / 32),)),
            DefaultBoxLevel((2, 4), (1 / 2, 1 / 4), ((8 / 64, 16 / 32),)),
        ),
    )
    chosen = ChosenBoxes(spec, spec, np.asarray([[0, 0.5, 1, 0.5 + 4 / 32]], np.float32), False)
    picture = picture_of(chosen)
    assert (picture.dtype, picture.shape[2]) == (np.uint8, 3)
    low, high = np.log(4 / 1.15), np.log(64 * 1.15)

    def place(width, height):
        shares = (np.log([width, height]) - low) / (high - low)
        return [70 + 640 * shares[0], 70 + 640 * (1 - shares[1])]

    for colour, sizes in (((40, 40, 220), (8, 4)), ((0, 130, 255), (8, 16)), ((170, 140, 110), (64, 4))):
        found = places_of(picture, colour)
        middle = (found.min(axis=0) + found.max(axis=0)) / 2
        np.testing.assert_allclose(middle, place(*sizes), atol=1.5)
    path = tmp_path / "new" / "boxes.png"
    draw_boxes(chosen, path)
    np.testing.assert_array_equal(cv2.imread(str(path)), picture)
    assert [entry.name for entry in path.parent.iterdir()] == ["boxes.png"]


def test_a_picture_without_objects_and_one_with_published_sizes():
    spec = make_spec(SSDLITE, ["a"], input_size=WIDE)
    empty = picture_of(ChosenBoxes(spec, spec, np.zeros((0, 4), np.float32), False))
    assert len(places_of(empty, (170, 140, 110))) == 0
    objects = some_objects(200, 0.05, 0.12, shape=WIDE)
    both = ChosenBoxes(spec, fitted(spec, objects), objects, True)
    assert both.is_fitted
    assert not np.array_equal(picture_of(both), picture_of(replace(both, published=both.spec)))


def test_a_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    spec = make_spec(SSDLITE, ["a"])
    with pytest.raises(DataError, match=r"cannot write .*boxes\.png: "):
        draw_boxes(ChosenBoxes(spec, spec, some_objects(3, 0.1, 0.2), False), tmp_path / "file" / "boxes.png")

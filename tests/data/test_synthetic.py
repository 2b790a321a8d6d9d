import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from ssd_edge.data import synthetic_dataset
from ssd_edge.data.dataset import read_image
from ssd_edge.data.parts import Light, draw_part
from ssd_edge.data.readers import open_dataset
from ssd_edge.data.synthetic import LABELS, Conveyor
from ssd_edge.data.synthetic_dataset import write_dataset
from ssd_edge.errors import DataError

SMALL = (320, 240)  # a quarter of the default pixels; the rules are the same at every size


@pytest.fixture(scope="module")
def conveyor() -> Conveyor:
    return Conveyor(5, SMALL)


def test_same_seed_gives_the_same_pixels_and_boxes(conveyor):
    image, target = conveyor.frame(17)
    again, same = Conveyor(5, SMALL).frame(17)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(target.boxes, same.boxes)
    np.testing.assert_array_equal(target.labels, same.labels)


def test_another_seed_gives_another_picture(conveyor):
    other, _ = Conveyor(6, SMALL).frame(17)
    assert np.abs(conveyor.frame(17)[0].astype(int) - other).mean() > 5


def test_random_access_equals_sequence():
    sequential = [frame for frame, _ in map(Conveyor(3, SMALL).frame, range(4))]
    jumping = Conveyor(3, SMALL)
    jumping.frame(900)  # far away; drawing it must not affect other frames
    for index in (3, 0, 2, 1):
        np.testing.assert_array_equal(jumping.frame(index)[0], sequential[index])


def test_parts_move_left_with_the_belt():
    conveyor = Conveyor(5, SMALL, speed=300, fps=30)
    (_, before), (_, after) = conveyor.frame(10), conveyor.frame(11)

    def whole(target):
        return {
            (int(k), *box) for k, box in zip(target.labels, target.boxes, strict=True) if box[0] > 0 and box[2] < 310
        }

    moved = {(k, x1 - 10, y1, x2 - 10, y2) for k, x1, y1, x2, y2 in whole(before) if x1 > 10}
    assert moved
    assert moved <= whole(after) | {(int(k), *box) for k, box in zip(after.labels, after.boxes, strict=True)}


def test_objects_are_those_of_the_frame_and_keep_their_names():
    conveyor, places = Conveyor(5, SMALL, speed=150, density=12, fps=30), {}
    for index in range(40):
        target, names = conveyor.objects(index)
        assert len(set(names)) == len(names) == len(target.boxes)
        if index % 13 == 0:
            drawn = conveyor.frame(index)[1]
            np.testing.assert_array_equal(target.boxes, drawn.boxes)
            np.testing.assert_array_equal(target.labels, drawn.labels)
        for name, box, label in zip(names, target.boxes, target.labels, strict=True):
            if box[0] > 0 and box[2] < SMALL[0]:  # whole, or hidden in part by another
                places.setdefault((name, int(label)), []).append(box[0] + 5 * index)
    assert len({name for name, _ in places}) == len(places) > 8
    widest = 160 * SMALL[1] / 480
    assert all(max(belt) - min(belt) < widest for belt in places.values())


def test_frame_is_bgr_uint8_of_the_size_asked_for():
    image, target = Conveyor(0, (200, 120)).frame(0)
    assert image.shape == (120, 200, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert target.boxes[:, 2].max(initial=0) <= 200


@pytest.mark.slow
def test_boxes_of_fifty_frames_are_whole_pixels_inside_the_picture(conveyor):
    seen = set()
    for index in range(0, 2000, 40):
        target = conveyor.frame(index)[1]
        boxes = target.boxes
        np.testing.assert_array_equal(boxes, boxes.round())
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= SMALL).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 6).all()
        assert not target.difficult.any()
        seen |= set(target.labels.tolist())
    assert seen == set(range(len(LABELS)))


@pytest.mark.slow
def test_density_is_the_mean_number_of_parts_in_view():
    counts = [len(Conveyor(seed, SMALL, density=6).frame(60 * k)[1]) for seed in range(3) for k in range(6)]
    assert 4.5 < np.mean(counts) < 7.5


@pytest.mark.slow
def test_boxes_are_the_extents_of_what_can_be_seen(conveyor):
    """The reference paints the silhouettes pixel by pixel in plain Python, and finds what remains of each part."""
    width, height = SMALL
    hidden = 0
    for index in range(0, 400, 40):
        offset = round(index * conveyor.speed / conveyor.fps)
        owner = {}
        parts = list(conveyor._in_view(offset))
        for number, part in enumerate(parts):
            for row, column in np.argwhere(part.sprite.mask).tolist():
                owner[part.x - offset + part.sprite.x + column, part.y + part.sprite.y + row] = number
        expected = []
        for number, part in enumerate(parts):
            seen = [(x, y) for (x, y), n in owner.items() if n == number and 0 <= x < width and 0 <= y < height]
            if len(seen) < 0.35 * part.sprite.mask.sum():
                hidden += 1
                continue
            xs, ys = zip(*seen, strict=True)
            expected.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
        np.testing.assert_array_equal(conveyor.frame(index)[1].boxes, expected)
    assert hidden > 0  # otherwise the rule about hidden parts was not tested


@pytest.mark.parametrize("label", range(len(LABELS)))
def test_mask_is_where_the_part_covers_the_belt(label):
    light = Light(azimuth=0.7, elevation=0.9, warmth=0.0)
    sprite = draw_part(label, 90.0, 0.4, np.random.default_rng(2), light)
    assert sprite.mask.dtype == bool
    opaque = sprite.keep[..., 0] < 0.02
    assert (sprite.mask[opaque]).all()
    assert not sprite.mask[sprite.add.max(axis=2) == 0].any()
    rows, columns = np.flatnonzero(sprite.mask.any(1)), np.flatnonzero(sprite.mask.any(0))
    longest = np.hypot(np.ptp(rows), np.ptp(columns)) if label == 0 else max(np.ptp(rows), np.ptp(columns))
    assert 78 < longest < 106


def test_blur_smears_the_picture_but_not_the_mask():
    light = Light(azimuth=0.7, elevation=0.9, warmth=0.0)
    still, moving = (draw_part(3, 60.0, 0.0, np.random.default_rng(2), light, blur) for blur in (0.0, 6.0))
    assert still.mask.sum() == moving.mask.sum()
    sharpness = [np.abs(np.diff(sprite.add, axis=1)).mean() for sprite in (still, moving)]
    assert sharpness[1] < 0.8 * sharpness[0]


@pytest.mark.parametrize(
    "arguments", [{"seed": -1}, {"size": (10, 480)}, {"speed": -1.0}, {"density": -1.0}, {"fps": 0.0}]
)
def test_conveyor_refuses_what_it_cannot_draw(arguments):
    with pytest.raises(ValueError, match="must be"):
        Conveyor(**({"seed": 0} | arguments))


def test_smallest_size_can_be_drawn():
    assert Conveyor(0, (64, 64)).frame(0)[0].shape == (64, 64, 3)


def test_an_empty_belt_has_no_boxes():
    image, target = Conveyor(0, SMALL, density=0).frame(0)
    assert target.boxes.shape == (0, 4)
    assert image.std() > 3


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, list[tuple[int, int]]]:
    calls: list[tuple[int, int]] = []
    folder = tmp_path_factory.mktemp("synthetic") / "deep" / "parts"
    write_dataset(folder, images=6, seed=1, val_fraction=0.3, progress=lambda *step: calls.append(step))
    return folder, calls


@pytest.mark.slow
def test_dataset_is_read_back_by_the_usual_reader(written):
    folder, calls = written
    train, val = open_dataset(folder, "train"), open_dataset(folder, "val")
    assert (len(train), len(val)) == (4, 2)
    assert calls == [(done, 6) for done in range(1, 7)]
    assert not train.issues
    assert set(train.labels) <= set(LABELS)
    first = next(synthetic_dataset._shots(4, (1, 0)))
    np.testing.assert_array_equal(train.samples[0].target.boxes, first[1].boxes)
    names = [train.labels[k] for k in train.samples[0].target.labels]
    assert names == [LABELS[k] for k in first[1].labels]
    assert np.abs(read_image(train.samples[0].image).astype(int) - first[0]).mean() < 4


def test_images_of_a_dataset_all_differ(written):
    images = [read_image(path).astype(int) for path in sorted((written[0] / "JPEGImages").iterdir())]
    assert all(np.abs(a - b).mean() > 4 for a, b in itertools.combinations(images, 2))


def test_same_recipe_is_reused_at_once(written):
    folder, _ = written
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    calls: list[tuple[int, int]] = []
    assert write_dataset(folder, images=6, seed=1, val_fraction=0.3, progress=lambda *s: calls.append(s)) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert not calls


def test_other_recipe_is_refused(written):
    with pytest.raises(DataError, match="another recipe"):
        write_dataset(written[0], images=6, seed=2, val_fraction=0.3)


def test_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"beach")
    with pytest.raises(DataError, match="other files"):
        write_dataset(tmp_path, images=2, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_interrupted_writing_leaves_nothing(tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "parts", images=2, seed=0, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_empty_folder_is_used_and_every_split_has_an_image(tmp_path):
    write_dataset(tmp_path, images=2, seed=0, val_fraction=0.01)
    assert json.loads((tmp_path / "recipe.json").read_text())["val"] == 1
    lists = {path.stem: path.read_text().split() for path in (tmp_path / "ImageSets" / "Main").iterdir()}
    assert lists == {"train": ["000000"], "val": ["000001"], "trainval": ["000000", "000001"]}


@pytest.mark.parametrize("arguments", [{"images": 1}, {"seed": -1}, {"val_fraction": 0.0}, {"val_fraction": 1.0}])
def test_write_dataset_refuses_impossible_wishes(arguments, tmp_path):
    with pytest.raises(ValueError, match="must be"):
        write_dataset(tmp_path, **({"images": 4, "seed": 0} | arguments))

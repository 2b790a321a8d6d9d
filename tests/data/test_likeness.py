"""Pictures of the same scene: copies and bursts are found, other scenes are not, and splits are compared."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssd_edge.data import likeness
from ssd_edge.data.check_splits import check_splits
from ssd_edge.data.held_out import choose_held_out
from ssd_edge.data.likeness import ALIKE, alike_pairs, known_scenes, look_of, scenes
from ssd_edge.data.split import part_to_learn_from, training_and_validation
from ssd_edge.data.usable import check_parts
from tests.data.test_held_out import some
from tests.data.test_split import yolo
from tests.helpers import shared


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """Make a picture with structure at every scale, as photos have."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.uniform(0, 255, (n, n, 3)).astype(np.float32), size) / n for n in (4, 8, 16, 32)]
    return cv2.normalize(sum(layers), None, 10, 220, cv2.NORM_MINMAX).astype(np.uint8)


def saved_again(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)


WAYS = {
    "saved again": saved_again,
    "brighter": lambda image: np.clip(image * 1.1 + 8, 0, 255).astype(np.uint8),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "moved": lambda image: image[3:, 5:],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_found_among_other_pictures(way):
    images = [picture(seed) for seed in range(30)]
    looks = [look_of(image) for image in [*images, WAYS[way](images[4])]]
    assert [(i, j) for i, j, _ in alike_pairs(looks)] == [(4, 30)]
    assert scenes(looks) == [*range(30), 4]
    assert known_scenes(looks[:10], looks[10:]) == [20]


def test_what_all_pictures_share_says_nothing():
    """A fixed camera sees one background: only the pictures with the same objects are of one scene."""
    background = picture(0)
    images = []
    for seed in range(12):
        image, rng = background.copy(), np.random.default_rng(seed)
        for x, y in zip(rng.integers(0, 280, 3), rng.integers(0, 205, 3), strict=True):
            colour = rng.integers(0, 256, 3).tolist()
            cv2.rectangle(image, (int(x), int(y)), (int(x) + 36, int(y) + 30), colour, -1)
        images.append(image)
    looks = [look_of(image) for image in [*images, saved_again(images[7])]]
    assert min(float(looks[0] @ look) for look in looks) > ALIKE  # with the background, all are alike
    assert [(i, j) for i, j, _ in alike_pairs(looks)] == [(7, 12)]


def test_a_chain_is_one_scene(monkeypatch):
    """A camera pans: each frame is like the next. The table is compared in parts of three rows."""
    monkeypatch.setattr(likeness, "_ROWS", 3)
    wide = picture(1, (640, 240))
    looks = [look_of(wide[:, 6 * k : 6 * k + 320]) for k in range(20)]
    others = [look_of(picture(seed)) for seed in range(2, 14)]
    found = scenes([*others, *looks])
    assert found == [*range(12), *[12] * 20]
    assert all(i < j for i, j, _ in alike_pairs(looks))


@pytest.mark.parametrize("number", [0, 1])
def test_few_pictures(number):
    assert scenes([look_of(picture(0))] * number) == list(range(number))
    assert known_scenes([], [look_of(picture(0))] * number) == []


def test_pictures_of_one_colour_are_like_none():
    """Their looks are zeros, so nothing is known of them; one pixel is enough."""
    looks = [look_of(np.full((1 + 40 * k, 1 + k, 3), 90, np.uint8)) for k in range(3)]
    assert not np.any(looks)
    assert scenes(looks) == [0, 1, 2]


@pytest.mark.slow
def test_real_photos_of_different_scenes_are_not_grouped():
    """BCCD has two pairs that show the same blood smear, as one sees; coco128's photos are all of different scenes."""
    same = [("BloodImage_00037", "BloodImage_00038"), ("BloodImage_00386", "BloodImage_00391")]
    for folder, pairs in (("data/bccd/BCCD/JPEGImages", same), ("data/coco128_yolo", [])):
        files = sorted(shared(folder).rglob("*.jpg"))
        looks = [look_of(cv2.imread(str(file))) for file in files]
        assert [(files[i].stem, files[j].stem) for i, j, _ in alike_pairs(looks)] == pairs


@pytest.fixture
def leaky(tmp_path):
    """Ten pictures to learn from, two of one scene, and five to validate on, of which one is like one of the ten."""
    root = yolo(tmp_path / "set", "", train="abcdefghij", val="vwxyz")
    for folder, name, seed in [("train", n, k) for k, n in enumerate("abcdefghij")] + [
        ("val", n, 20 + k) for k, n in enumerate("vwxyz")
    ]:
        image = picture(seed)
        if (folder, name) == ("val", "w"):
            image = saved_again(picture(3))  # of d
        if (folder, name) == ("train", "b"):
            image = saved_again(picture(0))  # of a
        cv2.imwrite(str(root / "images" / folder / f"{name}.png"), image)
    return root


def test_check_data_names_the_pair_on_both_sides_of_a_split(leaky):
    report = check_splits(leaky)
    [issue] = [one for one in report.issues if one.kind == "near-duplicate"]
    assert issue.path.stem == "d"
    assert f"looks like {leaky / 'images' / 'val' / 'w.png'} in split val, likeness 0.9" in issue.detail
    assert issue.handled == "none"
    assert report.to_json()["scenes"] == 13
    assert not [one for one in check_splits(leaky, "val").issues if one.kind == "near-duplicate"]


def test_training_says_that_validation_images_are_known(leaky):
    parts = training_and_validation(leaky)
    assert "1 of 5 images to validate on show scenes that are learnt from too" in check_parts(*parts).summary()
    usable = check_parts(part_to_learn_from(leaky, "train"), None)
    assert usable.known == 0
    assert "learnt from too" not in usable.summary()


@pytest.mark.parametrize("seed", range(10))
def test_scenes_are_held_out_as_a_whole(seed):
    """Of 20 scenes with one to ten images each, a fifth of the images, as exactly as whole scenes allow."""
    numbers = [scene for scene in range(20) for _ in range(1 + scene % 10)]
    chosen = choose_held_out(some(*[0] * len(numbers)), 0.2, seed, numbers)
    inside, outside = ({numbers[k] for k in range(len(numbers)) if (k in chosen) == side} for side in (True, False))
    assert not inside & outside
    assert 0.15 * len(numbers) <= len(chosen) <= 0.2 * len(numbers) + 1
    assert chosen == choose_held_out(some(*[0] * len(numbers)), 0.2, seed, numbers)


@pytest.mark.parametrize("numbers", [[0] * 50, [0] * 30 + [1] * 20, [0] * 26 + list(range(1, 25))])
def test_large_scenes(numbers):
    """One scene is divided, since nothing else can be done; of two, the smaller is held out; of more, small ones."""
    chosen = choose_held_out(some(*[0] * 50), 0.2, 0, numbers)
    assert 0 < len(chosen) <= 20
    if len(set(numbers)) > 1:
        assert not {numbers[k] for k in chosen} & {numbers[k] for k in set(range(50)) - set(chosen)}


def test_each_image_by_itself_gives_the_choice_without_scenes():
    samples = some(*[0] * 30, *[1] * 7, *[None] * 9)
    for seed in range(10):
        assert choose_held_out(samples, 0.2, seed, list(range(46))) == choose_held_out(samples, 0.2, seed)


def test_the_scene_with_all_objects_is_divided():
    """Else there would be nothing to validate on."""
    chosen = choose_held_out(some(*[0] * 40, *[None] * 10), 0.2, 0, [0] * 40 + list(range(1, 11)))
    assert any(k < 40 for k in chosen)
    assert set(range(40)) - set(chosen)

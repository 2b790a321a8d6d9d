"""Holding out: by objects, by seed, without copies on both sides, and known again later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd_edge.data.dataset import Dataset, Sample, Target
from ssd_edge.data.held_out import HeldOut, choose_held_out, digest_of, held_out_of
from ssd_edge.data.split import part_to_learn_from, part_to_measure_on, usual_part_to_measure_on
from ssd_edge.data.usable import check_parts
from ssd_edge.errors import DataError
from tests.data.test_split import coco, names, yolo
from tests.helpers import small_spec


def some(*classes: int | None) -> list[Sample]:
    """Make samples with an object of a class, or with none."""
    box = [[1.0, 1, 9, 9]]
    return [
        Sample(Path(f"{k}.png"), Target.of([], []) if label is None else Target.of(box, [label]))
        for k, label in enumerate(classes)
    ]


@pytest.mark.parametrize(("number", "held"), [(2, 1), (3, 1), (5, 1), (10, 2), (101, 20)])
@pytest.mark.parametrize("label", [None, 0])
def test_a_fifth_is_held_out_and_never_all(number, held, label):
    chosen = choose_held_out(some(*[label] * number), 0.2, seed=3)
    assert len(chosen) == held
    assert chosen == sorted(set(chosen))
    assert set(chosen) < set(range(number))


@pytest.mark.parametrize("seed", range(20))
def test_objects_are_on_both_sides_wherever_there_are_two(seed):
    chosen = choose_held_out(some(0, 0, *[None] * 48), 0.2, seed)
    assert len(chosen) == 10
    assert len({0, 1} & set(chosen)) == 1
    assert choose_held_out(some(0, *[None] * 9), 0.2, seed)[0] != 0  # the only object is to be learnt


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_class_gets_its_share(seed):
    """Five of fifty images show class 1, so one of ten that are held out does."""
    chosen = choose_held_out(some(*[1] * 5, *[0] * 45), 0.2, seed)
    assert len(chosen) == 10
    assert len(set(range(5)) & set(chosen)) == 1


def test_difficult_objects_and_crowds_are_none_to_validate_on():
    box = [[1.0, 1, 9, 9]]
    crowds = [Sample(Path(f"{k}.png"), Target.of(box, [0], crowd=[True])) for k in range(8)]
    for seed in range(10):
        chosen = choose_held_out([*crowds, *some(0, 0)], 0.2, seed)
        assert len({8, 9} & set(chosen)) == 1


def test_the_seed_decides():
    first, same, other = (choose_held_out(some(*[0] * 50), 0.2, seed) for seed in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_to_hold_any_out(number):
    with pytest.raises(DataError, match=f"there is {number} usable image"):
        choose_held_out(some(*[0] * number), 0.2, 0)


def test_two_images_are_too_few_to_train_and_validate(tmp_path):
    """BatchNorm needs two to learn from; the sentence promises no list, since nothing is wrong with the two."""
    with pytest.raises(DataError, match=r"2 usable images .* but it takes 3 or more: add images$"):
        check_parts(part_to_learn_from(yolo(tmp_path, "", a="ab")), None)


def test_copies_are_on_one_side(tmp_path):
    root = yolo(tmp_path, "", a="abcdefghij")
    for name in "abcdefghij":
        for kind, suffix in (("images", ".png"), ("labels", ".txt")):
            file = root / kind / "a" / f"{name}{suffix}"
            file.with_stem(f"{name} (1)").write_bytes(file.read_bytes())
    for seed in range(5):
        usable = check_parts(part_to_learn_from(root), None, seed=seed)
        sides = [{sample.image.stem[0] for sample in part} for part in (usable.training, usable.validation)]
        assert (len(sides[0]), len(sides[1])) == (8, 2)
        assert not sides[0] & sides[1]


def test_an_image_that_cannot_be_read_is_not_held_out(tmp_path):
    root = yolo(tmp_path, "", a="abcde")
    (root / "images" / "a" / "a.png").write_bytes(b"no picture")
    for seed in range(5):
        assert names(check_parts(part_to_learn_from(root), None, seed=seed).validation) in tuple("bcde")


@pytest.fixture
def trained(tmp_path) -> tuple[Path, Dataset, HeldOut]:
    """A data set of ten images, the two of them that were held out, and the model's memory of it."""
    root = yolo(tmp_path / "set", "", a="abcdefghij")
    usable = check_parts(part_to_learn_from(root), None)
    assert usable.held_out is not None
    return root, usable.validation, usable.held_out


def test_what_was_held_out_is_known_again(trained):
    root, validation, held_out = trained
    spec = small_spec(labels=("bolt",)).with_provenance(**held_out.provenance())
    assert held_out_of(spec.provenance) == held_out
    part = part_to_measure_on(root, "held-out", spec)
    assert names(part) == names(validation)
    assert usual_part_to_measure_on(root, spec) == "held-out"
    rest = part_to_learn_from(root, held_out=held_out.digests)
    assert sorted(names(part) + names(rest)) == list("abcdefghij")
    # however the files are called, wherever they lie, and whatever was added
    for name in names(validation):
        (root / "images" / "a" / f"{name}.png").rename(root / "images" / "a" / f"renamed {name}.png")
    yolo(root, "", b="klm")
    moved = root.rename(root.with_name("moved"))
    assert {digest_of(s.image) for s in part_to_measure_on(moved, "held-out", spec)} == set(held_out.digests)


def test_held_out_images_of_a_model_that_held_none_out_or_of_another_data_set(trained, tmp_path):
    root, _, held_out = trained
    spec = small_spec(labels=("bolt",))
    with pytest.raises(DataError, match="does not say that images were held out of its training: name the part"):
        part_to_measure_on(root, "held-out", spec)
    other = yolo(tmp_path / "other", "", a="klm")
    spec = spec.with_provenance(**held_out.provenance())
    with pytest.raises(DataError, match="has none of the 2 images that were held out"):
        part_to_measure_on(other, "held-out", spec)
    assert usual_part_to_measure_on(other, spec) == ""
    others_val = coco(tmp_path / "coco", val="klm")
    assert usual_part_to_measure_on(others_val, spec) == "val"


@pytest.mark.parametrize("value", ["", " ", "12 nonsense", "\0"])
def test_a_provenance_that_says_nonsense(value, trained):
    root, *_ = trained
    spec = small_spec(labels=("bolt",)).with_provenance(held_out=value, held_out_seed="x", held_out_of="nope")
    with pytest.raises(DataError):
        part_to_measure_on(root, "held-out", spec)


def test_held_out_images_are_found_in_whatever_split_they_are_now(trained):
    """The data set was divided by hand since: all of its ten images are now called train or val."""
    root, validation, held_out = trained
    for kind in ("images", "labels"):
        (root / kind / "a").rename(root / kind / "val")
    spec = small_spec(labels=("bolt",)).with_provenance(**{**held_out.provenance(), "held_out_of": "train2020"})
    assert names(part_to_measure_on(root, "held-out", spec)) == names(validation)


def test_no_shared_class_names_both_lists(trained):
    root, *_ = trained
    with pytest.raises(DataError, match=r"share no class.* the model knows gear, nut, and the data set names bolt$"):
        part_to_measure_on(root, "", small_spec(labels=("gear", "nut")))


def test_the_split_for_validation_is_measured_on_unless_images_were_held_out(tmp_path):
    root = yolo(tmp_path, "", train="abc", Val="de")
    assert usual_part_to_measure_on(root, small_spec(labels=("bolt",))) == "Val"


def test_an_earlier_choice_that_leaves_too_little(tmp_path):
    training = part_to_learn_from(yolo(tmp_path, "", a="abc"))
    digests = tuple(digest_of(sample.image) for sample in training.samples[:2])
    with pytest.raises(DataError, match="2 images of 3 were held out of the training that this one goes on from"):
        check_parts(training, None, earlier=HeldOut(digests, "", 0))
    assert len(check_parts(training, None, earlier=HeldOut(("0" * 12,), "", 0)).validation) == 1


def test_an_unreadable_file_has_no_digest(tmp_path):
    assert digest_of(tmp_path / "nope.png") == ""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    assert len(digest_of(tmp_path / "a.png")) == 12
    assert replace(HeldOut((), "a", 1), seed=2).provenance()["held_out_seed"] == "2"

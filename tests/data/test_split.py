"""The choice of training and validation images, which never overlap."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd_edge.data.dataset import Dataset, Issue, Sample, Target
from ssd_edge.data.split import hold_out, training_and_validation
from ssd_edge.errors import DataError
from tests.helpers import shared

XML = """<annotation><object><name>{}</name>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"""


def voc(root: Path, **splits: str) -> Path:
    """Make ten images a … j; ``splits`` gives the names in each list."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    for k, name in enumerate("abcdefghij"):
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), np.full((20, 20, 3), 20 * k, np.uint8))
        (root / "Annotations" / f"{name}.xml").write_text(XML.format("bolt" if k % 2 else "nut"))
    for split, names in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
    return root


def names(dataset: Dataset) -> str:
    return "".join(sample.image.stem for sample in dataset)


def test_train_and_val_where_they_are(tmp_path):
    root = voc(tmp_path, train="abc", val="de", trainval="abcde", test="fgh")
    training, validation = training_and_validation(root)
    assert (names(training), names(validation)) == ("abc", "de")
    assert training.labels == validation.labels == ("bolt", "nut")


def test_train_and_no_val_holds_out_of_train_and_leaves_the_test_images_alone(tmp_path):
    training, validation = training_and_validation(voc(tmp_path, train="abcde", test="fghij"))
    assert len(validation) == 1
    assert sorted(names(training) + names(validation)) == list("abcde")


def test_no_splits_at_all(tmp_path):
    training, validation = training_and_validation(voc(tmp_path))
    assert (len(training), len(validation)) == (8, 2)
    assert sorted(names(training) + names(validation)) == list("abcdefghij")


def test_only_the_validation_split_named(tmp_path):
    root = voc(tmp_path / "a", train="abc", val="de", trainval="abcde", test="fgh")
    assert [names(d) for d in training_and_validation(root, "", "test")] == ["abc", "fgh"]
    # without a training list, training takes what validation leaves
    root = voc(tmp_path / "b", test="fghij")
    assert [names(d) for d in training_and_validation(root, "", "test")] == ["abcde", "fghij"]


def test_only_the_training_split_named(tmp_path):
    root = voc(tmp_path, train="abc", val="de", trainval="abcde")
    assert [names(d) for d in training_and_validation(root, "train")] == ["abc", "de"]
    training, validation = training_and_validation(root, "trainval")  # contains val, so other images are held out
    assert len(validation) == 1
    assert sorted(names(training) + names(validation)) == list("abcde")


def test_both_named_are_taken_as_they_are(tmp_path):
    root = voc(tmp_path, train="abc", val="ab")
    assert [names(d) for d in training_and_validation(root, "train", "val")] == ["abc", "ab"]


@pytest.mark.parametrize(("split", "validation_split"), [("nope", ""), ("", "nope"), ("train", "nope")])
def test_a_split_that_is_not_there(tmp_path, split, validation_split):
    with pytest.raises(DataError, match="nope"):
        training_and_validation(voc(tmp_path, train="abc", val="de"), split, validation_split)


def test_no_data_set(tmp_path):
    with pytest.raises(DataError, match="no data set found"):
        training_and_validation(tmp_path)
    with pytest.raises(DataError, match="there is no file or folder"):
        training_and_validation(tmp_path / "nope")


def test_validation_is_read_with_the_classes_of_training(tmp_path):
    """Each COCO file lists its own categories, but the same name must keep its number."""
    (tmp_path / "annotations").mkdir()
    for split, categories in (("train", ["nut", "bolt"]), ("val", ["bolt", "nut", "gear"])):
        (tmp_path / split).mkdir()
        cv2.imwrite(str(tmp_path / split / f"{split}.png"), np.full((20, 20, 3), len(split), np.uint8))
        numbers = {name: k + 1 for k, name in enumerate(categories)}
        content = {
            "images": [{"id": 1, "file_name": f"{split}.png", "width": 20, "height": 20}],
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
            "annotations": [
                {"id": k, "image_id": 1, "category_id": number, "bbox": [1 + k, 1, 8, 8], "area": 64, "iscrowd": 0}
                for k, number in enumerate(numbers.values())
            ],
        }
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    training, validation = training_and_validation(tmp_path)
    assert training.labels == validation.labels == ("nut", "bolt")
    assert validation.samples[0].target.labels.tolist() == [1, 0]
    assert [issue.kind for issue in validation.issues] == ["unknown-class"]


def test_real_splits_share_no_image():
    training, validation = training_and_validation(shared("data/bccd"))
    assert (len(training), len(validation)) == (205, 87)
    assert not {s.image for s in training} & {s.image for s in validation}


def some(number: int) -> Dataset:
    samples = [Sample(Path(f"{k}.png"), Target.of([], [])) for k in range(number)]
    return Dataset(Path("data"), "voc", "", ("bolt",), samples, (Issue("no-area", Path("x"), "y", "box left out"),))


@pytest.mark.parametrize(("number", "held"), [(2, 1), (3, 1), (5, 1), (10, 2), (101, 20)])
def test_hold_out(number, held):
    rest, kept = hold_out(some(number), 0.2, seed=3)
    assert (len(rest), len(kept)) == (number - held, held)
    assert sorted(int(s.image.stem) for s in [*rest, *kept]) == list(range(number))
    assert [int(s.image.stem) for s in rest] == sorted(int(s.image.stem) for s in rest)
    assert len(rest.issues) == 1  # reported once, not twice
    assert not kept.issues


def test_the_seed_decides():
    first, same, other = (names(hold_out(some(50), 0.2, seed)[1]) for seed in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_to_hold_any_out(number):
    with pytest.raises(DataError, match=f"has {number} image"):
        hold_out(some(number), 0.2, 0)

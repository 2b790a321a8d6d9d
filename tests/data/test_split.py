"""The choice of training and validation images, which never overlap."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd_edge.data.dataset import Dataset
from ssd_edge.data.readers import declared_splits, open_dataset
from ssd_edge.data.roles import role_of
from ssd_edge.data.split import training_and_validation
from ssd_edge.data.usable import check_parts
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


def used(root: Path, split: str = "", validation_split: str = "") -> tuple[str, str]:
    """Return the names of what is learnt from and validated on, in the end."""
    usable = check_parts(*training_and_validation(root, split, validation_split))
    return names(usable.training), names(usable.validation)


def test_train_and_val_where_they_are(tmp_path):
    root = voc(tmp_path, train="abc", val="de", trainval="abcde", test="fgh")
    parts = training_and_validation(root)
    assert (names(parts.training), names(parts.validation)) == ("abc", "de")
    assert parts.training.labels == parts.validation.labels == ("bolt", "nut")
    assert [names(part) for part in parts.kept_back] == ["fgh"]


def test_train_and_no_val_holds_out_of_train_and_leaves_the_test_images_alone(tmp_path):
    training, validation = used(voc(tmp_path, train="abcde", test="fghij"))
    assert len(validation) == 1
    assert sorted(training + validation) == list("abcde")


def test_no_splits_at_all(tmp_path):
    training, validation = used(voc(tmp_path))
    assert (len(training), len(validation)) == (8, 2)
    assert sorted(training + validation) == list("abcdefghij")


@pytest.mark.parametrize("name", ["val", "Val", "valid", "VALIDATION", "val2017", "line1_val"])
def test_val_without_train_learns_from_the_rest(tmp_path, name):
    assert used(voc(tmp_path, **{name: "de", "Test": "fg"})) == ("abchij", "de")


def test_only_the_validation_split_named(tmp_path):
    root = voc(tmp_path / "a", train="abc", val="de", trainval="abcde", test="fgh")
    assert used(root, "", "test") == ("abc", "fgh")
    # without a training list, training takes what no list to measure on holds
    assert used(voc(tmp_path / "b", test="fghij"), "", "test") == ("abcde", "fghij")


def test_only_the_training_split_named(tmp_path):
    root = voc(tmp_path, train="abc", val="de", trainval="abcde")
    assert used(root, "train") == ("abc", "de")
    assert used(root, "trainval") == ("abc", "de")  # contains val, which stays what is validated on


def test_images_in_both_are_not_learnt_from(tmp_path):
    assert used(voc(tmp_path, train="abcd", val="ab"), "train", "val") == ("cd", "ab")


def test_images_can_be_held_out_in_place_of_a_split(tmp_path):
    training, validation = used(voc(tmp_path, train="abcde", val="fg"), "", "held-out")
    assert (len(training), len(validation), sorted(training + validation)) == (4, 1, list("abcde"))


def test_to_validate_on_nothing_learns_from_the_validation_images_too(tmp_path):
    """As the paper learns from trainval and measures on test; those of test stay out."""
    root = voc(tmp_path / "data", train="abcde", val="fg", trainval="abcdefgh", test="hij")
    parts = training_and_validation(root, "trainval", "none")
    assert parts.validation is not None
    usable = check_parts(*parts)
    assert (names(usable.training), names(usable.validation), usable.held_out) == ("abcdefg", "", None)


def test_nothing_but_what_is_measured_on(tmp_path):
    with pytest.raises(
        DataError, match=r"nothing is left .*: every image is in split 'test', split 'val'; name a split"
    ):
        training_and_validation(voc(tmp_path, val="abcde", test="fghij"))
    root = voc(tmp_path / "same", train="ab", val="abc")
    with pytest.raises(DataError, match=r"every usable image .* is also one to measure on .*--val-split held-out"):
        used(root)
    assert used(voc(tmp_path / "four", train="abcd", val="abcd"), "", "held-out")[1]


@pytest.mark.parametrize("place", ["ImageSets", "."])
def test_lists_beside_their_usual_folder(tmp_path, place):
    root = voc(tmp_path)
    (root / place / "notes.txt").write_text("words") if place == "." else None
    (root / place / "train.txt").write_text("a\nb\nc\n")
    (root / place / "val.txt").write_text("d\ne\n")
    assert used(root) == ("abc", "de")


def test_a_short_list_of_names_that_look_like_flags_is_a_split(tmp_path):
    root = voc(tmp_path, train="abc", val="de", cat_train="a")
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("a 1\nb -1\nc  0\n")
    (root / "ImageSets" / "Main" / "night_val.txt").write_text("0\n1\n")
    assert sorted(declared_splits(root)) == ["night_val", "train", "val"]


def test_several_splits_with_one_purpose_are_a_question(tmp_path):
    root = voc(tmp_path, train="abc", val_day="de", val_night="fg")
    with pytest.raises(DataError, match="could be 'val': val_day, val_night; name one with --val-split"):
        training_and_validation(root)
    assert used(root, "", "val_day") == ("abc", "de")


@pytest.mark.parametrize(
    "line",
    [
        "{}.jpg",
        "{}.JPG",
        "{}.xml",
        "JPEGImages/{}.jpg",
        "./JPEGImages/{}.jpg",
        "{} 1",
        "JPEGImages/{0}.jpg Annotations/{0}.xml",
        "C:\\data\\{}.jpg",
    ],
)
def test_a_list_with_suffixes_and_folders(tmp_path, line):
    root = voc(tmp_path, train="abc", val="")
    (root / "ImageSets" / "Main" / "val.txt").write_text("\n".join(line.format(name) for name in "de") + "\n")
    assert used(root) == ("abc", "de")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\xfd", b"nope\nnothing\n"])
def test_a_val_list_that_cannot_be_understood_is_an_error(tmp_path, content):
    root = voc(tmp_path, train="abcde", val="")
    (root / "ImageSets" / "Main" / "val.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"or hold images out of training with --val-split held-out"):
        training_and_validation(root)
    assert len(used(root, "", "held-out")[1]) == 1  # what the sentence recommends works


@pytest.mark.parametrize(("split", "validation_split"), [("nope", ""), ("", "nope"), ("train", "nope")])
def test_a_split_that_is_not_there(tmp_path, split, validation_split):
    with pytest.raises(DataError, match="nope"):
        training_and_validation(voc(tmp_path, train="abc", val="de"), split, validation_split)


def test_no_data_set(tmp_path):
    with pytest.raises(DataError, match="no data set found"):
        training_and_validation(tmp_path)
    with pytest.raises(DataError, match="there is no file or folder"):
        training_and_validation(tmp_path / "nope")


def yolo(root: Path, config: str, **folders: str) -> Path:
    """Make a YOLO data set of images a … j in the folders of ``images/``, each with a bolt."""
    for folder, letters in folders.items():
        for name in letters:
            (root / "images" / folder).mkdir(parents=True, exist_ok=True)
            (root / "labels" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(
                str(root / "images" / folder / f"{name}.png"), np.full((20, 20, 3), 9 * ord(name) % 255, np.uint8)
            )
            (root / "labels" / folder / f"{name}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text(f"names: [bolt]\n{config}")
    return root


@pytest.mark.parametrize(
    "prefix",
    ["./images/all/", "images/all/", "/content/data/images/all/", "../set/images/all/", "D:\\set\\images\\all\\"],
)
@pytest.mark.parametrize("suffix", [".png", ""])
def test_a_yaml_file_with_text_files(tmp_path, prefix, suffix):
    root = yolo(tmp_path, "train: train.txt\nval: lists/val.txt\ntest: test.txt\n", all="abcdefg")
    (root / "lists").mkdir()
    for file, letters in (("train.txt", "abc"), ("lists/val.txt", "de"), ("test.txt", "fg")):
        (root / file).write_text("".join(f"{prefix}{name}{suffix}\n" for name in letters))
    assert used(root) == ("abc", "de")
    assert names(open_dataset(root, "test")) == "fg"


@pytest.mark.parametrize(
    ("config", "folders", "expected"),
    [
        ("train: [images/a, images/b]\nval: images/c", {"a": "ab", "b": "cd", "c": "e"}, ("abcd", "e")),
        ("", {"Train": "abc", "Val": "de", "Test": "f"}, ("abc", "de")),
        ("", {"line1": "ab", "line2": "cd", "val": "e"}, ("abcd", "e")),
        ("val: images/a", {"a": "ab", "b": "cde"}, ("cde", "ab")),
        ("Train: images/a\nvalid: images/b", {"a": "abc", "b": "de"}, ("abc", "de")),
        (
            "train: images/a\nval: images/b\ntest: null\neval: ~\ntests: []\nholdout:",
            {"a": "abc", "b": "de"},
            ("abc", "de"),
        ),
    ],
)
def test_how_yolo_declares_splits(tmp_path, config, folders, expected):
    assert used(yolo(tmp_path, config, **folders)) == expected


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_in_lists_may_be_composed_or_not(tmp_path, form):
    """A list from one system names files that another system wrote."""
    for other in ("NFC", "NFD"):
        written, listed = (unicodedata.normalize(one, "é") for one in (other, form))
        root = voc(tmp_path / other / "voc", train="abc", val="")
        for folder, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
            (root / folder / f"d.{suffix}").rename(root / folder / f"{written}.{suffix}")
        (root / "ImageSets" / "Main" / "val.txt").write_text(f"{listed}.jpg\n")
        assert used(root) == ("abc", written)
        root = yolo(tmp_path / other / "yolo", "val: val.txt", all="abcé")
        for folder, suffix in (("images", "png"), ("labels", "txt")):
            (root / folder / "all" / f"é.{suffix}").rename(root / folder / "all" / f"{written}.{suffix}")
        (root / "val.txt").write_text(f"images/all/{listed}.png\n")
        assert used(root) == ("abc", written)


def test_a_text_file_that_no_yaml_names(tmp_path):
    root = yolo(tmp_path, "", all="abcde")
    (root / "val.txt").write_text("images/all/a.png\n")
    (root / "notes.txt").write_text("words")
    assert used(root) == ("bcde", "a")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("val: images/gone", "declares val: images/gone, and .*images/gone is not there"),
        ("val: gone.txt", "declares val: gone.txt"),
        ("val: [images/a, images/gone]", "images/gone is not there"),
        ("val: 0.2", "val: should name a folder, a text file or a list of them, but is 0.2"),
        ("val: empty.txt", "no usable image"),
    ],
)
def test_a_declaration_of_yolo_that_cannot_be_followed_is_an_error(tmp_path, config, words):
    root = yolo(tmp_path, f"train: images/a\n{config}", a="abcde")
    (root / "empty.txt").touch()
    with pytest.raises(DataError, match=words):
        training_and_validation(root)


def test_a_test_split_that_was_not_downloaded_does_not_keep_from_training(tmp_path):
    root = yolo(tmp_path, "train: images/a\nval: images/b\ntest: ../test/images", a="abc", b="de")
    assert used(root) == ("abc", "de")
    with pytest.raises(DataError, match="declares test: "):
        open_dataset(root, "test")


def test_folders_to_measure_on_are_not_learnt_from_however_deep(tmp_path):
    root = yolo(tmp_path, "", **{"line1/good": "abcde", "line1/test": "fg"})
    training, validation = used(root)
    assert sorted(training + validation) == list("abcde")


def test_images_that_a_list_names_and_that_are_not_there(tmp_path):
    root = yolo(tmp_path, "train: train.txt", a="abc")
    (root / "train.txt").write_text("images/a/a.png\nimages/a/x.png\n")
    dataset = open_dataset(root, "train")
    assert names(dataset) == "a"
    assert [(issue.kind, issue.handled) for issue in dataset.issues] == [("missing-image", "image left out")]


def coco(root: Path, **splits: str) -> Path:
    """Make a COCO data set of images, each with a bolt."""
    (root / "annotations").mkdir(parents=True)
    for split, letters in splits.items():
        (root / split).mkdir()
        for name in letters:
            cv2.imwrite(str(root / split / f"{name}.png"), np.full((20, 20, 3), 9 * ord(name) % 255, np.uint8))
        box = {"category_id": 1, "bbox": [1, 1, 8, 8]}
        content = {
            "images": [{"id": k, "file_name": f"{name}.png"} for k, name in enumerate(letters)],
            "categories": [
                {"id": 0, "name": "parts", "supercategory": "none"},
                {"id": 1, "name": "bolt", "supercategory": "parts"},
            ],
            "annotations": [{"id": k, "image_id": k, **box} for k in range(len(letters))],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def test_coco_with_a_broken_val_and_with_nothing_else(tmp_path):
    root = coco(tmp_path / "a", Train="abcde", val="fg")
    assert used(root) == ("abcde", "fg")
    file = root / "annotations" / "instances_val.json"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cannot read .*instances_val\.json as JSON.*--val-split held-out"):
        training_and_validation(root)
    alone = coco(tmp_path / "b", val="abcde")
    for path in (alone, alone / "annotations" / "instances_val.json"):
        with pytest.raises(DataError, match="has only split 'val', which is to be measured on"):
            training_and_validation(path)
        assert len(used(path, "val")[1]) == 1  # it was asked for


def test_a_category_that_only_names_a_group_is_no_class(tmp_path):
    dataset = open_dataset(coco(tmp_path, train="ab"))
    assert dataset.labels == ("bolt",)
    assert [(issue.kind, issue.handled) for issue in dataset.issues] == [("unused-class", "class left out")]
    assert "'parts'" in dataset.issues[0].detail


def test_pictures_of_the_test_split_are_not_learnt_from_under_another_name(tmp_path):
    root = yolo(tmp_path, "", train="abcd", val="e", test="f")
    (root / "images" / "train" / "a.png").write_bytes((root / "images" / "test" / "f.png").read_bytes())
    usable = check_parts(*training_and_validation(root))
    assert names(usable.training) == "bcd"
    (issue,) = usable.reports[0].issues
    assert (issue.kind, issue.handled) == ("duplicate-image", "image left out")
    assert issue.detail.endswith("f.png in split test")


@pytest.mark.parametrize("name", ["valves", "testament", "evaluate1", "latest", "interval", "parts", "line2", ""])
def test_names_that_only_look_like_a_split(name):
    assert role_of(name) is None


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *((name, "train") for name in ("train", "Train", "TRAINING", "train2017", "trainval", "train_val", "my_train")),
        *((name, "val") for name in ("val", "Valid", "val2017", "validation", "ValSet", "line1-val")),
        *((name, "test") for name in ("test", "Test", "test-dev2017", "testing")),
    ],
)
def test_roles(name, role):
    assert role_of(name) == role


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
    training, validation, _ = training_and_validation(tmp_path)
    assert training.labels == validation.labels == ("nut", "bolt")
    assert validation.samples[0].target.labels.tolist() == [1, 0]
    assert [issue.kind for issue in validation.issues] == ["unknown-class"]


def test_real_splits_share_no_image():
    training, validation, (test,) = training_and_validation(shared("data/bccd"))
    assert (len(training), len(validation), len(test)) == (205, 87, 72)
    assert not {s.image for s in training} & {s.image for s in validation}

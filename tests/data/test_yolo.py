"""YOLO folders: fractions to pixels and back, layouts, class names, and malformed files."""

from __future__ import annotations

import shutil
import struct
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssd_edge.data import yolo
from ssd_edge.data.dataset import read_image
from ssd_edge.data.picture import image_size
from ssd_edge.errors import DataError
from tests.helpers import shared

WIDTH, HEIGHT = 64, 48


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not cv2.imwrite, which crashes on a name that is no text.
    path.write_bytes(cv2.imencode(path.suffix, np.full((HEIGHT, WIDTH, 3), 90, np.uint8))[1].tobytes())
    return path


def make(root: Path, labels: dict[str, str | None], yaml: str = "names: [bolt, nut]") -> Path:
    """Make a YOLO folder; keys are names such as ``train/a``, and None means no label file."""
    for name, text in labels.items():
        picture(root / "images" / f"{name}.png")
        file = root / "labels" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            file.write_text(text)
    if yaml:
        (root / "data.yaml").write_text(yaml)
    return root


def test_fractions_become_pixels(tmp_path: Path) -> None:
    dataset = yolo.read(make(tmp_path, {"a": "1 0.5 0.5 0.25 0.5\n\n0 0 0 1 1\n", "b": "", "c": " \n"}))
    assert dataset.labels == ("bolt", "nut")
    target = dataset.samples[0].target
    np.testing.assert_array_equal(target.boxes, np.array([[24, 12, 40, 36], [-32, -24, 32, 24]], np.float32))
    assert target.labels.tolist() == [1, 0]
    assert [len(sample.target) for sample in dataset] == [2, 0, 0]
    assert not dataset.issues


def test_a_polygon_becomes_its_bounds(tmp_path: Path) -> None:
    dataset = yolo.read(make(tmp_path, {"a": "0 0.5 0.25 0.25 0.5 0.75 0.75"}))
    assert dataset.samples[0].target.boxes.tolist() == [[16, 12, 48, 36]]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.25 0.5 0.9", [24, 12, 40, 36]),  # with a confidence
        ("0 0.5 0.5 0.25 0.5 7", [24, 12, 40, 36]),  # with a track id
        ("0 0.5 0.5 0.25 0.5 0.91 7", [24, 12, 40, 36]),  # with both
        ("0 0.5 0.5 0.25 0.5 0.91 1", [24, 12, 40, 36]),  # 1 without a point, unlike all coordinates
        ("0 0.5 0.5 0.25 0.5 0.91 1.0", [16, 24, 58.24, 48]),  # a triangle that touches the lower edge
        ("0 0 0 1 0 1 1", [0, 0, 64, 48]),  # a triangle in whole numbers
        ("0 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75", [16, 12, 32, 36]),  # four corners
    ],
)
def test_what_a_line_holds(tmp_path: Path, line: str, expected: list[float]) -> None:
    dataset = yolo.read(make(tmp_path, {"a": line}))
    assert not dataset.issues
    np.testing.assert_allclose(dataset.samples[0].target.boxes, [expected], rtol=1e-6)


def test_a_track_in_a_file_shows_the_others(tmp_path: Path) -> None:
    dataset = yolo.read(make(tmp_path, {"a": "0 0.5 0.5 0.25 0.5 1 1\n0 0.5 0.5 0.25 0.5 0.91 12"}))
    assert dataset.samples[0].target.boxes.tolist() == [[24, 12, 40, 36]] * 2


@pytest.mark.parametrize("shape", ["[3, 2]", "[2, 3]"])
@pytest.mark.parametrize("points", ["", " 0.1 0.1 2 0.9 0.9 1", " 0 0 0 0 0 0"])
def test_keypoints_are_no_polygon(tmp_path: Path, shape: str, points: str) -> None:
    root = make(tmp_path, {"a": f"1 0.5 0.5 0.25 0.5{points}"}, f"kpt_shape: {shape}\nnames: [bolt, nut]")
    dataset = yolo.read(root)
    assert not dataset.issues
    assert dataset.samples[0].target.boxes.tolist() == [[24, 12, 40, 36]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.25 0.5 0.1 0.1 3 0.9 0.9 3", "3 is no coordinate"),  # keypoints, but no kpt_shape
        ("0 0.5 0.5 0.25 0.5 0.1 0.1 2", "give kpt_shape"),
        ("0 32 24 16 24", "32 is no coordinate: they should be fractions"),  # pixels
        ("0 24 12 40 12 40 36", "24 is no coordinate"),
    ],
)
def test_what_is_no_coordinate(tmp_path: Path, line: str, reason: str) -> None:
    (issue,) = yolo.read(make(tmp_path, {"a": line, "b": ""})).issues
    assert (issue.kind, issue.handled) == ("bad-labels", "image left out")
    assert reason in issue.detail


def test_keypoints_of_another_number(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": "0 0.5 0.5 0.25 0.5 0.1 0.1", "b": ""}, "kpt_shape: [3, 2]\nnames: [bolt]")
    (issue,) = yolo.read(root).issues
    assert "a class, a box and 6 numbers by kpt_shape, but has 7 words" in issue.detail
    for shape in ("17", "[17]", "[a, b]", "[-1, 2]"):
        (root / "data.yaml").write_text(f"kpt_shape: {shape}\nnames: [bolt]")
        with pytest.raises(DataError, match="kpt_shape: should be two numbers"):
            yolo.read(root)


@pytest.mark.parametrize(
    ("yaml", "names"),
    [
        ("names: [yes, no]", ("yes", "no")),
        ("names: [007, 1:30, 1e3]", ("007", "1:30", "1e3")),
        ("names:\n  0: on\n  1: off\n  2: null", ("on", "off", "null")),
        ("names: {0: 2024-01-01, 1: 0x10, 2: .5}", ("2024-01-01", "0x10", ".5")),
        ("names: ['a b', \"c\"]", ("a b", "c")),
    ],
)
def test_names_in_yaml_stay_as_written(tmp_path: Path, yaml: str, names: tuple[str, ...]) -> None:
    assert yolo.read(make(tmp_path, {"a": "0 0.5 0.5 0.5 0.5"}, yaml)).labels == names


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_of_files_are_compared_composed(tmp_path: Path, form: str) -> None:
    root = make(tmp_path, {unicodedata.normalize(form, "불량"): "0 0.5 0.5 0.25 0.5"})
    (label,) = (root / "labels").iterdir()
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", label.name)
    label.rename(label.with_name(other))
    dataset = yolo.read(root)
    assert [len(sample.target) for sample in dataset] == [1]
    assert not dataset.issues


def test_names_of_files_that_are_no_text(tmp_path: Path) -> None:
    dataset = yolo.read(make(tmp_path, {"\udcb0\udca1": "0 0.5 0.5 0.25 0.5"}))
    assert [len(sample.target) for sample in dataset] == [1]


def test_a_list_of_images_names_what_is_missing(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": "", "b": ""}, "train: train.txt\nval: [val.txt, more.txt]\nnames: [bolt]")
    (root / "train.txt").write_text("./images/a.png\n/data/set/images/c.png\n\n")
    (root / "val.txt").write_text("images/b.png\n")
    dataset = yolo.read(root, "train")
    assert [sample.image.name for sample in dataset] == ["a.png"]
    assert [(issue.kind, issue.handled) for issue in dataset.issues] == [("missing-image", "image left out")]
    assert [sample.image.name for sample in yolo.read(root, "val")] == ["b.png"]


def test_files_of_names_that_differ(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": ""}, yaml="")
    (root / "classes.txt").write_text("bolt")
    (root / "labels" / "classes.txt").write_text("bolt\n")
    assert yolo.read(root).labels == ("bolt",)
    (root / "labels" / "classes.txt").write_text("nut\n")
    with pytest.raises(DataError, match="give different class names: delete the wrong one"):
        yolo.read(root)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT), st.floats(0.1, WIDTH), st.floats(0.1, HEIGHT)),
        max_size=5,
    )
)
def test_pixels_survive_writing_and_reading_text(tmp_path: Path, boxes: list[tuple[float, ...]]) -> None:
    lines = [f"0 {(x + w / 2) / WIDTH!r} {(y + h / 2) / HEIGHT!r} {w / WIDTH!r} {h / HEIGHT!r}" for x, y, w, h in boxes]
    (read,) = yolo.read(make(tmp_path, {"a": "\n".join(lines)}))
    expected = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes]).reshape(-1, 4)
    np.testing.assert_allclose(read.target.boxes, expected, atol=1e-4)


def test_a_missing_label_file_is_an_empty_image_and_an_issue(tmp_path: Path) -> None:
    dataset = yolo.read(make(tmp_path, {"a": "0 0.5 0.5 0.1 0.1", "b": None}))
    assert [len(sample.target) for sample in dataset] == [1, 0]
    (issue,) = dataset.issues
    assert (issue.kind, issue.path.name) == ("missing-labels", "b.png")
    assert issue.handled == "kept as an image with no object"


def test_a_label_file_without_image_is_an_issue(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": "", "b": ""})
    (root / "images" / "b.png").unlink()
    (root / "labels" / "classes.txt").write_text("bolt\nnut\n")
    dataset = yolo.read(root)
    assert [(issue.kind, issue.path.name, issue.handled) for issue in dataset.issues] == [
        ("missing-image", "b.txt", "none")
    ]


@pytest.mark.parametrize(
    "text", ["0 0.5 0.5 0.1", "x 0.5 0.5 0.1 0.1", "0.5 0 0 0 0", "0 0 0 0 0 0 0 0", "nan 0 0 0 0", "\0"]
)
def test_bad_lines_leave_the_image_out(tmp_path: Path, text: str) -> None:
    dataset = yolo.read(make(tmp_path, {"a": f"0 0.5 0.5 0.1 0.1\n{text}\n", "b": ""}))
    assert [sample.image.name for sample in dataset] == ["b.png"]
    (issue,) = dataset.issues
    assert (issue.kind, issue.handled) == ("bad-labels", "image left out")
    assert issue.detail.startswith("line 2: ")


def test_a_label_file_that_is_not_text(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": "", "b": ""})
    (root / "labels" / "a.txt").write_bytes(b"\xff\xfe\xfd")
    assert [issue.kind for issue in yolo.read(root).issues] == ["bad-labels"]


def test_an_image_without_a_size(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": "0 0.5 0.5 0.1 0.1", "b": ""})
    (root / "images" / "a.png").write_bytes(b"no picture")
    dataset = yolo.read(root)
    assert [sample.image.name for sample in dataset] == ["b.png"]
    assert [(issue.kind, issue.handled) for issue in dataset.issues] == [("unreadable-image", "image left out")]


def test_numbers_beyond_the_names(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": "2 0.5 0.5 0.1 0.1\n-1 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1"})
    dataset = yolo.read(root, labels=["nut"])
    assert dataset.samples[0].target.labels.tolist() == [0]
    assert [issue.kind for issue in dataset.issues] == ["unknown-class"] * 2


def test_splits(tmp_path: Path) -> None:
    yaml = "path: ../elsewhere\ntrain: images/train2017\nval: ../../etc\nnames: {0: bolt, 1: nut}"
    root = make(tmp_path, {"train2017/a": "", "val2017/b": "", "val2017/c": None}, yaml)
    assert len(yolo.read(root)) == 3
    assert [s.image.name for s in yolo.read(root, "train")] == ["a.png"]
    assert [s.image.name for s in yolo.read(root / "data.yaml", "val")] == ["b.png", "c.png"]
    with pytest.raises(DataError, match=r"no split 'test'; it has: train, train2017, val2017$"):
        yolo.read(root, "test")


def test_a_folder_a_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        picture(tmp_path / split / "images" / "a.png")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnames: [bolt]")
    assert len(yolo.read(tmp_path)) == 2
    assert yolo.read(tmp_path, "val").samples[0].image == tmp_path / "valid" / "images" / "a.png"
    assert not yolo.read(tmp_path).issues


def test_the_innermost_images_folder_becomes_labels(tmp_path: Path) -> None:
    root = make(tmp_path / "images", {"a": "0 0.5 0.5 0.5 0.5"})
    inner = root / "images" / "images"
    picture(inner / "b.png")
    (root / "images" / "labels").mkdir()
    (root / "images" / "labels" / "b.txt").write_text("1 0.5 0.5 0.5 0.5")
    dataset = yolo.read(root)
    assert [sample.target.labels.tolist() for sample in dataset] == [[0], [1]]
    assert not dataset.issues


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    root = make(tmp_path / "here", {"a": ""})
    picture(tmp_path / "elsewhere" / "b.png")
    (root / "images" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "images" / "round").symlink_to(root / "images")
    assert [sample.image.name for sample in yolo.read(root)] == ["a.png", "b.png"]


def test_class_names_come_from_classes_txt_or_the_caller(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": "1 0.5 0.5 0.5 0.5"}, yaml="nc: 2")
    with pytest.raises(DataError, match=r"data\.yaml has no names:.*write .*classes\.txt"):
        yolo.read(root)
    assert yolo.read(root, labels=["x", "y"]).samples[0].target.labels.tolist() == [1]
    (root / "classes.txt").write_text("bolt\nnut\n")
    assert yolo.read(root).labels == ("bolt", "nut")


def test_sparse_names(tmp_path: Path) -> None:
    dataset = yolo.read(make(tmp_path, {"a": "7 0.5 0.5 0.5 0.5"}, "names: {7: nut, 2: bolt}"))
    assert dataset.labels == ("bolt", "nut")
    assert dataset.samples[0].target.labels.tolist() == [1]


@pytest.mark.parametrize(
    "yaml", ["names: [", "- a", "!!python/object/apply:os.getcwd []", "names: {a: b}", "names: [[1]]"]
)
def test_bad_yaml(tmp_path: Path, yaml: str) -> None:
    with pytest.raises(DataError, match=r"data\.yaml"):
        yolo.read(make(tmp_path, {"a": ""}, yaml))


def test_several_yaml_files(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": ""})
    (root / "training.yaml").write_text("epochs: 3")
    assert yolo.read(root).labels == ("bolt", "nut")
    (root / "other.yaml").write_text("names: [x]")
    with pytest.raises(DataError, match=r"data\.yaml, other\.yaml|other\.yaml, data\.yaml"):
        yolo.read(root)
    assert yolo.read(root / "other.yaml").labels == ("x",)


def test_no_images(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": ""})
    shutil.rmtree(root / "images")
    (root / "images").mkdir()
    with pytest.raises(DataError, match=r"no usable image .* looked for image files in .*images"):
        yolo.read(root)


def _exif(orientation: int) -> bytes:
    tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
    return b"Exif\0\0" + tiff


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("turned", [False, True])
def test_image_size_is_that_of_the_decoded_image(tmp_path: Path, suffix: str, turned: bool) -> None:
    path = picture(tmp_path / f"a{suffix}")
    if turned and suffix == ".jpg":
        data, exif = path.read_bytes(), _exif(6)
        path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    height, width = read_image(path).shape[:2]
    assert image_size(path) == (width, height)
    assert (width < height) == (turned and suffix == ".jpg")


def test_coco128() -> None:
    root = shared("data/coco128_yolo")
    dataset = yolo.read(root, "train")
    assert len(dataset) == 128
    assert sum(len(sample.target) for sample in dataset) == 929
    assert (dataset.labels[0], len(dataset.labels)) == ("person", 80)
    without = {sample.image.stem for sample in dataset if not len(sample.target)}
    missing = [issue.path.stem for issue in dataset.issues if issue.kind == "missing-labels"]
    assert missing == ["000000000250", "000000000508"]
    assert without == set(missing)
    assert [i.path.stem for i in dataset.issues if i.kind == "missing-image"] == ["000000000656", "000000000659"]
    for sample in dataset.samples[::10]:
        height, width = read_image(sample.image).shape[:2]
        rows = np.loadtxt(root / "labels/train2017" / f"{sample.image.stem}.txt", ndmin=2)
        centres = (sample.target.boxes[:, :2] + sample.target.boxes[:, 2:]) / 2 / (width, height)
        np.testing.assert_allclose(centres, rows[:, 1:3], atol=1e-6)
        np.testing.assert_array_equal(sample.target.labels, rows[:, 0])

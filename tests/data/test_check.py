"""The check: every kind of fault is found once, and the clean data set has none."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ssd_edge.cli.check_data import check_data
from ssd_edge.data.check import check_boxes, check_dataset
from ssd_edge.data.dataset import Dataset, Issue, Sample, Target
from ssd_edge.data.readers import open_dataset
from tests.data import test_yolo
from tests.helpers import shared

WIDTH, HEIGHT = 60, 40
GOOD = [1.0, 2.0, 30.0, 20.0]


def picture(path: Path, shade: int, suffix: str = ".png") -> Path:
    path = path.with_suffix(suffix)
    noise = np.random.default_rng(shade).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


def dataset(samples: list[Sample], *issues: Issue) -> Dataset:
    return Dataset(Path("my data"), "voc", "train", ("bolt", "nut"), samples, issues)


@pytest.mark.parametrize(
    ("box", "kind", "handled"),
    [
        ([5, 5, 5, 9], "no-area", "box left out"),
        ([9, 5, 5, 9], "no-area", "box left out"),
        ([float("nan"), 5, 5, 9], "no-area", "box left out"),
        ([0, 0, float("inf"), 9], "no-area", "box left out"),
        ([60, 0, 70, 9], "outside-image", "box left out"),
        ([-9, 0, 0, 9], "outside-image", "box left out"),
        ([0, -9, 9, -1], "outside-image", "box left out"),
        ([-2, 0, 9, 9], "outside-image", "box clipped"),
        ([0, 0, 9, 41.5], "outside-image", "box clipped"),
        (GOOD, "duplicate-box", "box left out"),
    ],
)
def test_each_fault_of_a_box(box: list[float], kind: str, handled: str) -> None:
    clean, problems = check_boxes(Target.of([GOOD, box], [1, 1]), WIDTH, HEIGHT)
    assert [(problem.kind, problem.handled) for problem in problems] == [(kind, handled)]
    assert len(clean) == (2 if handled == "box clipped" else 1)
    assert clean.boxes[0].tolist() == GOOD


def test_boxes_without_a_fault() -> None:
    target = Target.of([GOOD, GOOD, [0, 0, 60, 40], [-1, 0, 61, 40]], [0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0])
    clean, problems = check_boxes(target, WIDTH, HEIGHT)
    assert not problems
    assert clean.boxes[3].tolist() == [0, 0, 60, 40]  # one pixel outside is clipped without an issue
    np.testing.assert_array_equal(clean.difficult, target.difficult)
    np.testing.assert_array_equal(clean.crowd, target.crowd)
    assert len(check_boxes(Target.of([], []), WIDTH, HEIGHT)[0]) == 0


@given(
    st.lists(
        st.tuples(
            *[st.floats(-(2.0**99), 2.0**99, width=32) | st.sampled_from([0.0, 60.0, 40.0, 7.0, float("nan")])] * 4
        ),
        max_size=6,
    )
)
def test_remaining_boxes_are_sound(boxes: list[tuple[float, ...]]) -> None:
    target = Target.of(boxes, [0] * len(boxes))
    clean, problems = check_boxes(target, WIDTH, HEIGHT)
    assert len(clean) + sum(problem.handled == "box left out" for problem in problems) == len(boxes)
    x1, y1, x2, y2 = clean.boxes.T
    assert ((x1 >= 0) & (y1 >= 0) & (x2 <= WIDTH) & (y2 <= HEIGHT) & (x1 < x2) & (y1 < y2)).all()


def _header_of_a_huge_image(path: Path) -> Path:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 90_000, 90_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk)))
    return path


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    good = picture(tmp_path / "a", 1)
    cut_jpeg, cut_png = picture(tmp_path / "b", 2, ".jpg"), picture(tmp_path / "c", 3)
    for path in (cut_jpeg, cut_png):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    empty = tmp_path / "d.png"
    empty.touch()
    huge = _header_of_a_huge_image(tmp_path / "e.png")
    missing = tmp_path / "f.png"
    paths = [good, cut_jpeg, cut_png, empty, huge, missing]
    report = check_dataset(dataset([Sample(path, Target.of([GOOD], [0])) for path in paths]))
    assert [sample.image for sample in report.clean] == [good]
    assert [(issue.kind, issue.path) for issue in report.issues] == [
        *(("unreadable-image", path) for path in (cut_jpeg, cut_png, empty, huge)),
        ("missing-image", missing),
    ]
    assert {issue.handled for issue in report.issues} == {"image left out"}
    assert report.summary() == (
        "left out 5 images of 6 images (ssd-edge check-data 'my data' --split train lists them)"
    )


def test_the_same_picture_twice(tmp_path: Path) -> None:
    first, other = picture(tmp_path / "a", 1), picture(tmp_path / "b", 2)
    copy = tmp_path / "copy.png"
    copy.write_bytes(first.read_bytes())
    one, none = Target.of([GOOD], [0]), Target.of([], [])
    samples = [Sample(first, one), Sample(other, one), Sample(copy, one), Sample(copy, none), Sample(first, one)]
    report = check_dataset(dataset(samples))
    assert [sample.image for sample in report.clean] == [first, other]
    assert [(issue.kind, issue.path) for issue in report.issues] == [
        ("duplicate-image", path) for path in (copy, copy, first)
    ]
    details = [issue.detail for issue in report.issues]
    assert details == [
        f"the same picture as {first}",
        f"the same picture as {first}, but with other objects",
        "listed more than once",
    ]


def test_the_report_adds_up(tmp_path: Path) -> None:
    early = Issue("bad-labels", Path("x.xml"), "it is no XML", "image left out")
    boxes = Target.of([GOOD, [5, 5, 5, 5], [-9, 0, 20, 10]], [1, 1, 1])
    samples = [Sample(picture(tmp_path / "a", 1), boxes), Sample(picture(tmp_path / "b", 2), Target.of([], []))]
    seen: list[tuple[int, int]] = []
    report = check_dataset(dataset(samples, early), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert report.issues[0] is early
    assert not report.clean.issues
    assert report.counts() == {"bad-labels": 1, "no-area": 1, "outside-image": 1}
    assert (report.images, report.objects) == (3, 2)
    bolt, nut = report.classes()
    assert bolt == ("bolt", 0, 0, None, None, 0)
    assert nut == ("nut", 1, 2, 24.5, 14.0, 2)  # 29 × 18 and, clipped, 20 × 10
    assert report.summary().startswith("left out 1 image and 1 box of 3 images, clipped 1 box (")
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (content["images"], content["images_kept"], content["objects_kept"]) == (3, 2, 2)
    assert [issue["kind"] for issue in content["issues"]] == list(report.counts())


def test_a_second_check_finds_nothing(tmp_path: Path) -> None:
    boxes = Target.of([GOOD, GOOD, [-9, 0, 20, 10], [float("nan")] * 4], [0] * 4)
    first = check_dataset(dataset([Sample(picture(tmp_path / "a", 1), boxes)]))
    second = check_dataset(first.clean)
    assert not second.issues
    assert second.clean.fingerprint() == first.clean.fingerprint()
    assert second.summary() == "nothing wrong in 1 image with 2 boxes"


def test_no_samples() -> None:
    report = check_dataset(dataset([]))
    assert (report.images, report.objects, report.issues) == (0, 0, ())
    assert report.summary() == "nothing wrong in 0 images with 0 boxes"


def test_what_can_be_learnt_from_is_counted(tmp_path: Path) -> None:
    """Of three boxes one is difficult and one a crowd; without the third, there is nothing to learn from."""
    boxes = [GOOD, [2, 2, 9, 9], [3, 3, 9, 9]]
    some = Sample(picture(tmp_path / "a", 1), Target.of(boxes, [0, 0, 1], [0, 1, 0], [0, 0, 1]))
    report = check_dataset(dataset([some]))
    assert (report.objects, report.objects_to_find) == (3, 1)
    assert [row.to_find for row in report.classes()] == [1, 0]
    assert report.summary() == "nothing wrong in 1 image with 3 boxes; 2 of 3 boxes are crowds or difficult"
    none = Sample(some.image, some.target.where(~some.target.to_find))
    assert check_dataset(dataset([none])).summary() == (
        "no object to learn from or to find in 1 image, 2 boxes of crowds or difficult objects"
    )
    empty = Sample(some.image, Target.of([], []))
    assert check_dataset(dataset([empty])).summary() == "no object to learn from or to find in 1 image"


def test_classes_that_the_class_list_lacks_are_named_and_not_promised_by_check_data(tmp_path: Path) -> None:
    """check-data reads with the data set's own classes, so it cannot list them; class number 5 has no name, and is."""
    root = test_yolo.make(tmp_path, {"a": "0 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.4 0.4\n1 0.5 0.5 0.2 0.2\n5 0.5 0.5 0.1 0.1"})
    report = check_dataset(open_dataset(root, labels=["bolt", "gear"]))
    assert report.unknown_classes() == {"nut": 2}
    assert report.summary() == (
        f"left out 1 box of 1 image (ssd-edge check-data {root} lists it); "
        "left out 2 boxes of 1 image, of a class that is not in the class list: nut (2)"
    )
    assert report.to_json()["unknown_classes"] == {"nut": 2}


def _cli() -> typer.Typer:
    app = typer.Typer()
    app.command()(check_data)
    return app


def test_command_on_good_and_bad_data(tmp_path: Path) -> None:
    good = test_yolo.make(tmp_path / "good", {"a": "0 0.5 0.5 0.5 0.5"}, 'names: ["bo[bold]lt\\e[31m"]')
    result = CliRunner().invoke(_cli(), [str(good)])
    assert result.exit_code == 0
    assert "nothing wrong in 1 image with 1 box" in result.stdout
    assert "bo[bold]lt�[31m" in result.stdout  # neither markup nor terminal escapes from a data set

    bad = test_yolo.make(tmp_path / "bad", {f"{i:03}": "9 0.5 0.5 0.5 0.5\n" for i in range(25)})
    result = CliRunner().invoke(_cli(), [str(bad)])
    assert result.exit_code == 1
    assert "… and 29 more: add --all" in result.stdout  # 25 classes, and 24 times the same picture
    result = CliRunner().invoke(_cli(), [str(bad), "--all"])
    assert result.stdout.count("duplicate-image: ") == 24


def test_command_as_json(tmp_path: Path) -> None:
    root = test_yolo.make(tmp_path, {"a": None, "deep/b": "0 0.5 0.5 0.5 0.5"})
    result = CliRunner().invoke(_cli(), [str(root), "--json"])
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["counts"] == {"missing-labels": 1, "duplicate-image": 1}


@pytest.mark.slow
def test_bccd_has_two_boxes_of_no_area() -> None:
    issues = [issue for split in ("train", "val", "test") for issue in _real("bccd", split)]
    assert [issue.kind for issue in issues] == ["no-area"] * 2


@pytest.mark.slow
def test_coco128_is_sound_but_for_its_label_files() -> None:
    assert [issue.kind for issue in _real("coco128_yolo", "")] == ["missing-labels"] * 2 + ["missing-image"] * 2


def _real(path: str, split: str) -> tuple[Issue, ...]:
    return check_dataset(open_dataset(shared(f"data/{path}"), split)).issues


def test_another_class_list_numbers_objects_by_name():
    boxes = [[0, 0, 9, 9], [10, 0, 19, 9], [20, 0, 29, 9]]
    target = Target.of(boxes, [1, 0, 1], difficult=[False, False, True])
    own = Dataset(Path("my data"), "voc", "train", ("bolt", "nut"), [Sample(Path("a.png"), target, (30, 10))])
    (sample,) = own.with_labels(("gear", "washer", "nut")).samples
    assert sample.target.labels.tolist() == [2, 2]
    assert sample.target.boxes.tolist() == [boxes[0], boxes[2]]
    assert sample.target.difficult.tolist() == [False, True]
    assert sample.declared == (30, 10)
    assert own.with_labels(own.labels).samples[0].target.labels.tolist() == [1, 0, 1]
    assert len(Dataset(Path("my data"), "yolo", "", (), []).with_labels(("a",))) == 0

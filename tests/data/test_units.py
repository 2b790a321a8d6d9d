"""Units of labels: boxes of another picture size, of the unturned picture, fractions, and values of few bits."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ssd_edge.cli.main import app
from ssd_edge.data.check import check_dataset
from ssd_edge.data.dataset import Dataset, Sample, Target
from ssd_edge.data.readers import open_dataset
from ssd_edge.data.report import Report
from tests.data import test_coco, test_picture, test_voc, test_yolo
from tests.data.test_check import picture

WIDTH, HEIGHT = 60, 40  # of the pictures
BOX = [10.0, 4.0, 30.0, 20.0]


def check(tmp_path: Path, *samples: tuple[list[list[float]], tuple[int, int] | None], form: str = "voc") -> Report:
    made = [
        Sample(picture(tmp_path / f"{k}", k), Target.of(boxes, [0] * len(boxes)), declared)
        for k, (boxes, declared) in enumerate(samples)
    ]
    return check_dataset(Dataset(Path("data"), form, "", ("bolt",), made))


def facts(report: Report) -> list[tuple[str, str]]:
    return [(issue.kind, issue.handled) for issue in report.issues]


@pytest.mark.parametrize("declared", [None, (WIDTH, HEIGHT)])
def test_a_declared_size_that_is_right_or_absent(tmp_path: Path, declared: tuple[int, int] | None) -> None:
    report = check(tmp_path, ([BOX], declared))
    assert facts(report) == []
    assert report.clean.samples[0].target.boxes.tolist() == [BOX]


def test_boxes_of_a_smaller_and_a_larger_picture_are_scaled(tmp_path: Path) -> None:
    report = check(tmp_path, ([[5, 2, 15, 10]], (30, 20)), ([[20, 8, 60, 40]], (120, 80)), ([BOX], (60, 40)))
    assert facts(report) == [("size-mismatch", "boxes scaled")] * 2
    assert [sample.target.boxes.tolist() for sample in report.clean] == [[BOX]] * 3
    assert report.issues[0].detail == "its labels declare 30×20, but the image is 60×40"
    assert "scaled the boxes of 2 images" in report.summary()
    assert check_dataset(report.clean).issues == ()


def test_a_declared_size_of_another_shape_leaves_the_image_out(tmp_path: Path) -> None:
    report = check(tmp_path, ([BOX], (40, 60)), ([BOX], (60, 60)), ([], (50, 60)), ([BOX], None))
    assert facts(report) == [("size-mismatch", "image left out")] * 3
    assert len(report.clean) == 1


def test_a_declared_size_that_boxes_contradict_is_not_used(tmp_path: Path) -> None:
    """A script wrote 30×20 for every image: one box shows that they are in the picture's own pixels."""
    report = check(tmp_path, ([[5, 2, 15, 10]], (30, 20)), ([[40, 20, 50, 30]], (30, 20)), ([BOX], None))
    assert facts(report) == [("size-mismatch", "image left out")] * 2
    assert "correct the declared sizes" in report.issues[0].detail


def test_one_pixel_of_rounding_is_still_the_same_shape(tmp_path: Path) -> None:
    report = check(tmp_path, ([[5, 2, 15, 10]], (30, 21)))
    assert facts(report) == [("size-mismatch", "boxes scaled")]
    np.testing.assert_allclose(report.clean.samples[0].target.boxes, [[10, 80 / 21, 30, 400 / 21]], rtol=1e-6)


def _turned(tmp_path: Path, box: list[float], declared: tuple[int, int]) -> Report:
    path = tmp_path / "turned.jpg"
    path.write_bytes(test_picture.jpeg(test_picture.block(6)))  # 48×32 stored, 32×48 upright
    return check_dataset(Dataset(Path("data"), "voc", "", ("a",), [Sample(path, Target.of([box], [0]), declared)]))


def test_boxes_of_the_unturned_picture_are_turned(tmp_path: Path) -> None:
    report = _turned(tmp_path, [0, 0, 8, 4], (48, 32))
    assert facts(report) == [("size-mismatch", "boxes turned")]
    assert report.clean.samples[0].target.boxes.tolist() == [[28, 0, 32, 8]]  # the first corner is now the upper right
    assert "turned the boxes of 1 image" in report.summary()


def test_boxes_that_fit_only_the_turned_picture_stay(tmp_path: Path) -> None:
    report = _turned(tmp_path, [0, 36, 8, 46], (48, 32))
    assert facts(report) == [("size-mismatch", "none")]
    assert report.clean.samples[0].target.boxes.tolist() == [[0, 36, 8, 46]]
    assert facts(_turned(tmp_path, [0, 36, 8, 46], (32, 48))) == []


@pytest.mark.parametrize("form", ["voc", "coco"])
def test_fractions_are_multiplied(tmp_path: Path, form: str) -> None:
    report = check(tmp_path, ([[0.25, 0.25, 0.5, 1]], (60, 40)), ([], None), ([[0, 0, 1, 1]], (30, 20)), form=form)
    assert facts(report) == [("fraction-boxes", "boxes scaled")] * 2
    assert [sample.target.boxes.tolist() for sample in report.clean] == [[[15, 10, 30, 40]], [], [[0, 0, 60, 40]]]


def test_a_box_of_one_pixel_is_no_fraction(tmp_path: Path) -> None:
    report = check(tmp_path, ([[0, 0, 1, 1]], None))
    assert facts(report) == []
    assert report.clean.samples[0].target.boxes.tolist() == [[0, 0, 1, 1]]


def test_boxes_under_a_pixel_are_listed(tmp_path: Path) -> None:
    tiny = [[0.25, 0.25, 0.5, 1], [5, 5, 5.9, 30], [5, 5, 30, 5.5], [59.5, 0, 80, 30]]
    report = check(tmp_path, ([*tiny, BOX], None))
    assert facts(report) == [("no-area", "box left out")] * 4
    assert "less than a pixel" in report.issues[0].detail
    assert report.clean.samples[0].target.boxes.tolist() == [BOX]


def test_readers_hand_on_the_declared_size(tmp_path: Path) -> None:
    size = "<annotation><size><width>{}</width><height>{}</height></size>"
    xml = {
        name: test_voc.annotation(("nut", 1, 1, 9, 9)).replace("<annotation>", size.format(*numbers))
        for name, numbers in {"a": (60, 40), "b": (0, 0), "c": ("60.0", "x"), "d": ("", ""), "e": (60, "1e40")}.items()
    }
    root = test_voc.make(tmp_path / "voc", xml | {"f": test_voc.annotation()})
    assert [sample.declared for sample in open_dataset(root)] == [(60, 40), *[None] * 5]
    images = [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}, {"id": 2, "file_name": "b.jpg", "width": 0}]
    images += [{"id": 3, "file_name": "c.jpg", "width": None, "height": None}]
    file = test_coco.write(tmp_path / "x.json", images, [])
    assert [sample.declared for sample in open_dataset(file)] == [(60, 40), None, None]


def _deep(tmp_path: Path, largest: int) -> Path:
    root = test_yolo.make(tmp_path, {"a": "0 0.5 0.5 0.5 0.5"})
    values = np.zeros((48, 64), np.uint16)
    values[0, 0] = largest
    assert cv2.imwrite(str(root / "images" / "a.png"), values)
    return root


@pytest.mark.parametrize(("largest", "bits"), [(4095, 12), (900, 10), (16383, 14), (255, 8), (0, 8)])
def test_few_of_sixteen_bits_are_listed(tmp_path: Path, largest: int, bits: int) -> None:
    (issue,) = check_dataset(open_dataset(_deep(tmp_path, largest))).issues
    assert (issue.kind, issue.handled) == ("unused-bits", "none")
    assert f"its largest value is {largest} of 65535" in issue.detail
    assert f"ssd-edge --image-bits {bits} " in issue.detail


def test_all_sixteen_bits_are_no_problem(tmp_path: Path) -> None:
    assert check_dataset(open_dataset(_deep(tmp_path, 20000))).issues == ()


def test_the_options_reach_the_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSD_EDGE_IMAGE_BITS", "16")  # restored afterwards, as the program sets it
    monkeypatch.setenv("SSD_EDGE_MAX_PIXELS", "1000000")
    root = _deep(tmp_path, 4000)
    result = CliRunner().invoke(app, ["check-data", str(root)])
    assert (result.exit_code, "unused-bits" in result.stdout) == (1, True)
    result = CliRunner().invoke(app, ["--image-bits", "12", "check-data", str(root)])
    assert (result.exit_code, "nothing wrong in 1 image" in result.stdout) == (0, True)
    result = CliRunner().invoke(app, ["--max-pixels", "3000", "check-data", str(root)])
    assert (result.exit_code, "declares 64×48 pixels, more than the 3000" in result.stdout) == (1, True)

"""The comparison with shared/cases: every input has an expectation, and an expectation fails where the program errs."""

from __future__ import annotations

from dataclasses import replace

import case_expectations as right
import cases
import cv2
import numpy as np
import pytest

from tests.helpers import shared


def test_every_folder_has_an_expectation():
    folder = shared("cases")
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {name.split("/")[0] for name in cases.CASES}
    assert [name for name in cases.CASES if not (folder / name).exists()] == []


@pytest.fixture
def yolo(tmp_path):
    """Four different pictures of 160×120 in a train part, with the object in its place."""
    random = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").mkdir(parents=True)
    for k in range(4):
        cv2.imwrite(str(tmp_path / "images" / "train" / f"{k}.png"), random.integers(0, 256, (120, 160, 3), np.uint8))
        (tmp_path / "labels" / "train" / f"{k}.txt").write_text("0 0.4375 0.416667 0.25 0.333333\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [bolt]\n")
    return tmp_path


def test_a_data_set_that_is_read_is_right(yolo):
    assert cases.wrong_with(right.is_read, yolo) == ""
    assert cases.wrong_with(right.is_box_or_sentence, yolo) == ""
    assert cases.wrong_with(right.separates_copies, yolo) == ""
    assert cases.wrong_with(right.holds_out_objects, yolo) == ""
    assert cases.wrong_with(right.none_is_difficult, yolo) == ""


def test_a_box_elsewhere_is_wrong(yolo):
    (yolo / "labels" / "train" / "2.txt").write_text("0 0.5 0.416667 0.25 0.333333\n")
    assert cases.wrong_with(right.is_read, yolo).startswith("2.png: boxes [[60.0")


def test_a_class_of_another_name_and_a_missing_image_are_wrong(yolo):
    (yolo / "data.yaml").write_text("train: images/train\nnames: [nut]\n")
    assert cases.wrong_with(right.is_read, yolo) == "classes ('nut',), not ('bolt',)"
    (yolo / "data.yaml").write_text("train: images/train\nnames: [bolt]\n")
    (yolo / "images" / "train" / "3.png").write_bytes(b"no picture")
    assert cases.wrong_with(right.is_read, yolo) == "3 images, not 4"


def test_a_copy_on_the_other_side_is_wrong(yolo, monkeypatch):
    training, validation = right.parts_of(yolo)
    monkeypatch.setattr(right, "parts_of", lambda path: (training, replace(validation, samples=training.samples[:1])))
    assert "1 validation pictures are in training" in cases.wrong_with(right.separates_copies, yolo)


def test_what_is_never_to_be_learnt_from(yolo):
    keeps = {"train_names": right.numbers((0, 2)), "val_names": right.numbers((3, 3))}
    said = cases.wrong_with(lambda path, folder: right.keeps_splits(path, folder, **keeps), yolo)
    assert "trains on" in said or "validates on" in said
    assert right.numbers((0, 1), (10, 11)) == {"0", "1", "10", "11"}
    assert right.numbers() == set()


def test_a_broken_program_is_wrong(tmp_path):
    def fails(path, folder):
        raise ZeroDivisionError("divided")

    assert cases.wrong_with(fails, tmp_path) == "ZeroDivisionError: divided"
    assert cases.wrong_with(right.is_read, tmp_path / "absent").startswith("DataError: ")


@pytest.mark.slow
def test_nothing_wrong_is_not_listed(yolo):
    """A command's exit code and JSON are read: a sound set lists nothing, one with a missing picture does."""
    assert (
        cases.wrong_with(lambda path, _: right.expect_listed(path), yolo) == "check-data lists nothing, and ends with 0"
    )
    (yolo / "images" / "train" / "3.png").write_bytes(b"no picture")
    assert cases.wrong_with(lambda path, _: right.expect_listed(path, "unreadable"), yolo) == ""
    said = cases.wrong_with(lambda path, _: right.expect_listed(path, "size-mismatch"), yolo)
    assert said.startswith("check-data lists only ['unreadable-image")


def test_the_figure_counts_and_names_the_wrong_ones(tmp_path, monkeypatch):
    def is_wrong(path, folder):
        raise right.WrongError(f"{path.name} is wrong")

    monkeypatch.setattr(cases.figure, "SHARED", tmp_path)
    (tmp_path / "cases").mkdir()
    monkeypatch.setattr(cases, "CASES", {"01-a": lambda path, folder: None, "02-b": is_wrong})
    figure = cases.measure(["01-a", "02-b"])
    assert (figure.value, figure.unit, figure.met) == (1, "of 2 inputs are treated right", False)
    assert figure.detail["wrong"] == {"02-b": "02-b is wrong"}
    assert set(figure.detail["seconds"]) == {"01-a", "02-b"}
    assert cases.measure(["01-a"]).met

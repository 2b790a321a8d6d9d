"""``open_dataset``: it recognises the format from the files on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssd_edge.data.readers import FORMATS, open_dataset
from ssd_edge.errors import DataError
from tests.data import test_coco, test_voc, test_yolo
from tests.helpers import shared


def test_each_format_is_recognised(tmp_path: Path) -> None:
    voc = test_voc.make(tmp_path / "voc", {"a": test_voc.annotation()})
    test_coco.write(tmp_path / "coco" / "annotations" / "instances_val.json", test_coco.TWO, [])
    yolo = test_yolo.make(tmp_path / "yolo", {"a": ""})
    (tmp_path / "nested").mkdir()
    voc_below = test_voc.make(tmp_path / "nested" / "VOC2007", {"a": test_voc.annotation()}).parent
    paths = {
        voc: "voc",
        voc_below: "voc",
        tmp_path / "coco": "coco",
        tmp_path / "coco" / "annotations" / "instances_val.json": "coco",
        yolo: "yolo",
        yolo / "data.yaml": "yolo",
    }
    assert {path: open_dataset(path).format for path in paths} == paths
    assert all(open_dataset(path).root == path for path in paths)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match=r"looked for Pascal VOC.*COCO.*YOLO"):
        open_dataset(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="no data set found"):
        open_dataset(tmp_path / "notes.txt")


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setitem(FORMATS, "voc", FORMATS["voc"]._replace(recognises=refuse))
    with pytest.raises(DataError, match=r"^cannot read .*: Permission denied$"):
        open_dataset(tmp_path)


def test_labels_and_split_are_passed_on(tmp_path: Path) -> None:
    root = test_yolo.make(tmp_path, {"train/a": "1 0.5 0.5 0.5 0.5", "val/b": ""})
    dataset = open_dataset(root, "train", labels=["nut"])
    assert (len(dataset), dataset.split, dataset.labels) == (1, "train", ("nut",))
    assert dataset.samples[0].target.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("path", "split", "form", "images"),
    [("bccd", "test", "voc", 72), ("tiny_coco", "val", "coco", 50), ("coco128_yolo", "", "yolo", 128)],
)
def test_real_data(path: str, split: str, form: str, images: int) -> None:
    dataset = open_dataset(shared(f"data/{path}"), split)
    assert (dataset.format, len(dataset)) == (form, images)
    assert dataset.fingerprint() == open_dataset(shared(f"data/{path}"), split).fingerprint()

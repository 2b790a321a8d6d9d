"""COCO files: sparse ids, crowds, layouts, and malformed files."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssd_edge.data import coco
from ssd_edge.errors import DataError
from tests.helpers import shared

CATEGORIES = [{"id": 44, "name": "nut"}, {"id": 7, "name": "bolt"}]


def box(image: int, category: int = 7, numbers: Any = (1, 2, 3, 4), **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": category, "bbox": numbers, "iscrowd": 0, **more}


def write(path: Path, images: list[Any], annotations: list[Any], categories: list[Any] = CATEGORIES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


TWO = [{"id": 20, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}]


def test_boxes_become_edges_and_ids_become_places(tmp_path: Path) -> None:
    rows = [box(20, 44, [10, 20, 5.5, 6]), box(20, 7, [0, 0, 1, 1], iscrowd=1)]
    dataset = coco.read(write(tmp_path / "labels.json", TWO, rows))
    assert dataset.labels == ("bolt", "nut")
    assert [sample.image.name for sample in dataset] == ["a.jpg", "b.jpg"]
    empty, full = (sample.target for sample in dataset)
    assert len(empty) == 0
    np.testing.assert_array_equal(full.boxes, np.array([[10, 20, 15.5, 26], [0, 0, 1, 1]], np.float32))
    assert full.labels.tolist() == [1, 0]
    assert full.crowd.tolist() == [False, True]
    assert not full.difficult.any()


@pytest.mark.parametrize("images", ["train2017", "images/train2017", "images", ".", "annotations"])
def test_finds_the_images(tmp_path: Path, images: str) -> None:
    write(tmp_path / "annotations" / "instances_train2017.json", TWO, [])
    (tmp_path / "images").mkdir()
    (tmp_path / images).mkdir(exist_ok=True, parents=True)
    (tmp_path / images / "b.jpg").touch()
    for path, split in ((tmp_path, ""), (tmp_path, "train"), (tmp_path.parent / tmp_path.name, "train2017")):
        dataset = coco.read(path, split)
        assert dataset.split == "train2017"
        assert dataset.samples[1].image == tmp_path / images / "b.jpg"


def test_a_file_is_found_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "annotations" / "instances_val.json", TWO, [])
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "a.jpg").touch()
    monkeypatch.chdir(tmp_path / "annotations")
    assert coco.read(Path("instances_val.json")).samples[0].image == tmp_path / "val" / "a.jpg"


def test_a_folder_a_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write(tmp_path / split / "_annotations.coco.json", TWO, [])
    assert coco.read(tmp_path, "valid").samples[0].image == tmp_path / "valid" / "a.jpg"


def test_splits_must_be_named_and_known(tmp_path: Path) -> None:
    for split in ("train2017", "val2014", "val2017"):
        write(tmp_path / "annotations" / f"instances_{split}.json", TWO, [])
    with pytest.raises(DataError, match=r"name one with --split: train2017, val2014, val2017"):
        coco.read(tmp_path)
    with pytest.raises(DataError, match=r"no split 'test'; it has: train2017, val2014, val2017"):
        coco.read(tmp_path, "test")
    with pytest.raises(DataError, match=r"several splits that begin with 'val'"):
        coco.read(tmp_path, "val")
    assert coco.read(tmp_path, "train").split == "train2017"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (box(3, numbers=[1, 2, 3]), "four numbers"),
        (box(3, numbers=None), "four numbers"),
        (box(3, numbers=[1, 2, 3, "x"]), "'x' is not a number"),
        (box(3, numbers=[1, 2, 3, [4]]), "is not a number"),
        (box(3, category_id=None), "category_id"),
    ],
)
def test_a_bad_annotation_costs_one_box(tmp_path: Path, row: Any, reason: str) -> None:
    dataset = coco.read(write(tmp_path / "x.json", TWO, [box(3), row, row, box(20)]))
    assert [(sample.image.name, len(sample.target)) for sample in dataset] == [("a.jpg", 1), ("b.jpg", 1)]
    assert [(issue.kind, issue.handled) for issue in dataset.issues] == [("bad-labels", "box left out")] * 2
    assert reason in dataset.issues[0].detail
    assert "image 3" in dataset.issues[0].detail


def test_unknown_classes_and_images(tmp_path: Path) -> None:
    source = write(tmp_path / "x.json", TWO, [box(3, 99), box(3, 44), box(3, 7), box(77), 5])
    dataset = coco.read(source, labels=["nut"])
    assert dataset.labels == ("nut",)
    assert dataset.samples[0].target.labels.tolist() == [0]
    assert [issue.kind for issue in dataset.issues] == ["bad-labels"] * 2 + ["unknown-class"] * 2
    assert {issue.handled for issue in dataset.issues} == {"box left out"}
    assert "number 99" in dataset.issues[2].detail
    assert "'bolt'" in dataset.issues[3].detail


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/a.jpg", "c:/a.jpg", "x/../../a.jpg", "", None, "\ud800", "a\0b", "a" * 999]
)
def test_names_may_not_lead_out(tmp_path: Path, name: str | None) -> None:
    images = [*TWO, {"id": 9, "file_name": name}, "no image", {"id": 3, "file_name": "again.jpg"}]
    dataset = coco.read(write(tmp_path / "x.json", images, []))
    assert [sample.image.name for sample in dataset] == ["a.jpg", "b.jpg"]
    assert [issue.kind for issue in dataset.issues] == ["bad-labels"] * 3


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"images": []}', "[" * 100_000, '{"images": 3}'])
def test_files_that_are_not_coco(tmp_path: Path, text: str) -> None:
    source = tmp_path / "x.json"
    source.write_text(text)
    with pytest.raises(DataError, match=r"x\.json"):
        coco.read(source)


@pytest.mark.parametrize("categories", [[{"id": 1}], [{"name": "a"}], [*CATEGORIES, {"id": 7, "name": "c"}], [3]])
def test_bad_categories(tmp_path: Path, categories: list[Any]) -> None:
    with pytest.raises(DataError, match='each of "categories"'):
        coco.read(write(tmp_path / "x.json", TWO, [], categories))


@pytest.mark.parametrize(
    "ids",
    [("000", "001"), (0.0, 1.0), ("a-1", "a-2"), (0, "0"), (2**70, 1)],
    ids=["zeros", "float", "text", "both", "big"],
)
def test_ids_of_scripts(tmp_path: Path, ids: tuple[Any, Any]) -> None:
    images = [{"id": ids[0], "file_name": "a.jpg"}, {"id": ids[1], "file_name": "b.jpg"}]
    dataset = coco.read(write(tmp_path / "x.json", images, [box(ids[1]), box(ids[1], 44)]))
    assert [len(sample.target) for sample in dataset] == [0, 2]
    assert not dataset.issues


@pytest.mark.parametrize("value", [True, None, 1.5, float("nan"), [1], ""])
def test_what_is_no_id(tmp_path: Path, value: Any) -> None:
    images = [*TWO, {"id": value, "file_name": "c.jpg"}]
    dataset = coco.read(write(tmp_path / "x.json", images, [box(3), {**box(3), "image_id": value}]))
    if value == "":  # text like any other
        assert len(dataset) == 3
    else:
        assert [issue.handled for issue in dataset.issues] == ["box left out", "image left out"]


def test_text_ids_of_categories(tmp_path: Path) -> None:
    categories = [{"id": "nut", "name": "nut"}, {"id": 9, "name": 7}, {"id": "bolt", "name": "bolt"}]
    dataset = coco.read(write(tmp_path / "x.json", TWO, [{**box(3), "category_id": "bolt"}], categories))
    assert dataset.labels == ("7", "bolt", "nut")
    assert dataset.samples[0].target.labels.tolist() == [1]


def _segment(segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"id": 5, "image_id": 3, "category_id": 7, "segmentation": segmentation, **more}


@pytest.mark.parametrize("more", [{}, {"bbox": None}, {"bbox": []}])
def test_bounds_of_polygons(tmp_path: Path, more: dict[str, Any]) -> None:
    polygons = [[10, 20, 30, 25, 15, 40.5], [5, 30, 6, 30, 6, 31]]
    dataset = coco.read(write(tmp_path / "x.json", TWO, [_segment(polygons, **more)]))
    assert dataset.samples[0].target.boxes.tolist() == [[5, 20, 30, 40.5]]
    assert not dataset.issues


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [["x"] * 6],
        [3],
        {"size": [5, 5]},
        {"size": [0, 5], "counts": [3, 4]},
        {"size": [5, 5], "counts": [-3, 4]},
        {"size": [5, 5], "counts": [25]},
        {"size": [5, 5], "counts": ""},
        {"size": [5, 5], "counts": "~~~"},
        {"size": [5, 5], "counts": "ooooooooooo"},
    ],
)
def test_segmentations_without_bounds(tmp_path: Path, segmentation: Any) -> None:
    dataset = coco.read(write(tmp_path / "x.json", TWO, [_segment(segmentation), box(3)]))
    assert len(dataset.samples[0].target) == 1
    assert [(issue.kind, issue.handled) for issue in dataset.issues] == [("bad-labels", "box left out")]
    assert "annotation 5, image 3" in dataset.issues[0].detail


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=5, max_size=5), st.booleans())
def test_bounds_of_masks(tmp_path: Path, pixels: list[list[bool]], compressed: bool) -> None:
    """The reference for the encoding is faster-coco-eval's; the bounds are counted from the mask."""
    from faster_coco_eval.core import mask

    array = np.asfortranarray(np.array(pixels, np.uint8))
    encoded = mask.encode(array)
    flat = array.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    counts = encoded["counts"].decode() if compressed else runs
    dataset = coco.read(write(tmp_path / "x.json", TWO, [_segment({"size": [5, 7], "counts": counts})]))
    if not array.any():
        assert [issue.handled for issue in dataset.issues] == ["box left out"]
        return
    ys, xs = np.nonzero(array)
    (bounds,) = dataset.samples[0].target.boxes.tolist()
    assert (bounds[0], bounds[2]) == (xs.min(), xs.max() + 1)
    whole = any(int(a) // 5 != int(b - 1) // 5 for a, b in zip(edges[::2], edges[1::2], strict=False))
    assert (bounds[1], bounds[3]) == ((0, 5) if whole else (ys.min(), ys.max() + 1))


def test_a_root_category_is_left_out(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "parts", "supercategory": "none"},
        {"id": 1, "name": "bolt", "supercategory": "parts"},
        {"id": 2, "name": "nut", "supercategory": "parts"},
    ]
    dataset = coco.read(write(tmp_path / "x.json", TWO, [box(3, 1)], categories))
    assert dataset.labels == ("bolt", "nut")  # nut has no object either, but is no root
    assert [(issue.kind, issue.handled) for issue in dataset.issues] == [("unused-class", "class left out")]
    assert "'parts'" in dataset.issues[0].detail
    assert coco.read(write(tmp_path / "x.json", TWO, [box(3, 0)], categories)).labels == ("parts", "bolt", "nut")
    alone = [{"id": 1, "name": "person", "supercategory": "person"}]
    assert coco.read(write(tmp_path / "x.json", TWO, [], alone)).labels == ("person",)


def test_paths_of_another_machine(tmp_path: Path) -> None:
    (tmp_path / "images" / "cam1").mkdir(parents=True)
    for name in ("cam1/a.jpg", "b.jpg"):
        (tmp_path / "images" / name).touch()
    names = ["/home/me/data/cam1/a.jpg", "C:\\labels\\b.jpg", "../../media/upload/b.jpg", "/etc/passwd.jpg"]
    images = [{"id": k, "file_name": name} for k, name in enumerate(names)]
    dataset = coco.read(write(tmp_path / "annotations" / "train.json", images, []))
    folder = tmp_path / "images"
    assert [sample.image for sample in dataset] == [folder / "b.jpg", folder / "b.jpg", folder / "cam1/a.jpg"]
    assert [issue.handled for issue in dataset.issues] == ["image left out"]
    assert "leads out" in dataset.issues[0].detail


def test_names_of_files_are_compared_composed(tmp_path: Path) -> None:
    apart, composed = (unicodedata.normalize(form, "불량.jpg") for form in ("NFD", "NFC"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / apart).touch()
    source = write(tmp_path / "annotations" / "train.json", [{"id": 1, "file_name": composed}], [])
    assert coco.read(source).samples[0].image == tmp_path / "images" / apart


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'no usable image .* looked for "images"'):
        coco.read(write(tmp_path / "x.json", [], []))


def test_tiny_coco() -> None:
    root = shared("data/tiny_coco")
    both = [coco.read(root, split) for split in ("train2017", "val2017")]
    assert [len(dataset) for dataset in both] == [50, 50]
    targets = [sample.target for dataset in both for sample in dataset]
    assert sum(int(target.crowd.sum()) for target in targets) == 10
    assert sum(len(target) == 0 for target in targets) == 3
    assert both[0].labels == both[1].labels
    assert (both[0].labels[0], both[0].labels[-1], len(both[0].labels)) == ("person", "toothbrush", 80)
    assert all(sample.image.is_file() for dataset in both for sample in dataset)
    assert not both[0].issues
    content = json.loads((root / "tiny_coco/annotations/instances_val2017.json").read_text())
    per_image: dict[str, list[list[float]]] = {image["file_name"]: [] for image in content["images"]}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    for each in content["annotations"]:
        per_image[files[each["image_id"]]].append(each["bbox"])
    for sample in both[1]:
        sizes = sample.target.boxes.copy()
        sizes[:, 2:] -= sizes[:, :2]
        expected = np.asarray(per_image[sample.image.name]).reshape(-1, 4)
        np.testing.assert_allclose(sizes, expected, atol=1e-4)  # float32 at 640: 6e-5

"""Layouts of labelling tools, drawn as the tools write them: each row of the table in docs/data.md has a test."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssd_edge.cli.main import app
from ssd_edge.data.check import check_dataset
from ssd_edge.data.images import image_files
from ssd_edge.data.readers import declared_splits, open_dataset
from ssd_edge.data.split import training_and_validation
from ssd_edge.data.unread import FORMATS as UNREAD
from ssd_edge.errors import DataError
from tests.data.test_yolo import picture
from tests.helpers import ROOT

LINE = "0 0.5 0.5 0.25 0.5\n"
"""In a picture of 64×48: the box 24, 12, 40, 36."""
XML = (
    "<annotation><filename>{}</filename><size><width>64</width><height>48</height><depth>3</depth></size><object>"
    "<name>bolt</name><bndbox><xmin>24</xmin><ymin>12</ymin><xmax>40</xmax><ymax>36</ymax></bndbox></object></annotation>"
)


def write(root: Path, files: dict[str, str]) -> None:
    """Write text files; a name with a picture's suffix is drawn instead."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png"):
            picture(path)
        else:
            path.write_text(text, "utf-8")


def coco(*names: str, **more: object) -> str:
    images = [{"id": k, "file_name": name, "width": 64, "height": 48} for k, name in enumerate(names)]
    boxes = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [24, 12, 16, 24], "iscrowd": 0} for k in range(len(names))
    ]
    return json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "bolt"}], **more})


READ: dict[str, tuple[str, dict[str, str]]] = {
    "`Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/*.txt`, or the folder above": (
        "voc",
        {"VOC2012/Annotations/a.xml": XML, "VOC2012/JPEGImages/a.jpg": "", "VOC2012/ImageSets/Main/train.txt": "a\n"},
    ),
    "the same with folders below `Annotations/` and `JPEGImages/` (CVAT)": (
        "voc",
        {
            "Annotations/cam1/a.xml": XML.format("cam1/a.jpg"),
            "JPEGImages/cam1/a.jpg": "",
            "ImageSets/Main/default.txt": "cam1/a\n",
        },
    ),
    "`annotations/*.xml`, `images/` in any case of letters (Label Studio)": (
        "voc",
        {"Annotations/a.xml": XML, "images/a.jpg": ""},
    ),
    "XML files beside the images (labelImg)": ("voc", {"a.xml": XML.format("a.jpg"), "a.jpg": ""}),
    "`<split>/*.xml` beside the images (Roboflow)": ("voc", {"train/a.xml": XML, "train/a.jpg": ""}),
    "`annotations/instances_<split>.json`, images in `<split>/`, `images/<split>/` or `images/` (CVAT, datumaro)": (
        "coco",
        {"annotations/instances_default.json": coco("a.jpg"), "images/default/a.jpg": ""},
    ),
    "`<split>/_annotations.coco.json` among the images (Roboflow)": (
        "coco",
        {"train/_annotations.coco.json": coco("a.jpg"), "train/a.jpg": ""},
    ),
    "`annotations/<split>.json`, `images/`": ("coco", {"annotations/train.json": coco("a.jpg"), "images/a.jpg": ""}),
    "`result.json`, `images/` (Label Studio)": ("coco", {"result.json": coco("images\\a.jpg"), "images/a.jpg": ""}),
    "`labels.json`, `data/` (FiftyOne)": ("coco", {"labels.json": coco("a.jpg"), "data/a.jpg": ""}),
    "`images/[<split>/]` beside `labels/[<split>/]`, yaml file or `classes.txt` (Ultralytics, Label Studio)": (
        "yolo",
        {"images/train/a.jpg": "", "labels/train/a.txt": LINE, "classes.txt": "bolt\n"},
    ),
    "the same with `classes.txt` in `labels/` (labelImg)": (
        "yolo",
        {"images/a.jpg": "", "labels/a.txt": LINE, "labels/classes.txt": "bolt\n"},
    ),
    "`<split>/images` beside `<split>/labels`, `data.yaml` (Roboflow)": (
        "yolo",
        {
            "train/images/a.jpg": "",
            "train/labels/a.txt": LINE,
            "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['bolt']",
        },
    ),
    "any folders that the yaml file names, or text lists of images (CVAT)": (
        "yolo",
        {
            "parts/one/images/a.jpg": "",
            "parts/one/labels/a.txt": LINE,
            "train.txt": "data/parts/one/images/a.jpg\n",
            "data.yaml": "path: .\ntrain: train.txt\nnames:\n  0: bolt",
        },
    ),
    "text files beside the images, `classes.txt` (labelImg)": (
        "yolo",
        {"a.jpg": "", "a.txt": LINE, "classes.txt": "bolt\n"},
    ),
    "`<split>/*.txt` beside the images, `_darknet.labels` (Roboflow)": (
        "yolo",
        {"train/a.jpg": "", "train/a.txt": LINE, "train/_darknet.labels": "bolt\n", "README.txt": "Hello"},
    ),
    "`obj.data`, `obj.names`, `train.txt`, `obj_train_data/` (darknet, CVAT, datumaro)": (
        "yolo",
        {
            "obj.data": "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
            "obj.names": "bolt\n",
            "train.txt": "data/obj_train_data/a.jpg\n",
            "obj_train_data/a.jpg": "",
            "obj_train_data/a.txt": LINE,
        },
    ),
    "boxes with keypoints, `kpt_shape` in the yaml file": (
        "yolo",
        {
            "images/a.jpg": "",
            "labels/a.txt": LINE.strip() + " 0.1 0.1 0.9 0.9 0.2 0.8",
            "data.yaml": "kpt_shape: [3, 2]\nnames: [bolt]",
        },
    ),
    "boxes with a confidence, or with a confidence and a track": (
        "yolo",
        {"images/a.jpg": "", "labels/a.txt": LINE.strip() + " 0.91 1", "classes.txt": "bolt"},
    ),
}


def _labelme() -> str:
    shape = {"label": "bolt", "points": [[24, 12], [40, 36]], "shape_type": "rectangle"}
    return json.dumps({"version": "5.4", "flags": {}, "shapes": [shape], "imagePath": "a.jpg", "imageData": None})


def _label_studio() -> str:
    value = {"x": 37.5, "y": 25, "width": 25, "height": 50, "rectanglelabels": ["bolt"]}
    result = {"from_name": "label", "to_name": "image", "type": "rectanglelabels", "value": value}
    return json.dumps([{"id": 1, "annotations": [{"result": [result]}], "data": {"image": "/data/upload/a.jpg"}}])


def _datumaro() -> str:
    item = {"id": "a", "annotations": [{"type": "bbox", "bbox": [24, 12, 16, 24]}], "image": {"path": "a.jpg"}}
    labels = {"label": {"labels": [{"name": "bolt", "parent": ""}]}}
    return json.dumps({"dm_format_version": "1.0", "infos": {}, "categories": labels, "items": [item]})


def _via() -> str:
    region = {"shape_attributes": {"name": "rect", "x": 24, "y": 12}, "region_attributes": {}}
    return json.dumps({"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": [region]}})


NAMED: dict[str, tuple[str, str, dict[str, str]]] = {
    "CVAT's XML (`annotations.xml`)": (
        "CVAT's own XML",
        "export the task as Pascal VOC, COCO or Ultralytics YOLO",
        {"annotations.xml": '<?xml version="1.0"?>\n<annotations><version>1.1</version></annotations>', "a.jpg": ""},
    ),
    "labelme's JSON": ("labelme's JSON", "labelme2coco", {"a.json": _labelme(), "a.jpg": ""}),
    "Label Studio's JSON": ("Label Studio's own JSON", "export as COCO", {"project-1.json": _label_studio()}),
    "datumaro's JSON": ("datumaro's own JSON", "datum convert", {"annotations/default.json": _datumaro()}),
    "VGG Image Annotator's JSON": ("VGG Image Annotator", "as COCO", {"via.json": _via(), "a.jpg": ""}),
    "CreateML's JSON (`_annotations.createml.json`)": (
        "CreateML's JSON",
        "export it again",
        {
            "train/_annotations.createml.json": json.dumps(
                [{"image": "a.jpg", "annotations": [{"label": "bolt", "coordinates": {"x": 32, "y": 24}}]}]
            ),
            "train/a.jpg": "",
        },
    ),
    "Supervisely's JSON": (
        "Supervisely's JSON",
        "export it again",
        {"ann/a.jpg.json": '{"objects": [{"classTitle": "bolt"}]}', "img/a.jpg": ""},
    ),
    "Labelbox's JSON": ("Labelbox's JSON", "export it again", {"x.ndjson": '{"data_row": {"id": "1"}}'}),
    "COCO's panoptic file": (
        "COCO's panoptic JSON",
        "instances file",
        {"panoptic.json": '{"images": [], "annotations": [{"segments_info": []}]}'},
    ),
    "COCO's captions": (
        "COCO's captions",
        "instances file",
        {"captions.json": '{"images": [], "annotations": [{"image_id": 1, "caption": "a bolt"}]}'},
    ),
    "tables of boxes (`_annotations.csv` of TensorFlow, Open Images)": (
        "a CSV table of boxes",
        "export it again",
        {"train/_annotations.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n", "train/a.jpg": ""},
    ),
    "tables of classes (`_classes.csv`)": (
        "a CSV table of classes",
        "export it again",
        {"train/_classes.csv": "filename, bolt, nut\n", "train/a.jpg": ""},
    ),
    "TFRecord": ("TFRecord files", "export it again", {"train/parts.tfrecord": "\0"}),
    "KITTI": (
        "KITTI's text files",
        "datum convert",
        {"label_2/a.txt": "Car 0.00 0 -1.57 24.0 12.0 40.0 36.0 -1 -1 -1 -1000 -1000 -1000 -10\n", "image_2/a.jpg": ""},
    ),
    "DOTA": (
        "DOTA's text files",
        "polygons",
        {
            "labelTxt/a.txt": "imagesource:x\ngsd:1\n24.0 12.0 40.0 12.0 40.0 36.0 24.0 36.0 bolt 0\n",
            "images/a.jpg": "",
        },
    ),
    "MOT Challenge (`gt.txt`)": (
        "MOT Challenge's tracks",
        "export it again",
        {"gt/gt.txt": "1,1,24,12,16,24,1,1,1\n", "img1/000001.jpg": ""},
    ),
    "one text file of images and boxes (`_annotations.txt` of Keras-YOLO)": (
        "a text file of images and boxes",
        "export it again",
        {"train/_annotations.txt": "a.jpg 24,12,40,36,0 1,2,3,4,1\n", "train/a.jpg": ""},
    ),
    "YOLO with names instead of numbers": (
        "class names instead of numbers",
        "names in classes.txt",
        {"images/a.jpg": "", "labels/a.txt": "bolt 0.5 0.5 0.25 0.5\n"},
    ),
    "an archive": ("an archive", "unpack it first", {"set.zip": "PK"}),
    "images without labels": (r"images such as .*a\.jpg, but no labels", "add an XML file", {"images/a.jpg": ""}),
}


@pytest.mark.parametrize("row", READ)
def test_layouts_that_are_read(tmp_path: Path, row: str) -> None:
    form, files = READ[row]
    write(tmp_path, files)
    report = check_dataset(open_dataset(tmp_path))
    (sample,) = report.clean
    assert report.issues == ()
    assert (report.dataset.format, report.dataset.labels) == (form, ("bolt",))
    assert sample.image.name == "a.jpg"
    assert sample.target.boxes.tolist() == [[24, 12, 40, 36]]


@pytest.mark.parametrize("row", READ)
def test_a_stray_picture_does_not_hide_the_data_set(tmp_path: Path, row: str) -> None:
    write(tmp_path, {**READ[row][1], "preview.jpg": "", ".ipynb_checkpoints/a-checkpoint.jpg": ""})
    (tmp_path / "._x.jpg").write_bytes(b"\0\5\x16\7")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._a.xml").write_bytes(b"\0\5\x16\7")
    names = [image.name for image in image_files(tmp_path)]
    assert "a.jpg" in names
    assert set(names) <= {"a.jpg", "preview.jpg"}


@pytest.mark.parametrize("row", NAMED)
def test_layouts_that_are_named(tmp_path: Path, row: str) -> None:
    what, advice, files = NAMED[row]
    write(tmp_path, files)
    with pytest.raises(DataError, match=rf"^.* holds {what}.*{advice}|^.* holds .*{what}.*{advice}"):
        open_dataset(tmp_path)
    if len(files) == 1 and not row.startswith("images"):
        with pytest.raises(DataError, match=f"{what}.*{advice}"):
            open_dataset(tmp_path / next(iter(files)))


def test_the_page_has_a_row_for_each_layout() -> None:
    text = (ROOT / "docs" / "data.md").read_text()
    read, named = (
        re.findall(r"^\| (.+?) \| ", text.split(f"<!-- {table} -->")[1].split("\n\n")[1], re.MULTILINE)[1:]
        for table in ("layouts that are read", "layouts that are named")
    )
    assert read == list(READ)
    assert named == list(NAMED)


def test_every_format_that_is_named_has_a_test() -> None:
    tested = {form.name for form in UNREAD for what, _, _ in NAMED.values() if what in form.name}
    untested = {form.name for form in UNREAD} - tested
    assert untested == {"a file of Pascal VOC"}


def test_one_file_of_pascal_voc(tmp_path: Path) -> None:
    write(tmp_path, READ["XML files beside the images (labelImg)"][1])
    with pytest.raises(DataError, match="a file of Pascal VOC, which is not read: name its folder"):
        open_dataset(tmp_path / "a.xml")


def test_a_table_of_open_images(tmp_path: Path) -> None:
    write(tmp_path, {"boxes.csv": "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n"})
    with pytest.raises(DataError, match="a CSV table of boxes"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_a_part_of_a_data_set(tmp_path: Path, folder: str) -> None:
    write(tmp_path, {"images/a.jpg": "", "labels/a.txt": LINE, "classes.txt": "bolt"})
    with pytest.raises(DataError, match=rf"{folder} is a part of a data set: name the folder above it, {tmp_path}"):
        open_dataset(tmp_path / folder)


def test_xml_files_are_not_taken_for_yolo(tmp_path: Path) -> None:
    """As YOLO, every picture of a set with images/ and annotations/ would be a background."""
    files: dict[str, str] = {}
    for name in "abc":
        files |= {f"images/{name}.jpg": "", f"annotations/{name}.xml": XML.format(f"{name}.jpg")}
    write(tmp_path, files)
    dataset = open_dataset(tmp_path)
    assert (dataset.format, [len(sample.target) for sample in dataset]) == ("voc", [1, 1, 1])


def test_a_stray_xml_file_does_not_hide_a_yolo_data_set(tmp_path: Path) -> None:
    files = {f"images/{name}.jpg": "" for name in "abc"} | {f"labels/{name}.txt": LINE for name in "abc"}
    write(tmp_path, {**files, "classes.txt": "bolt", "images/a.xml": XML})
    assert open_dataset(tmp_path).format == "yolo"
    write(tmp_path, {f"annotations/{name}.xml": XML for name in "bc"})
    assert open_dataset(tmp_path).format == "voc"  # as many of both
    usual = {"set/Annotations/a.xml": XML, "set/JPEGImages/a.jpg": "", "set/JPEGImages/b.jpg": ""}
    write(tmp_path, {**usual, "set/labels/a.txt": LINE, "set/labels/b.txt": LINE})
    assert open_dataset(tmp_path / "set").format == "voc"


def test_pictures_are_taken_where_the_labels_beside_them_are_bad(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": "", "a.txt": LINE})
    assert [image.name for image in image_files(tmp_path)] == ["a.jpg"]
    with pytest.raises(DataError, match=r"write .*classes\.txt"):
        open_dataset(tmp_path)
    write(tmp_path, {"deeper/b.jpg": "", "deeper/b.txt": LINE})
    with pytest.raises(DataError, match=r"write .*classes\.txt"):
        image_files(tmp_path)


def test_a_plain_folder_of_pictures_stays_one(tmp_path: Path) -> None:
    write(tmp_path, {"b.jpg": "", "a.png": "", "notes.txt": "hello", "deeper/c.jpg": "", ".d.jpg": ""})
    assert [image.name for image in image_files(tmp_path)] == ["a.png", "b.jpg"]


_SPLIT_LAYOUTS: dict[str, Callable[[str, str], dict[str, str]]] = {
    "roboflow voc": lambda split, name: {f"{split}/{name}.jpg": "", f"{split}/{name}.xml": XML},
    "voc in parts": lambda split, name: {
        f"{split}/Annotations/{name}.xml": XML,
        f"{split}/JPEGImages/{name}.jpg": "",
    },
    "roboflow coco": lambda split, name: {
        f"{split}/_annotations.coco.json": coco(f"{name}.jpg"),
        f"{split}/{name}.jpg": "",
    },
    "coco by folder": lambda split, name: {f"{split}/labels.json": coco(f"{name}.jpg"), f"{split}/data/{name}.jpg": ""},
    "roboflow darknet": lambda split, name: {
        f"{split}/{name}.jpg": "",
        f"{split}/{name}.txt": LINE,
        f"{split}/_darknet.labels": "bolt",
    },
    "ultralytics": lambda split, name: {
        f"images/{split}/{name}.jpg": "",
        f"labels/{split}/{name}.txt": LINE,
        "classes.txt": "bolt",
    },
}


@pytest.mark.parametrize("layout", _SPLIT_LAYOUTS)
@pytest.mark.parametrize("names", [("a", "b"), ("same", "same")])
def test_splits_of_layouts(tmp_path: Path, layout: str, names: tuple[str, str]) -> None:
    for split, name in zip(("train", "valid"), names, strict=True):
        write(tmp_path, _SPLIT_LAYOUTS[layout](split, name))
    for split, name, own in (("train", names[0], "train"), ("val", names[1], "valid")):
        (sample,) = open_dataset(tmp_path, split)
        assert sample.image.name == f"{name}.jpg"
        assert own in sample.image.parts
        assert sample.image.is_file()
    declared = declared_splits(tmp_path)
    assert sorted(declared) == ["train", "valid"]
    assert all(source.exists() and name in (*source.parts[-2:], source.stem) for name, source in declared.items())
    parts = training_and_validation(tmp_path)
    assert parts.validation is not None
    assert [part.split for part in (parts.training, parts.validation)] == ["train", "valid"]


def test_an_image_of_another_split_is_not_taken(tmp_path: Path) -> None:
    """The validation pictures are missing: the ones of the same name in train are not those."""
    voc, by_json = tmp_path / "voc", tmp_path / "coco"
    write(voc, {"train/a.jpg": "", "train/a.xml": XML, "valid/a.xml": XML, "valid/b.jpg": "", "valid/b.xml": XML})
    assert [s.image.is_file() for s in open_dataset(voc, "valid")] == [False, True]
    files = {f"annotations/instances_{split}.json": coco("a.jpg") for split in ("train", "val")}
    write(by_json, {**files, "train/a.jpg": ""})
    assert [s.image.is_file() for s in open_dataset(by_json, "val")] == [False]
    by_list = tmp_path / "yolo"
    write(
        by_list, {"images/train/a.jpg": "", "labels/train/a.txt": LINE, "val.txt": "val/a.jpg\n", "classes.txt": "bolt"}
    )
    with pytest.raises(DataError, match=r"no usable image .*'val/a\.jpg', which is not there"):
        open_dataset(by_list, "val")


def test_images_without_xml_are_listed(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": "", "a.xml": XML, "b.jpg": ""})
    (issue,) = open_dataset(tmp_path).issues
    assert (issue.kind, issue.path.name, issue.handled) == ("missing-labels", "b.jpg", "image left out")


def test_a_second_xml_file_of_an_image_is_listed(tmp_path: Path) -> None:
    write(tmp_path, {"images/a.jpg": "", "annotations/a.xml": XML, "images/a.xml": XML})
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 1
    assert [(issue.kind, issue.handled) for issue in dataset.issues] == [("bad-labels", "none")]


def test_a_json_file_that_is_cut_short_is_no_absent_split(tmp_path: Path) -> None:
    whole = coco("a.jpg")
    write(
        tmp_path,
        {"annotations/train.json": whole, "annotations/val.json": whole[: len(whole) // 2], "images/a.jpg": ""},
    )
    assert len(open_dataset(tmp_path, "train")) == 1
    with pytest.raises(DataError, match=r"cannot read .*val\.json as JSON"):
        open_dataset(tmp_path, "val")
    with pytest.raises(DataError, match=r"cannot read .*val\.json as JSON"):
        open_dataset(tmp_path / "annotations" / "val.json")


def test_the_command_shows_names_that_are_no_text(tmp_path: Path) -> None:
    write(tmp_path, {"images/\udcb0.jpg": "", "labels/\udcb0.txt": "9 0.5 0.5 0.5 0.5", "classes.txt": "bolt"})
    result = CliRunner().invoke(app, ["check-data", str(tmp_path)])
    assert result.exit_code == 1
    assert "labels/�.txt: object 1: class number 9 is not in the class list" in result.stdout
    result = CliRunner().invoke(app, ["check-data", str(tmp_path), "--json"])
    assert json.loads(result.stdout)["issues"][0]["path"].endswith("labels/\udcb0.txt")

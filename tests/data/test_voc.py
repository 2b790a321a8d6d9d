"""Pascal VOC folders, compared with numbers counted from the XML by another parser, and malformed files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ssd_edge.data import voc
from ssd_edge.errors import DataError
from tests.helpers import shared

BOX = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def annotation(*objects: Sequence[object], filename: str = "") -> str:
    boxes = "".join(BOX.format(*each) for each in objects)
    return f"<annotation><filename>{filename}</filename>{boxes}</annotation>"


def make(root: Path, xml: dict[str, str], splits: dict[str, str] | None = None) -> Path:
    """Make a VOC folder with an (empty) picture for each annotation."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, text in xml.items():
        (root / "Annotations" / f"{name}.xml").write_text(text, "utf-8")
        (root / "JPEGImages" / f"{name}.jpg").touch()
    for name, text in (splits or {}).items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    return root


def test_keeps_the_numbers_of_the_file(tmp_path: Path) -> None:
    xml = annotation(("nut", 1, 2, 30.5, 40), ("bolt", 5, 6, 7, 8)).replace(
        "<name>bolt</name>", "<name> bolt </name><difficult>1</difficult>"
    )
    dataset = voc.read(make(tmp_path, {"a": xml, "b": annotation()}))
    assert dataset.labels == ("bolt", "nut")
    assert [sample.image.name for sample in dataset] == ["a.jpg", "b.jpg"]
    target = dataset.samples[0].target
    np.testing.assert_array_equal(target.boxes, np.array([[1, 2, 30.5, 40], [5, 6, 7, 8]], np.float32))
    assert target.labels.tolist() == [1, 0]
    assert target.difficult.tolist() == [False, True]
    assert len(dataset.samples[1].target) == 0
    assert not dataset.issues


def test_splits_agree_on_the_classes(tmp_path: Path) -> None:
    xml = {"a": annotation(("nut", 1, 1, 9, 9)), "b": annotation(("bolt", 1, 1, 9, 9)), "c": annotation()}
    root = make(tmp_path, xml, {"train": "a\n\n", "val": "b\r\n", "nut_train": "a 1\n"})
    train, val, everything = voc.read(root, "train"), voc.read(root, "val"), voc.read(root)
    assert train.labels == val.labels == everything.labels == ("bolt", "nut")
    assert (len(train), len(val), len(everything)) == (1, 1, 3)
    assert (train.split, everything.split) == ("train", "")
    with pytest.raises(DataError, match=r"no split 'test'; ImageSets/Main has: train, val$"):
        voc.read(root, "test")


def test_trainval_is_the_default_split(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": annotation(), "b": annotation()}, {"trainval": "b", "test": "a"})
    dataset = voc.read(root)
    assert dataset.split == "trainval"
    assert [sample.image.name for sample in dataset] == ["b.jpg"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation>", "no XML"),
        ("", "no XML"),
        ("<html></html>", "<html>"),
        (annotation(("nut", "x", 1, 2, 3)), "object 1: 'x' is not a number"),
        (annotation(("", 1, 1, 2, 3)), "object 1: <name>"),
        ("<annotation><object><name>nut</name></object></annotation>", "bndbox/xmin"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "DOCTYPE"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', ""),
    ],
)
def test_bad_files_are_issues_and_the_rest_is_read(tmp_path: Path, text: str, reason: str) -> None:
    dataset = voc.read(make(tmp_path, {"bad": text, "good": annotation(("nut", 1, 1, 2, 3))}))
    assert [sample.image.stem for sample in dataset] == ["good"]
    (issue,) = dataset.issues
    assert (issue.kind, issue.path.name, issue.handled) == ("bad-labels", "bad.xml", "image left out")
    assert reason in issue.detail


def test_entities_are_refused_in_utf16_too(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": annotation(), "bomb": ""})
    bomb = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'
    (root / "Annotations" / "bomb.xml").write_bytes(bomb.encode("utf-16"))
    assert "DOCTYPE" in voc.read(root).issues[0].detail


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/secret.jpg", "C:\\secret.jpg", "..\\secret.jpg"])
def test_names_may_not_lead_out(tmp_path: Path, name: str) -> None:
    root = make(tmp_path, {"a": annotation(), "b": annotation(filename=name)}, {"train": "a\n../b\nb\n"})
    (root / "JPEGImages" / "b.jpg").unlink()  # otherwise <filename> would not be used
    dataset = voc.read(root, "train")
    assert [sample.image.name for sample in dataset] == ["a.jpg"]
    assert [issue.kind for issue in dataset.issues] == ["bad-labels", "bad-labels"]
    assert all("leads out" in issue.detail for issue in dataset.issues)


def test_finds_images_of_other_names_and_suffixes(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": annotation(), "b": annotation(filename="photo 1.PNG"), "c": annotation()})
    images = root / "JPEGImages"
    (images / "a.jpg").rename(images / "a.JPEG")
    (images / "b.jpg").rename(images / "photo 1.PNG")
    (images / "c.jpg").unlink()
    names = [sample.image.name for sample in voc.read(root)]
    assert names == ["a.JPEG", "c.jpg", "photo 1.PNG"]  # the check will report c.jpg as missing


def test_a_listed_image_without_xml_is_left_out(tmp_path: Path) -> None:
    dataset = voc.read(make(tmp_path, {"a": annotation()}, {"train": "a\nb\n"}), "train")
    assert len(dataset) == 1
    assert [(issue.kind, issue.handled) for issue in dataset.issues] == [("missing-labels", "image left out")]


def test_given_labels_set_the_classes(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": annotation(("nut", 1, 1, 2, 3), ("cat", 1, 1, 2, 3))})
    dataset = voc.read(root, labels=["bolt", "nut"])
    assert dataset.labels == ("bolt", "nut")
    assert dataset.samples[0].target.labels.tolist() == [1]
    (issue,) = dataset.issues
    assert (issue.kind, issue.handled) == ("unknown-class", "box left out")
    assert "'cat'" in issue.detail


def test_empty_and_double_folders_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "VOC2007", {})
    with pytest.raises(DataError, match=r"no usable image .* XML files in .*Annotations"):
        voc.read(tmp_path)
    make(tmp_path / "VOC2012", {})
    with pytest.raises(DataError, match="VOC2007, VOC2012"):
        voc.read(tmp_path)


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [
        ("EUC-KR", "euc_kr", "불량"),
        ("euc-kr", "cp949", "뷁"),  # Windows writes characters that EUC-KR lacks
        ("KS_C_5601-1987", "cp949", "불량"),
        ("GBK", "gbk", "螺栓"),
        ("gb2312", "gbk", "镕"),
        ("GB18030", "gb18030", "螺栓"),
        ("Big5", "big5", "螺絲"),
        ("Shift_JIS", "shift_jis", "ねじ"),
        ("windows-31j", "cp932", "ねじ①"),
        ("EUC-JP", "euc_jp", "ねじ"),
        ("windows-1251", "cp1251", "болт"),
        ("ISO-8859-1", "latin-1", "Écrou"),
        ("UTF-8", "utf-8", "螺栓"),
        ("UTF-8", "utf-8-sig", "螺栓"),
        ("UTF-16", "utf-16", "螺栓"),
    ],
)
def test_xml_is_decoded_as_it_declares(tmp_path: Path, declared: str, codec: str, name: str) -> None:
    root = make(tmp_path, {"a": ""})
    text = f"<?xml version='1.0' encoding='{declared}'?>\n{annotation((name, 1, 2, 3, 4))}"
    (root / "Annotations" / "a.xml").write_bytes(text.encode(codec))
    dataset = voc.read(root)
    assert dataset.labels == (name,)
    assert dataset.samples[0].target.boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("declared", "data"), [("no-such-code", b""), ("EUC-KR", b"\xff\xff"), ("base64", b""), ("rot13", b"")]
)
def test_xml_that_cannot_be_decoded(tmp_path: Path, declared: str, data: bytes) -> None:
    root = make(tmp_path, {"a": "", "b": annotation()})
    text = f"<?xml version='1.0' encoding='{declared}'?>".encode()
    (root / "Annotations" / "a.xml").write_bytes(text + data + annotation().encode())
    (issue,) = voc.read(root).issues
    assert issue.kind == "bad-labels"
    assert issue.detail.startswith("it cannot be read: ")


def test_entities_are_refused_in_every_encoding(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": annotation(), "bomb": ""})
    bomb = '<?xml version="1.0" encoding="euc-kr"?><!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'
    (root / "Annotations" / "bomb.xml").write_bytes(bomb.encode("euc_kr"))
    assert "DOCTYPE" in voc.read(root).issues[0].detail


@pytest.mark.parametrize(
    ("text", "difficult"),
    [("1", True), (" 1 ", True), ("1.0", True), ("True", True), ("yes", True)]
    + [(word, False) for word in ("0", "False", "false", "no", "Unspecified", "2", "", "-")],
)
def test_words_for_difficult(tmp_path: Path, text: str, difficult: bool) -> None:
    xml = annotation(("nut", 1, 2, 3, 4)).replace("<bndbox>", f"<difficult>{text}</difficult><bndbox>")
    dataset = voc.read(make(tmp_path, {"a": xml}))
    assert dataset.samples[0].target.difficult.tolist() == [difficult]
    assert not dataset.issues


def test_names_are_compared_composed(tmp_path: Path) -> None:
    """A Mac writes names of files, and some tools classes, with letters and their marks apart."""
    apart, composed = (unicodedata.normalize(form, "불량") for form in ("NFD", "NFC"))
    xml = {apart: annotation((apart, 1, 2, 3, 4)), "b": annotation((composed, 1, 2, 3, 4))}
    root = make(tmp_path, xml, {"train": f"{composed}\nb"})
    (root / "JPEGImages" / f"{apart}.jpg").rename(root / "JPEGImages" / f"{composed}.jpg")
    dataset = voc.read(root, "train")
    assert dataset.labels == (composed,)
    assert [len(sample.target) for sample in dataset] == [1, 1]
    assert all(sample.image.is_file() for sample in dataset)
    assert voc.read(root, "train", [apart]).labels == (apart,)  # a model's own spelling stays
    assert len(voc.read(root, "train", [apart]).samples[0].target) == 1


@pytest.mark.parametrize("line", ["a", "a.jpg", "JPEGImages/a.jpg", "/home/me/VOC/JPEGImages/a.png", "x\\a.jpg"])
def test_names_in_lists_may_have_suffixes_and_folders(tmp_path: Path, line: str) -> None:
    root = make(tmp_path, {"a": annotation(), "b": annotation()}, {"val": f"{line}\n"})
    dataset = voc.read(root, "val")
    assert [sample.image.name for sample in dataset] == ["a.jpg"]
    assert not dataset.issues


def test_a_name_with_a_dot_is_no_suffix(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.jpg": annotation(("nut", 1, 1, 2, 3)), "a": annotation()}, {"val": "a.jpg\n"})
    (sample,) = voc.read(root, "val")
    assert sample.image.name == "a.jpg.jpg"
    assert len(sample.target) == 1


@pytest.mark.slow
def test_bccd() -> None:
    root = shared("data/bccd")
    splits = {split: voc.read(root, split) for split in ("train", "val", "test", "trainval")}
    assert {split: len(d) for split, d in splits.items()} == {"train": 205, "val": 87, "test": 72, "trainval": 292}
    assert splits["train"].labels == ("Platelets", "RBC", "WBC")
    parts = [sample for split in ("train", "val", "test") for sample in splits[split]]
    assert sum(len(sample.target) for sample in parts) == 4888
    for sample in parts[::20]:  # the reference is a regular expression on the numbers
        text = (root / "BCCD" / "Annotations" / f"{sample.image.stem}.xml").read_text()
        numbers = re.findall(r"<(?:xmin|ymin|xmax|ymax)>(\d+)<", text)
        assert sample.target.boxes.ravel().tolist() == [float(n) for n in numbers]

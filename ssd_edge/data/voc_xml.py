"""Parse one XML file of Pascal VOC, as labelImg, CVAT, Roboflow and others write it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

from ssd_edge.data.files import LabelsError, Row, declared_size, number
from ssd_edge.data.finding import nfc

_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z][\w.:-]*)["']""")
_FIRST_ELEMENT = re.compile(rb"<([A-Za-z_][\w.:-]*)")
_CODECS = {
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "cp950",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "windows-936": "gb18030",
    "windows-949": "cp949",
    "windows-950": "cp950",
    "windows-874": "cp874",
}
"""Python's codec for names that it lacks, or under which Windows writes more characters than the standard has."""


class Annotation(NamedTuple):
    """Contents of one XML file: the image's file name ("" if missing), its size if declared, and the objects."""

    filename: str
    declared: tuple[int, int] | None
    rows: list[Row[str]]


class _NoDoctype(ET.TreeBuilder):
    """Tree builder that refuses a document type, and thereby entities that expand without end."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise LabelsError("it has a DOCTYPE, which no VOC file needs")


def first_element(path: Path) -> str:
    """Return the name of a file's first element, without parsing it; "" if there is none."""
    with path.open("rb") as file:
        start = file.read(4096).replace(b"\0", b"")  # UTF-16
    match = _FIRST_ELEMENT.search(start)
    return match[1].decode("ascii") if match else ""


def parse(path: Path) -> Annotation | LabelsError:
    """Read one annotation; return an error instead of raising it, since it matters only if its split is read."""
    try:
        root = read_root(path)
        rows = [_row(place, element) for place, element in enumerate(root.findall("object"), 1)]
    except LabelsError as error:
        return error
    if root.tag != "annotation":
        return LabelsError(f"its outermost element should be <annotation>, but is <{root.tag}>")
    declared = declared_size(root.findtext("size/width"), root.findtext("size/height"))
    return Annotation((root.findtext("filename") or "").strip(), declared, rows)


def read_root(path: Path) -> ET.Element:
    """Read the outermost element of an XML file.

    Raises:
        LabelsError: it cannot be read, is no XML, or has a document type.
    """
    try:
        return ET.fromstring(_decoded(path.read_bytes()), parser=ET.XMLParser(target=_NoDoctype()))
    except ET.ParseError as error:
        raise LabelsError(f"it is no XML: {error}") from None
    except (OSError, ValueError, LookupError) as error:  # LookupError: unknown encoding
        raise LabelsError(f"it cannot be read: {error}") from None


def _decoded(data: bytes) -> str | bytes:
    """Decode XML whose declared encoding Python's parser lacks: those of several bytes, such as EUC-KR and GBK."""
    declared = _DECLARED.match(data)
    if declared is None:
        return data
    name = declared[1].decode("ascii").lower()
    return data if name.startswith(("utf", "ucs", "iso-10646")) else data.decode(_CODECS.get(name, name))


def _row(place: int, element: ET.Element) -> Row[str]:
    """Read one ``<object>``."""
    try:
        name = nfc(_text(element, "name"))
        x1, y1, x2, y2 = (number(_text(element, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
    except LabelsError as error:
        raise LabelsError(f"object {place}: {error}") from None
    return Row(name, (x1, y1, x2, y2), _is_true(element.findtext("difficult") or ""))


def _is_true(text: str) -> bool:
    """Read a flag: 1 or a word for it; VOC's other value, and what tools write for "not said", is false."""
    try:
        return number(text.strip()) == 1
    except LabelsError:
        return text.strip().lower() in ("true", "yes")


def _text(element: ET.Element, tag: str) -> str:
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise LabelsError(f"<{tag}> is missing or empty")
    return text

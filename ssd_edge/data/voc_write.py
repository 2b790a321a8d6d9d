"""Write one XML file of Pascal VOC, as ``voc_xml`` and labelling tools read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree


class Object(NamedTuple):
    """A box to write: its class, and ``x1, y1, x2, y2`` in whole pixels, as edges; its score, if a model gave it."""

    name: str
    box: tuple[int, int, int, int]
    score: float | None = None


def annotation(
    file: str, size: tuple[int, int], objects: Sequence[Object], more: ElementTree.Element | None = None
) -> bytes:
    """Return the content of an XML file; corners are written as edges, which ``voc`` reads back exactly.

    Args:
        file: name of the image's file.
        size: (height, width) of the image.
        objects: its boxes.
        more: an element that readers of VOC pass over.
    """
    root = ElementTree.Element("annotation")
    put(root, "filename", file)
    sides = ElementTree.SubElement(root, "size")
    for tag, value in zip(("height", "width", "depth"), (*size, 3), strict=True):
        put(sides, tag, value)
    put(root, "segmented", 0)
    if more is not None:
        root.append(more)
    for one in objects:
        item = ElementTree.SubElement(root, "object")
        put(item, "name", one.name)
        put(item, "difficult", 0)
        corners = ElementTree.SubElement(item, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), one.box, strict=True):
            put(corners, tag, value)
        if one.score is not None:
            put(item, "score", f"{one.score:.3f}")
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, "utf-8")) + b"\n"


def put(parent: ElementTree.Element, tag: str, text: object, **attributes: str) -> None:
    """Add an element with a text."""
    ElementTree.SubElement(parent, tag, attributes).text = str(text)

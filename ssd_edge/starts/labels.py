"""Class names of the data sets that published detectors were trained on, and names that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssd_edge.data.finding import nfc
from ssd_edge.errors import ModelError

# fmt: off
VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
"""The 20 classes of Pascal VOC, in alphabetical order."""

# fmt: off
COCO_91 = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "unused 12", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "unused 26", "backpack", "umbrella", "unused 29", "unused 30", "handbag",
    "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket", "bottle", "unused 45", "wine glass", "cup", "fork", "knife", "spoon",
    "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake",
    "chair", "couch", "potted plant", "bed", "unused 66", "dining table", "unused 68", "unused 69", "toilet",
    "unused 71", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "unused 83", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""COCO's category ids 1 … 90; ten of them belong to no category."""

COCO_80 = tuple(label for label in COCO_91 if not label.startswith("unused "))
"""COCO's 80 categories in the order of their ids."""

_BACKGROUND = {"background", "__background__"}


def labels_of(given: str, number: int, known: Sequence[str] | None) -> tuple[str, ...]:
    """Name the classes of an imported detector.

    Args:
        given: a file with one name on each line, or names with commas between them; a first "background" is dropped.
        number: classes without background.
        known: the names that belong to so many classes of the source, if any.

    Returns:
        The given names; the known ones; or "class 1", "class 2" ….

    Raises:
        ModelError: the file cannot be read, or the names are not as many as the classes.
    """
    if not given:
        return tuple(known or (f"class {k}" for k in range(1, number + 1)))
    names = [nfc(name.strip()) for name in _split(given)]
    names = [name for name in names if name]
    if names and names[0].lower() in _BACKGROUND:
        names = names[1:]
    if len(names) != number:
        raise ModelError(f"--labels must name {number} classes, background apart, but names {len(names)}")
    return tuple(names)


def _split(given: str) -> list[str]:
    path = Path(given)
    try:
        if not path.is_file():
            return given.split(",")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:  # a name with a NUL is no path
        raise ModelError(f"cannot read the class names in {path}: {error}") from None

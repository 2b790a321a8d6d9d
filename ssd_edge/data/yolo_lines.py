"""Read the lines of a YOLO label file: boxes, polygons, boxes with keypoints, and boxes with a track."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssd_edge.data.files import LabelsError, Row, number
from ssd_edge.data.picture import image_size

_LEAST, _MOST = -1.0, 2.0  # fractions of the image; outside of these a number is no coordinate
Fractions = tuple[float, float, float, float]


def looks_like_labels(path: Path) -> bool:
    """Tell whether a text file is empty, or begins with a class number and four or more numbers."""
    with path.open("rb") as file:
        words = file.readline(1 << 16).removeprefix(b"\xef\xbb\xbf").split()
    try:
        return not words or (len([float(word) for word in words]) >= 5 and float(words[0]).is_integer())
    except ValueError:
        return False


def parse(source: Path, image: Path, keypoints: int = 0) -> list[Row[int]]:
    """Read the objects of one image, in its pixels.

    Args:
        source: the label file.
        image: the image, whose header gives its size.
        keypoints: how many numbers of keypoints follow each box, by the yaml file's ``kpt_shape``.

    Raises:
        LabelsError: a line cannot be read.
        DataError: the image has no size.
    """
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsError(f"it cannot be read: {error}") from None
    filled = [(place, line.split()) for place, line in enumerate(lines, 1) if line.strip()]
    if not filled:
        return []
    width, height = image_size(image)
    tracks = not keypoints and any(_is_track(words) for _, words in filled)
    rows = []
    for place, words in filled:
        try:
            key, (x1, y1, x2, y2) = _fractions(words, keypoints, tracks and len(words) == _TRACK)
        except LabelsError as error:
            raise LabelsError(f"line {place}: {error}") from None
        rows.append(Row(key, (x1 * width, y1 * height, x2 * width, y2 * height)))
    return rows


_TRACK = 7  # class, box, confidence, track id: as many as a class and three points


def _is_track(words: Sequence[str]) -> bool:
    """Tell whether a line ends in a track id: a whole number above 1, or written without a point, unlike the others."""
    if len(words) != _TRACK or not words[-1].isdigit():
        return False
    return int(words[-1]) > 1 or not any(word.lstrip("-").isdigit() for word in words[1:-1])


def _fractions(words: Sequence[str], keypoints: int, track: bool) -> tuple[int, Fractions]:
    """Read class number and x1, y1, x2, y2 as fractions from the words of one line."""
    key, *values = map(number, words)
    if not key.is_integer():
        raise LabelsError(f"the class should be a whole number, but is {words[0]}")
    if keypoints and len(values) not in (4, 4 + keypoints):
        raise LabelsError(
            f"it should be a class, a box and {keypoints} numbers by kpt_shape, but has {len(words)} words"
        )
    if len(values) in (4, 5) or keypoints or track:
        return int(key), _box(values[:4], words)
    if len(values) < 6 or len(values) % 2:
        raise LabelsError(
            f"it should be a class and 4 numbers, or a class and 3 or more points, but has {len(words)} words; "
            "for keypoints, give kpt_shape in the yaml file"
        )
    _check(values, words)
    xs, ys = values[::2], values[1::2]
    return int(key), (min(xs), min(ys), max(xs), max(ys))


def _box(values: Sequence[float], words: Sequence[str]) -> Fractions:
    _check(values, words)
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _check(values: Sequence[float], words: Sequence[str]) -> None:
    """Refuse what is no fraction of the image, such as pixels and the visibility of keypoints, but let NaN through.

    Raises:
        LabelsError: a number is no coordinate.
    """
    for value, word in zip(values, words[1:], strict=False):
        if value < _LEAST or value > _MOST:
            raise LabelsError(f"{word} is no coordinate: they should be fractions of the image, from 0 to 1")

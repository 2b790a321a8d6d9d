"""Draw the sizes of a model's default boxes beside those of a data set's objects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.data.box_fit import ChosenBoxes, share_unmatched
from ssd_edge.data.dataset import Image
from ssd_edge.data.wording import counted
from ssd_edge.errors import DataError
from ssd_edge.files import written_whole
from ssd_edge.parsing import as_text
from ssd_edge.spec import DefaultBoxLevel, ModelSpec

_SIDE = 640
"""Width and height of the plot in pixels."""

_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 70, 250, 60
_INK, _GRID, _OBJECT = (40, 40, 40), (225, 225, 225), (170, 140, 110)
_COLOURS = ((40, 40, 220), (0, 130, 255), (0, 170, 170), (60, 150, 30), (220, 120, 0), (180, 40, 140), (90, 90, 90))
"""BGR of the levels, finest first."""


def draw_boxes(chosen: ChosenBoxes, path: Path) -> None:
    """Write a PNG: width to the right and height upwards in pixels of the network's input, on logarithmic axes.

    A dot is an object, a square the size of a default box in its level's colour; a cross is where it was before it was
    fitted.

    Raises:
        DataError: the file cannot be written.
    """
    encoded = cv2.imencode(".png", picture_of(chosen))[1].tobytes()
    try:
        with written_whole(path) as partial:
            partial.write_bytes(encoded)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


def picture_of(chosen: ChosenBoxes) -> Image:
    """Make the picture: (height, width, 3) uint8 BGR."""
    spec = chosen.spec
    objects = _in_pixels(chosen.objects[:, 2:] - chosen.objects[:, :2], spec)
    sizes = [_in_pixels(level.sizes, spec) for level in spec.levels]
    before = [_in_pixels(level.sizes, spec) for level in chosen.published.levels]
    axes = _Axes.around(np.concatenate([objects, *sizes, *before]))
    picture = np.full((_TOP + _SIDE + _BOTTOM, _LEFT + _SIDE + _RIGHT, 3), 255, np.uint8)
    axes.draw(picture)
    for x, y in axes.places(objects):
        cv2.circle(picture, (x, y), 2, _OBJECT, cv2.FILLED, cv2.LINE_AA)
    if chosen.is_fitted:
        for level, some in enumerate(before):
            for x, y in axes.places(some):
                cv2.drawMarker(picture, (x, y), _colour(level), cv2.MARKER_TILTED_CROSS, 9, 1, cv2.LINE_AA)
    for level, some in enumerate(sizes):
        for x, y in axes.places(some):
            cv2.rectangle(picture, (x - 4, y - 4), (x + 4, y + 4), (255, 255, 255), cv2.FILLED)
            cv2.rectangle(picture, (x - 4, y - 4), (x + 4, y + 4), _colour(level), 2)
    _write_title(picture, chosen)
    _write_legend(picture, spec.levels, chosen.is_fitted)
    return picture


class _Axes:
    """Logarithmic axes from ``low`` to ``high`` pixels, the same for width and height."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def around(cls, sizes: npt.NDArray[np.float64]) -> _Axes:
        return cls(max(0.5, float(sizes.min()) / 1.15), float(sizes.max()) * 1.15)

    def along(self, pixels: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map pixels to 0 … 1 along an axis."""
        values = np.log(np.clip(np.asarray(pixels, np.float64), self.low, self.high) / self.low)
        return np.asarray(values / np.log(self.high / self.low))

    def places(self, sizes: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
        """Map (N, 2) widths and heights to points of the picture, x to the right and y downwards."""
        shares = self.along(sizes)
        points = np.rint([_LEFT, _TOP + _SIDE] + shares * [_SIDE, -_SIDE]).astype(int)
        return [(int(x), int(y)) for x, y in points]

    def draw(self, picture: Image) -> None:
        """Draw the frame, a line at each tick, and its number of pixels."""
        for value in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000):
            if self.low <= value <= self.high:
                at = round(float(self.along(value)) * _SIDE)
                cv2.line(picture, (_LEFT + at, _TOP), (_LEFT + at, _TOP + _SIDE), _GRID)
                cv2.line(picture, (_LEFT, _TOP + _SIDE - at), (_LEFT + _SIDE, _TOP + _SIDE - at), _GRID)
                _write(picture, str(value), (_LEFT + at, _TOP + _SIDE + 20), anchor=0.5)
                _write(picture, str(value), (_LEFT - 8, _TOP + _SIDE - at + 5), anchor=1)
        cv2.rectangle(picture, (_LEFT, _TOP), (_LEFT + _SIDE, _TOP + _SIDE), _INK)
        _write(picture, "width in pixels of the input", (_LEFT + _SIDE // 2, _TOP + _SIDE + 45), anchor=0.5)
        _write(picture, "height", (_LEFT - 8, _TOP - 8), anchor=1)


def _in_pixels(fractions: npt.ArrayLike, spec: ModelSpec) -> npt.NDArray[np.float64]:
    """Convert (N, 2) widths and heights in fractions of the image to pixels of the network's input."""
    return np.asarray(fractions, np.float64).reshape(-1, 2) * spec.input_size[::-1]


def _write_title(picture: Image, chosen: ChosenBoxes) -> None:
    spec = chosen.spec
    share = share_unmatched(chosen.objects, spec)
    count = counted(len(chosen.objects), "object")
    _write(
        picture, f"{spec.architecture}, input {as_text(spec.input_size)}: its default boxes and {count}", (_LEFT, 24)
    )
    text = f"{share:.1%} of the objects match no default box"
    if chosen.is_fitted:
        text += f", {share_unmatched(chosen.objects, chosen.published):.1%} with the published sizes"
    _write(picture, text, (_LEFT, 46))


def _write_legend(picture: Image, levels: tuple[DefaultBoxLevel, ...], is_fitted: bool) -> None:
    x, y = _LEFT + _SIDE + 24, _TOP + 12
    cv2.circle(picture, (x, y - 5), 3, _OBJECT, cv2.FILLED, cv2.LINE_AA)
    _write(picture, "an object", (x + 16, y))
    for number, level in enumerate(levels):
        y += 26
        cv2.rectangle(picture, (x - 4, y - 9), (x + 4, y - 1), _colour(number), 2)
        rows, columns = level.grid
        _write(picture, f"default boxes, {columns}x{rows} cells", (x + 16, y))
    if is_fitted:
        y += 26
        cv2.drawMarker(picture, (x, y - 5), _INK, cv2.MARKER_TILTED_CROSS, 9, 1, cv2.LINE_AA)
        _write(picture, "published size", (x + 16, y))


def _colour(level: int) -> tuple[int, int, int]:
    return _COLOURS[level % len(_COLOURS)]


def _write(picture: Image, text: str, place: tuple[int, int], anchor: float = 0) -> None:
    """Write a line of ASCII whose baseline is at ``place``, which lies that share of its width to the right."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.45
    width = cv2.getTextSize(text, font, size, 1)[0][0]
    cv2.putText(picture, text, (round(place[0] - anchor * width), place[1]), font, size, _INK, 1, cv2.LINE_AA)

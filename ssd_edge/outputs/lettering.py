"""Write text on frames in any script: by OpenCV where it has the glyphs, else by Pillow with a font of the system."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.data.finding import nfc
from ssd_edge.outputs.fonts import font_with, opened, orders_leftwards
from ssd_edge.pixels import Image

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 21  # height in pixels of a capital of that font at size 1
_LEAST_PIXELS = 12  # smallest height at which Hangul and Han can be read
_LATIN = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"})


@dataclass(frozen=True)
class Name:
    """A class name as it is shown.

    Attributes:
        text: the name, or what stands for it where no font has its glyphs.
        font: the font file that Pillow writes it with; None for OpenCV's own font.
        is_whole: whether the text is the name itself.
    """

    text: str
    font: Path | None = None
    is_whole: bool = True


@dataclass(frozen=True)
class Extent:
    """Size of a text in pixels: width, height above the baseline, and depth below it."""

    width: int
    height: int
    depth: int


@lru_cache(maxsize=16)
def names_of(labels: tuple[str, ...]) -> tuple[Name, ...]:
    """Choose how each class name is shown: itself if a font has the glyphs, else in Latin letters, else its number."""
    return tuple(_name(label, number) for number, label in enumerate(labels, start=1))


def names_not_shown(labels: Sequence[str]) -> str:
    """Say which names are replaced on frames, and what to install; empty if none is."""
    pairs = zip(labels, names_of(tuple(labels)), strict=True)
    replaced = [f"{label} as {name.text}" for label, name in pairs if not name.is_whole]
    if not replaced:
        return ""
    more = f" and {len(replaced) - 5} more" if len(replaced) > 5 else ""
    newer = "" if int(cv2.__version__.partition(".")[0]) >= 5 else ", or opencv-python 5, which brings some"
    return (
        f"no font here has the letters of some names, which are shown otherwise ({', '.join(replaced[:5])}{more}): "
        f"install a font that has them, such as Debian's fonts-noto-cjk{newer}"
    )


def extent(name: Name, text: str, size: float) -> Extent:
    """Measure a text in a name's font, at a size that is OpenCV's scale."""
    if name.font is None:
        (width, height), depth = cv2.getTextSize(text, _FONT, size, _weight(size))
        return Extent(width, height, depth)
    font = opened(name.font, _pixels(size))
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, anchor="ls"))
    return Extent(right - min(left, 0), -top, max(0, bottom))


def write(
    picture: Image, name: Name, text: str, start: tuple[int, int], size: float, ink: tuple[int, int, int]
) -> None:
    """Write a text into a picture, in place, from the left end of its baseline on; what lies outside is cut off."""
    if name.font is None:
        cv2.putText(picture, text, start, _FONT, size, ink, _weight(size), cv2.LINE_AA)
        return
    mask, (left, top) = _mask(name.font, text, _pixels(size))
    x, y = start[0] + left, start[1] + top
    x1, y1 = max(x, 0), max(y, 0)
    x2, y2 = min(x + mask.shape[1], picture.shape[1]), min(y + mask.shape[0], picture.shape[0])
    if x2 > x1 and y2 > y1:
        part = mask[y1 - y : y2 - y, x1 - x : x2 - x, None]
        below = picture[y1:y2, x1:x2]
        picture[y1:y2, x1:x2] = np.rint(below * (1 - part) + np.asarray(ink, np.float32) * part).astype(np.uint8)


def _name(label: str, number: int) -> Name:
    printable = "".join(char if char.isprintable() else " " for char in label)
    text = nfc(printable.encode("utf-8", "replace").decode())
    leftwards = any(unicodedata.bidirectional(char) in {"R", "AL"} for char in text)  # OpenCV knows no such order
    if not leftwards and all(map(_opencv_has, text)):
        return Name(text)
    if (not leftwards or orders_leftwards()) and (font := font_with(text + " 0123456789.")) is not None:
        return Name(text, font)
    decomposed = unicodedata.normalize("NFKD", text.translate(_LATIN))
    latin = "".join(char for char in decomposed if not unicodedata.combining(char))
    return Name(latin if latin.isascii() else f"class {number}", is_whole=False)


@lru_cache(maxsize=4096)
def _opencv_has(char: str) -> bool:
    """Tell whether this OpenCV has a glyph; from 5 on it has many scripts.

    Without one it draws a question mark, some versions one for each byte.
    """
    drawn = None if char.isascii() else _drawn(char)
    return drawn is None or not any(np.array_equal(drawn, _drawn("?" * marks)) for marks in (1, 2, 3, 4))


def _drawn(char: str) -> Image:
    picture = np.zeros((64, 96, 3), np.uint8)
    cv2.putText(picture, char, (8, 48), _FONT, 1.0, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


@lru_cache(maxsize=512)
def _mask(path: Path, text: str, pixels: int) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
    """Draw a text as opacity, (height, width) in 0 … 1, with its place from the left end of the baseline."""
    from PIL import Image as PillowImage
    from PIL import ImageDraw

    font: FreeTypeFont = opened(path, pixels)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, anchor="ls"))
    image = PillowImage.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), text, 255, font, anchor="ls")
    return np.asarray(np.asarray(image) / np.float32(255), np.float32), (left, top)


def _pixels(size: float) -> int:
    """Return the height of a font whose capitals are as high as OpenCV's at this size."""
    return max(_LEAST_PIXELS, round(size * _CAPITAL * 1.35))


def _weight(size: float) -> int:
    return max(1, round(1.2 * size))

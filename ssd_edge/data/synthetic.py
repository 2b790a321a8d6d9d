"""Render a conveyor that carries machine parts: a camera without hardware.

    Conveyor(seed).frame(i)      picture i and its boxes, at random access

The belt is divided into segments. Segment k gets its parts from a random stream seeded with (seed, k), so the belt is
endless, and frame i is simply a view of the belt at offset i · speed / fps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Image, Target
from ssd_edge.data.parts import LABELS, Light, Plane, Sprite, draw_part, smear

__all__ = ["LABELS", "Conveyor"]

_BELTS = (  # BGR of the rubber
    (58, 60, 54),  # charcoal
    (84, 92, 52),  # petrol green
    (112, 84, 56),  # slate blue
    (128, 134, 136),  # light grey
)
_SIZES = ((92, 160), (54, 92), (52, 96), (78, 150))  # range of each class, in pixels of a 480 high picture
_RAIL = 0.075  # height of each rail, as a share of the picture's height
_SHUTTER = 1 / 90  # seconds that the shutter stays open
_NOISE_PLAY = 64  # the noise is drawn once, this many pixels larger than a frame, and shifted for every frame
_MIN_SHOWN = 0.35  # smallest visible share of a part for which it is labelled


@dataclass(frozen=True)
class _Part:
    """A part on the belt: its centre in belt coordinates, and everything that determines its sprite."""

    x: int
    y: int
    label: int
    size: float
    angle: float
    stream: tuple[int, int, int]
    light: Light
    blur: float

    @cached_property
    def sprite(self) -> Sprite:
        """The part's picture, drawn when it first comes into view."""
        rng = np.random.default_rng(self.stream)
        return draw_part(self.label, self.size, self.angle, rng, self.light, self.blur)


class Conveyor:
    """An endless belt of parts under a fixed camera. The seed determines belt, light and parts.

    Args:
        seed: 0 or more; the same arguments give the same pixels.
        size: (width, height) of the frames. Everything scales with the height.
        speed: speed of the belt to the left, in pixels per second.
        density: average number of parts in view.
        fps: frames per second; frame i shows the belt at i / fps seconds.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        seed: int,
        size: tuple[int, int] = (640, 480),
        speed: float = 120.0,
        density: float = 7.0,
        fps: float = 30.0,
    ) -> None:
        if seed < 0 or min(size) < 64 or speed < 0 or density < 0 or fps <= 0:
            raise ValueError(
                f"seed, speed and density must be >= 0, size >= (64, 64) and fps > 0, but got seed={seed}, "
                f"size={size}, speed={speed}, density={density}, fps={fps}"
            )
        self.seed, self.size, self.speed, self.density, self.fps = seed, size, speed, density, fps
        self._scale = size[1] / 480
        self._blur = speed * _SHUTTER
        rng = np.random.default_rng(seed)
        self._light = Light(rng.uniform(0, 2 * math.pi), rng.uniform(0.80, 1.05), rng.uniform(-1, 1))
        self._belt = _belt(rng, size, self._light, self._blur)
        self._rails = _rails(size, self._light)
        self._lamp, self._drift = _lamps(rng, size, self._light)
        grain = rng.standard_normal((size[1] + _NOISE_PLAY, size[0] + _NOISE_PLAY, 3), np.float32)
        self._noise = _f32(grain * rng.uniform(1.6, 3.2))
        in_view = math.ceil(size[0] / self._segment_length) + 2
        self._segment = lru_cache(maxsize=in_view + 1)(self._draw_segment)

    def frame(self, index: int) -> tuple[Image, Target]:
        """Render frame ``index``, with the boxes of the parts visible in it.

        A box is tight around the visible pixels of a part: inside the picture, and not below another part. Motion blur
        and shadow do not count. A part that shows less than 35 % of its area is not labelled, since its rest could be
        anything, and no detector can be blamed for missing it.

        Args:
            index: 0 or more, in any order.

        Returns:
            (height, width, 3) uint8 BGR, and its objects; labels index LABELS.
        """
        width, height = self.size
        offset = round(index * self.speed / self.fps)
        start = offset % _period(self.size)
        picture = self._belt[:, start : start + width].copy()
        owner = np.zeros((height, width), np.uint16)
        parts = list(self._in_view(offset))
        for number, part in enumerate(parts, 1):
            _lay(picture, owner, part.sprite, part.x - offset, part.y, number)

        edge = self._rails.shape[0] // 2
        picture[:edge], picture[-edge:] = self._rails[:edge], self._rails[edge:]
        return self._expose(picture, index), _target(owner, parts)[0]

    def objects(self, index: int) -> tuple[Target, list[tuple[int, int]]]:
        """Find the objects of frame ``index`` without rendering it, and which parts they are.

        Args:
            index: 0 or more, in any order.

        Returns:
            The objects as ``frame`` gives them, and a pair of numbers for each, the same in every frame that shows it.
        """
        offset = round(index * self.speed / self.fps)
        owner = np.zeros(self.size[::-1], np.uint16)
        parts = list(self._in_view(offset))
        for number, part in enumerate(parts, 1):
            _claim(owner, part.sprite, part.x - offset, part.y, number)
        target, labelled = _target(owner, parts)
        return target, [part.stream[1:] for part in labelled]

    def _expose(self, picture: Plane, index: int) -> Image:
        """Light the picture with slowly swaying lamps, and add a sensor's noise."""
        width, height = self.size
        seconds = index / self.fps
        sway = 0.6 * math.sin(0.43 * seconds) + 0.4 * math.sin(1.1 * seconds + 1)
        lamp = cv2.addWeighted(self._lamp, 1, self._drift, sway, 0)
        cv2.multiply(picture, lamp, dst=picture)
        x, y = np.random.default_rng((self.seed, index)).integers(0, _NOISE_PLAY, 2)
        noise = self._noise[y : y + height, x : x + width]
        return np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), np.uint8)

    def _in_view(self, offset: int) -> Iterator[_Part]:
        """Yield the parts whose sprites reach into the picture, in drawing order."""
        width = self.size[0]
        reach = math.ceil(200 * self._scale + self._blur)
        length = self._segment_length
        for k in range((offset - reach) // length, (offset + width + reach) // length + 1):
            yield from (p for p in self._segment(k) if -reach < p.x - offset < width + reach)

    @property
    def _segment_length(self) -> int:
        return round(640 * self._scale)

    def _draw_segment(self, k: int) -> list[_Part]:
        """Make the parts whose centres lie on segment k; most lie apart, as a feeder drops them, but some overlap."""
        width, height = self._segment_length, self.size[1]
        rng = np.random.default_rng((self.seed, k % 2**32))  # k is negative left of the first frame
        count = math.floor(self.density * width / self.size[0] + rng.random())
        parts: list[_Part] = []
        for number in range(count):
            label = int(rng.integers(len(LABELS)))
            size = float(rng.uniform(*_SIZES[label])) * self._scale
            angle = float(rng.uniform(0, 2 * math.pi))
            margin = height * _RAIL + size * 0.52
            closest = 0.3 if rng.random() < 0.12 else 0.9
            for _ in range(30):
                x, y = rng.uniform(0, width), rng.uniform(margin, height - margin)
                if all(math.hypot(x - p.x % width, y - p.y) > closest * (size + p.size) / 2 for p in parts):
                    break
            else:
                continue
            stream = (self.seed, k % 2**32, number + 1)
            x = k * width + math.floor(x)
            parts.append(_Part(x, round(y), label, size, angle, stream, self._light, self._blur))
        return parts


def _lay(picture: Plane, owner: npt.NDArray[np.uint16], sprite: Sprite, x: int, y: int, number: int) -> None:
    """Blend a sprite centred at (x, y) into the picture, and write its number into the map of pixel owners."""
    there, here = _overlap(owner, sprite, x, y)
    picture[there] *= sprite.keep[here]
    picture[there] += sprite.add[here]
    _claim(owner, sprite, x, y, number)


def _claim(owner: npt.NDArray[np.uint16], sprite: Sprite, x: int, y: int, number: int) -> None:
    """Write a sprite's number into the map of pixel owners, where the sprite centred at (x, y) covers it."""
    there, here = _overlap(owner, sprite, x, y)
    owner[there][sprite.mask[here]] = number


def _overlap(
    owner: npt.NDArray[np.uint16], sprite: Sprite, x: int, y: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the rows and columns that the map and a sprite centred at (x, y) share: in the map, and in the sprite."""
    left, top = x + sprite.x, y + sprite.y
    x0, y0 = max(left, 0), max(top, 0)
    x1 = max(x0, min(left + sprite.mask.shape[1], owner.shape[1]))
    y1 = max(y0, min(top + sprite.mask.shape[0], owner.shape[0]))
    return np.s_[y0:y1, x0:x1], np.s_[y0 - top : y1 - top, x0 - left : x1 - left]


def _target(owner: npt.NDArray[np.uint16], parts: list[_Part]) -> tuple[Target, list[_Part]]:
    boxes, labelled = [], []
    for number, part in enumerate(parts, 1):
        seen = (owner == number).view(np.uint8)
        if cv2.countNonZero(seen) >= _MIN_SHOWN * np.count_nonzero(part.sprite.mask):
            x, y, w, h = cv2.boundingRect(seen)
            boxes.append((x, y, x + w, y + h))
            labelled.append(part)
    return Target.of(boxes, [part.label for part in labelled]), labelled


# The scene around the parts.


def _f32(array: npt.ArrayLike) -> Plane:
    return np.asarray(array, np.float32)


def _period(size: tuple[int, int]) -> int:
    """Pixels after which the belt's surface repeats: twice the view, rounded up to a multiple of 64."""
    return math.ceil(2 * size[0] / 64) * 64


def _clouds(rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float]) -> Plane:
    """Make (h, w) smooth noise with blobs of about ``cell`` (h, w) pixels, unit variance, seamless along x."""
    rows, columns = max(2, round(shape[0] / cell[0])), max(2, round(shape[1] / cell[1]))
    coarse = rng.standard_normal((rows, columns), np.float32)
    edge = 2
    wide = np.pad(coarse, ((0, 0), (edge, edge)), mode="wrap")
    border = round(edge * shape[1] / columns)
    noise = cv2.resize(wide, (shape[1] + 2 * border, shape[0]), interpolation=cv2.INTER_CUBIC)
    noise = noise[:, border : border + shape[1]]
    return _f32(noise / noise.std())


def _belt(rng: np.random.Generator, size: tuple[int, int], light: Light, blur: float) -> Plane:
    """Draw the belt, (height, period + width, 3) float32 BGR: rubber with a relief, wear, dust and a splice."""
    height, period = size[1], _period(size)
    shape = (height, period)
    x, y = np.meshgrid(np.arange(period, dtype=np.float32), np.arange(height, dtype=np.float32))
    pitch = 2 * np.pi / 8
    weave = str(rng.choice(("diamond", "ribs", "pebbles")))
    if weave == "diamond":
        relief = np.maximum(np.abs(np.sin((x + y) * pitch / 2)), np.abs(np.sin((x - y) * pitch / 2)))
    elif weave == "ribs":
        relief = 0.5 + 0.5 * np.sin(x * pitch + 0.7 * np.sin(y * pitch))
    else:
        relief = 0.45 * _clouds(rng, shape, (3.2, 3.2))
    relief = _f32(relief) + 0.10 * _clouds(rng, shape, (1, 1))

    lx, ly, _ = light.direction
    slope = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=lx / 8) + cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=ly / 8)
    shade = 1 - 0.34 * slope + 0.05 * relief
    shade += 0.035 * _clouds(rng, shape, (90, 160)) + 0.02 * _clouds(rng, shape, (14, 22))
    shade += 0.030 * _clouds(rng, shape, (1.6, 160)) * (1 + 0.5 * _clouds(rng, shape, (40, 300)))  # drag marks
    dust = np.clip(_clouds(rng, shape, (1.4, 1.4)) - 2.4, 0, 1) + 0.10 * np.clip(
        _clouds(rng, shape, (50, 120)) - 0.8, 0, 1
    )
    splice = np.abs((x - period * 0.62) - 0.35 * (y - height / 2))  # the belt's ends, joined at a slant
    shade = shade * (1 - 0.30 * np.exp(-((splice / 1.6) ** 2)) + 0.10 * np.exp(-(((splice - 5) / 2.5) ** 2)))
    shade = shade * (1 - 0.05 * (np.abs(splice) < 26))

    rubber = _f32(_BELTS[rng.choice(len(_BELTS), p=(0.35, 0.3, 0.25, 0.1))]) * _f32(rng.uniform(0.9, 1.1))
    colour = shade[..., None] * rubber + 60 * dust[..., None]
    colour = np.concatenate([colour, colour[:, : size[0]]], axis=1)
    return smear(_f32(colour), blur) if blur > 0 else _f32(colour)


def _rails(size: tuple[int, int], light: Light) -> Plane:
    """Draw the upper and lower rail, (2 · rail, width, 3) float32 BGR: extruded aluminium with a slot."""
    width, rail = size[0], round(size[1] * _RAIL)
    across = (np.arange(rail, dtype=np.float32) + 0.5) / rail  # 0 at the picture's edge … 1 at the belt
    rng = np.random.default_rng(1)
    brushed = _clouds(rng, (2 * rail, width), (1, 70)) + 0.5 * _clouds(rng, (2 * rail, width), (1, 12))

    def band(start: float, end: float) -> Plane:
        soft = 1.0 / rail
        return _f32(np.clip((across - start) / soft, 0, 1) * np.clip((end - across) / soft, 0, 1))

    face = 150 + 14 * np.sin(across * 5)
    face = face * (1 - 0.78 * band(0.34, 0.52)) + 24 * band(0.52, 0.57) - 30 * band(0.29, 0.34)
    lip = band(0.84, 1.01)
    upper = face - 26 * light.direction[1] * lip - 60 * band(0.79, 0.84)
    lower = face + 26 * light.direction[1] * lip - 60 * band(0.79, 0.84)
    grey = np.concatenate([upper, lower[::-1]])[:, None] * (1 + 0.022 * brushed)
    step = max(4, round(size[1] / 48))
    for tick, x in enumerate(range(step, width, step)):  # an engraved scale on the lower rail
        end = 0.66 if tick % 5 else 0.60
        grey[2 * rail - round(0.77 * rail) : 2 * rail - round(end * rail), x] *= 0.45
    return _f32(grey[..., None] * _f32((1.02, 1.0, 0.97)))


def _lamps(rng: np.random.Generator, size: tuple[int, int], light: Light) -> tuple[Plane, Plane]:
    """Make two (height, width, 3) factors: the steady light with the lens's vignette, and the swaying part."""
    width, height = size
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    lx, ly, _ = light.direction
    vignette = 1 - 0.20 * (x**2 * 0.9 + y**2 * 0.6) ** 1.2
    pool = np.exp(-(((x - 0.5 * lx) / 1.1) ** 2 + ((y - 0.5 * ly) / 1.0) ** 2))
    edge = np.minimum(np.arange(height), np.arange(height)[::-1]) - height * _RAIL
    beside_rail = np.where(edge < 0, 1, 1 - 0.5 * np.exp(-np.maximum(edge, 0) / (0.02 * height)))
    steady = rng.uniform(0.92, 1.12) * vignette * (0.92 + 0.32 * pool) * beside_rail[:, None]
    drift = 0.07 * np.exp(-(((x + 0.4 * lx) / 0.9) ** 2)) - 0.02
    return _f32(steady[..., None] * light.tint), _f32(np.repeat(drift[..., None], 3, axis=2))


# The data set.

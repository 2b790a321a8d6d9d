"""Machine parts as they look from above: bolts, nuts, washers and gears, shaded from their heights.

A part is described by signed distances and heights on a grid three times finer than the picture. Normals
come from the heights, the colour from what a metal with that normal reflects of the lamps above it, so one
light direction holds for every part whatever its rotation. Lengths are pixels of the final picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

LABELS: tuple[str, ...] = ("bolt", "nut", "washer", "gear")

Plane = npt.NDArray[np.float32]

_FINE = 3  # samples per pixel, each way: teeth and threads are a few pixels wide


@dataclass(frozen=True)
class Light:
    """Where the main lamp stands.

    Attributes:
        azimuth: direction towards the lamp in the picture, radians, x to the right and y down.
        elevation: radians above the belt.
        warmth: −1 (bluish) to 1 (yellowish).
    """

    azimuth: float
    elevation: float
    warmth: float

    @property
    def direction(self) -> tuple[float, float, float]:
        """Unit vector towards the lamp: x right, y down, z towards the camera."""
        flat = math.cos(self.elevation)
        return flat * math.cos(self.azimuth), flat * math.sin(self.azimuth), math.sin(self.elevation)

    @property
    def tint(self) -> npt.NDArray[np.float32]:
        """(3,) BGR factors near 1."""
        return np.array([1 - 0.06 * self.warmth, 1.0, 1 + 0.05 * self.warmth], np.float32)


@dataclass(frozen=True, eq=False)
class Sprite:
    """A part ready to be laid on a picture: ``picture = picture * keep + add``.

    Attributes:
        add: (h, w, 3) float32, BGR 0..255 times coverage.
        keep: (h, w, 3) float32, the share of the picture below that shows: neither covered nor in shadow.
        mask: (h, w) bool, the silhouette: pixels that the part covers by half or more when it stands still.
    """

    add: Plane
    keep: Plane
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Material:
    reflectance: tuple[float, float, float]  # BGR, linear
    gloss: float  # 0 satin … 1 polished
    grain: float  # strength of the tool marks


_MATERIALS = (
    _Material((0.60, 0.59, 0.57), 0.55, 0.9),  # steel
    _Material((0.68, 0.66, 0.62), 0.85, 0.5),  # zinc plated
    _Material((0.25, 0.56, 0.80), 0.70, 0.7),  # brass
    _Material((0.085, 0.078, 0.075), 0.45, 0.5),  # black oxide
)


@dataclass(frozen=True, eq=False)
class _Grid:
    """The fine grid in the part's own frame: u along the part, v across it, rho and theta about its centre."""

    u: Plane
    v: Plane
    rho: Plane
    theta: Plane


@dataclass(frozen=True, eq=False)
class _Solid:
    """What a shape says about itself, on the fine grid.

    Attributes:
        outside: signed distance to the silhouette, negative inside.
        height: of the surface above the belt.
        marks: tool marks, about −1 to 1.
        turned: 0..1, how far the surface was turned on a lathe: such faces show a bow tie of light.
    """

    outside: Plane
    height: Plane
    marks: Plane
    turned: Plane


def draw_part(
    label: int, size: float, angle: float, rng: np.random.Generator, light: Light, blur: float = 0.0
) -> Sprite:
    """Draws one part.

    Args:
        label: index into LABELS.
        size: largest extent in pixels.
        angle: rotation in radians.
        rng: decides proportions, variant, material and wear.
        light: the lamp that shades it and throws its shadow.
        blur: length of the smear along x in pixels, from moving while the shutter is open.
    """
    reach = math.ceil(size * 0.52 + size * 0.22 + blur) + 8  # half the part, its shadow, and some air
    grid = _grid(reach, angle)
    solid = _SHAPES[label](grid, size, rng)
    material = _MATERIALS[rng.choice(len(_MATERIALS), p=(0.36, 0.24, 0.22, 0.18))]

    fine_alpha = np.clip(0.5 - solid.outside * _FINE, 0, 1)
    colour = _shade(solid, grid, material, light, rng)
    side = 2 * reach
    alpha = cv2.resize(fine_alpha, (side, side), interpolation=cv2.INTER_AREA)
    add = cv2.resize(colour * fine_alpha[..., None], (side, side), interpolation=cv2.INTER_AREA)
    mask = alpha >= 0.5
    thickness = float(solid.height[solid.outside < 0].mean())
    shadow = _shadow(alpha, thickness, light)
    keep = (1 - alpha) * (1 - shadow)
    if blur > 0:
        add, keep = (smear(plane, blur) for plane in (add, keep))
    return _trimmed(add, keep, mask)


def smear(picture: Plane, length: float) -> Plane:
    """Motion blur: the mean along x over ``length`` pixels, centred, so that nothing moves."""
    half = length / 2
    taps = np.arange(-math.ceil(half), math.ceil(half) + 1)
    kernel = np.clip(half + 0.5 - np.abs(taps), 0, 1)
    return _f32(cv2.filter2D(picture, -1, (kernel / kernel.sum())[None], borderType=cv2.BORDER_REPLICATE))


def _f32(array: npt.ArrayLike) -> Plane:
    return np.asarray(array, np.float32)


def _grid(reach: int, angle: float) -> _Grid:
    axis = (np.arange(2 * reach * _FINE, dtype=np.float32) + 0.5) / _FINE - reach
    x, y = axis[None, :], axis[:, None]
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    u, v = x * cos + y * sin, y * cos - x * sin
    rho, theta = cv2.cartToPolar(u, v)
    return _Grid(u, v, _f32(rho), _f32(theta))


def _trimmed(add: Plane, keep: Plane, mask: npt.NDArray[np.bool_]) -> Sprite:
    """The sprite without the empty border: less to blend in every frame."""
    touched = keep[..., None].min(axis=-1) < 0.995
    x, y, w, h = cv2.boundingRect(touched.astype(np.uint8))
    part = np.s_[y : y + h, x : x + w]
    return Sprite(
        np.ascontiguousarray(add[part]),
        np.ascontiguousarray(np.repeat(keep[part][..., None], 3, axis=2)),
        np.ascontiguousarray(mask[part]),
    )

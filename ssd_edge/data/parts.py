"""Draw machine parts as seen from above: bolts, nuts, washers and gears, shaded from their heights.

A part is described by signed distances and heights on a grid three times finer than the picture. Its normals are
computed from the heights, and its colour from what a metal with that normal reflects of the lamps above it. So one
light direction holds for every part, whatever its rotation. Lengths are in pixels of the final picture.
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

_WIDTHS = (0.46, 1.0, 1.0, 1.0)  # largest width of each class, as a share of its size
_FINE = 3  # samples per pixel in each direction, since teeth and threads are only a few pixels wide


@dataclass(frozen=True)
class Light:
    """Position and colour of the main lamp.

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
    """A part ready to be blended into a picture: ``picture = picture * keep + add``.

    Attributes:
        add: (h, w, 3) float32, BGR 0..255 times coverage.
        keep: (h, w, 3) float32, the share of the background that stays visible: neither covered nor in shadow.
        mask: (h, w) bool, the silhouette: pixels that the part, without motion blur, covers by half or more.
        x: position of the left column relative to the part's centre.
        y: position of the top row relative to the part's centre.
    """

    add: Plane
    keep: Plane
    mask: npt.NDArray[np.bool_]
    x: int
    y: int


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
    """The geometry of a shape on the fine grid.

    Attributes:
        outside: signed distance to the silhouette, negative inside.
        height: height of the surface above the belt.
        marks: tool marks, about −1 to 1.
        turned: 0..1, how strongly the surface looks turned on a lathe: such faces reflect light like a bow tie.
    """

    outside: Plane
    height: Plane
    marks: Plane
    turned: Plane


def draw_part(
    label: int, size: float, angle: float, rng: np.random.Generator, light: Light, blur: float = 0.0
) -> Sprite:
    """Draw one part.

    Args:
        label: index into LABELS.
        size: largest extent in pixels.
        angle: rotation in radians.
        rng: decides proportions, variant, material and wear.
        light: the lamp that shades the part and casts its shadow.
        blur: length in pixels of the motion blur along x, from moving while the shutter is open.
    """
    half_width = size * _WIDTHS[label] / 2
    along, across = abs(math.cos(angle)), abs(math.sin(angle))
    reach_x = math.ceil(min(size / 2, along * size / 2 + across * half_width)) + 2
    reach_y = math.ceil(min(size / 2, across * size / 2 + along * half_width)) + 2
    grid = _grid(reach_x, reach_y, angle)
    solid = _SHAPES[label](grid, size, rng)
    material = _MATERIALS[rng.choice(len(_MATERIALS), p=(0.34, 0.24, 0.24, 0.18))]

    fine_alpha = np.clip(0.5 - solid.outside * _FINE, 0, 1)
    colour = _shade(solid, grid, angle, material, light, rng) * fine_alpha[..., None]
    thickness = float(solid.height[solid.outside < 0].mean())
    room = math.ceil(size * 0.2 + blur) + 8  # for the shadow and the motion blur
    alpha, add = (
        cv2.copyMakeBorder(_coarse(plane), room, room, room, room, cv2.BORDER_CONSTANT, value=0)
        for plane in (fine_alpha, colour)
    )
    mask = alpha >= 0.5
    keep = (1 - alpha) * (1 - _shadow(_f32(alpha), thickness, light))
    if blur > 0:
        add, keep = smear(_f32(add), blur), smear(_f32(keep), blur)
    return _trimmed(_f32(add), _f32(keep), mask)


def smear(picture: Plane, length: float) -> Plane:
    """Apply motion blur: the mean along x over ``length`` pixels, centred, so that nothing is shifted."""
    half = length / 2
    taps = np.arange(-math.ceil(half), math.ceil(half) + 1)
    kernel = np.clip(half + 0.5 - np.abs(taps), 0, 1)
    return _f32(cv2.filter2D(picture, -1, (kernel / kernel.sum())[None], borderType=cv2.BORDER_REPLICATE))


def _f32(array: npt.ArrayLike) -> Plane:
    return np.asarray(array, np.float32)


def _coarse(fine: Plane) -> Plane:
    """Average from the fine grid to the picture's pixels."""
    return _f32(cv2.resize(fine, None, fx=1 / _FINE, fy=1 / _FINE, interpolation=cv2.INTER_AREA))


def _grid(reach_x: int, reach_y: int, angle: float) -> _Grid:
    x, y = ((np.arange(2 * reach * _FINE, dtype=np.float32) + 0.5) / _FINE - reach for reach in (reach_x, reach_y))
    x, y = x[None, :], y[:, None]
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    u, v = x * cos + y * sin, y * cos - x * sin
    rho, theta = cv2.cartToPolar(u, v)
    return _Grid(_f32(u), _f32(v), _f32(rho), _f32(theta))


def _trimmed(add: Plane, keep: Plane, mask: npt.NDArray[np.bool_]) -> Sprite:
    """Make a sprite without its empty border, so that there is less to blend in every frame."""
    x, y, w, h = cv2.boundingRect((keep < 0.995).astype(np.uint8))
    part = np.s_[y : y + h, x : x + w]
    return Sprite(
        np.ascontiguousarray(add[part]),
        np.ascontiguousarray(np.repeat(keep[part][..., None], 3, axis=2)),
        np.ascontiguousarray(mask[part]),
        x=x - mask.shape[1] // 2,
        y=y - mask.shape[0] // 2,
    )


# Shapes: signed distance, height and tool marks of each class.


def _bolt(grid: _Grid, size: float, rng: np.random.Generator) -> _Solid:
    """Make a bolt lying on its side, with a hexagon head or a knurled socket head, and a partly threaded shank."""
    u, v = grid.u, grid.v
    radius = size * rng.uniform(0.085, 0.115)
    socket = rng.random() < 0.35
    head_radius = radius * (1.6 if socket else 1.95)
    head = radius * (2.0 if socket else 1.35)
    neck = -size / 2 + head
    thread_start = neck + (size - head) * rng.choice((0.06, 0.35))
    pitch = max(4.0, radius * 0.42)

    # A helix seen from the side: the crest's phase advances with the angle around the shank.
    round_shank = np.arcsin(np.clip(v / radius, -1, 1)) / (2 * np.pi)
    crest = np.abs(((u / pitch + round_shank) % 1) * 2 - 1)
    threaded = np.clip((u - thread_start) / 2, 0, 1)
    tip = np.clip((u - (size / 2 - radius * 0.45)) / (radius * 0.45), 0, 1)
    shank_radius = radius * (1 - 0.17 * threaded * crest - 0.22 * tip)
    shank_outside = np.maximum(np.maximum(np.abs(v) - shank_radius, neck - u), u - size / 2)
    shank_height = np.sqrt(np.maximum(shank_radius**2 - v**2, 0.02 * radius**2))

    # The head's edges are bevelled: its outline narrows towards both ends.
    ends = np.minimum(u + size / 2, neck - u)
    ease = np.maximum(radius * 0.3 - ends, 0)
    if socket:
        knurl = 0.045 * radius * np.sign(np.sin(np.arcsin(np.clip(v / head_radius, -1, 1)) * 26))
        head_height = np.sqrt(np.maximum(head_radius**2 - v**2, 0.02 * radius**2)) + knurl
    else:
        flat = head_radius / 2  # the upper face reaches to half the radius; beyond it the sides slope down by 60°
        head_height = head_radius * 0.87 - np.maximum(np.abs(v) - flat, 0) * np.float32(math.sqrt(3))
    head_height = head_height - ease * 0.8
    head_outside = np.maximum(np.maximum(np.abs(v) - head_radius + ease * 0.4, -size / 2 - u), u - neck)

    on_head = u < neck
    marks = _noise(u * 2.2, v * 0.12, rng) * np.where(on_head, 1, 1 - 0.6 * threaded)
    return _Solid(
        _f32(np.minimum(shank_outside, head_outside)),
        _f32(np.where(on_head, head_height, shank_height)),
        _f32(marks),
        np.zeros_like(u),
    )


def _nut(grid: _Grid, size: float, rng: np.random.Generator) -> _Solid:
    """Make a hexagon nut seen from above, with corners chamfered by a cone and a threaded hole; some have a flange."""
    flanged = rng.random() < 0.25
    corner = size / 2 * (0.80 if flanged else 1)
    apothem = corner * math.cos(math.pi / 6)
    hole = apothem * rng.uniform(0.52, 0.60)
    rho, theta = grid.rho, grid.theta
    hexagon = rho * np.cos((theta % (math.pi / 3)) - math.pi / 6) - apothem
    top = size * 0.22
    # The cone starts inside the flats, so that it meets the top in a circle, as on a real nut.
    height = np.minimum(top, top - (rho - apothem * 0.93) * 0.75)
    height = np.minimum(height, top + np.minimum(0, -hexagon - 1.2) * 0.9)
    outside = hexagon
    if flanged:
        brim = _rounded(rho - size / 2, size * 0.10 - (rho - apothem) * 0.16, 2.0)
        height = np.where(hexagon < 0, height, brim)
        outside = np.minimum(hexagon, rho - size / 2)
    countersink = hole * 1.20
    turn = (rho / max(2.6, hole * 0.10) + theta / (2 * np.pi)) % 1
    thread = -(countersink - rho) * 0.9 + np.abs(turn * 2 - 1) * hole * 0.09
    height = np.where(rho < countersink, np.minimum(height, top + thread), height)
    outside = np.maximum(outside, hole - rho)
    marks = _noise(rho * 1.6, theta * 3, rng)
    return _Solid(_f32(outside), _f32(height), marks, _f32(np.where(rho < apothem * 0.93, 0.6, 0.15)))


def _washer(grid: _Grid, size: float, rng: np.random.Generator) -> _Solid:
    """Make a flat washer or a split spring washer."""
    split = rng.random() < 0.25
    outer = size / 2
    hole = outer * (rng.uniform(0.60, 0.66) if split else rng.uniform(0.42, 0.56))
    rho, theta = grid.rho, grid.theta
    outside = np.maximum(rho - outer, hole - rho)
    top = size * (0.10 if split else 0.05)
    if split:
        gap = np.abs(grid.v + (rho - outer) * 0.55) - size * 0.018  # cut at a slant
        outside = np.maximum(outside, np.where(grid.u > 0, -gap, outside))
        height = top - 0.16 * (rho - (outer + hole) / 2) ** 2 / (outer - hole) * 3
        height = height + theta / (2 * np.pi) * size * 0.08
    else:
        height = np.full_like(rho, top)
    height = _rounded(outside, height, size * 0.03)
    return _Solid(_f32(outside), _f32(height), _noise(rho * 2.0, theta * 3, rng), np.ones_like(rho))


def _gear(grid: _Grid, size: float, rng: np.random.Generator) -> _Solid:
    """Make a spur gear: teeth, a recessed web (solid, drilled or spoked), a hub, and a bore with a keyway."""
    rho, theta = grid.rho, grid.theta
    tip = size / 2
    teeth = int(np.clip(size / rng.uniform(5.0, 7.5), 12, 26))
    depth = 2.1 * size / (teeth + 2)
    wave = np.abs(((theta * teeth / (2 * np.pi)) % 1) * 2 - 1)  # 0 in a gap … 1 on a tooth
    flank = np.clip((wave - 0.30) / 0.36, 0, 1)
    profile = tip - depth * (1 - flank * (2 - flank) * 0.5 - flank * 0.5)
    # On a steep flank the radial distance is larger than the true distance; the factor corrects that.
    outside = (rho - profile) * np.where((flank > 0) & (flank < 1), 0.55, 1)
    root = tip - depth
    bore = tip * rng.uniform(0.13, 0.19)
    hub = bore + tip * rng.uniform(0.12, 0.17)
    rim = root - tip * 0.10
    key = np.maximum(np.abs(grid.v) - bore * 0.30, np.abs(grid.u - bore) - bore * 0.42)
    outside = np.maximum(outside, np.maximum(bore - rho, -key))
    web = np.maximum(hub - rho, rho - rim)
    style = rng.choice(("solid", "drilled", "spoked"), p=(0.35, 0.4, 0.25))
    if style == "drilled":
        holes = int(rng.integers(4, 7))
        sector = 2 * math.pi / holes
        local = (theta % sector) - sector / 2
        middle = (hub + rim) / 2
        apart = np.hypot(rho * np.cos(local) - middle, rho * np.sin(local))
        outside = np.maximum(outside, (rim - hub) * 0.30 - apart)
    elif style == "spoked":
        spokes = int(rng.integers(4, 6))
        sector = 2 * math.pi / spokes
        across = rho * np.abs(np.sin((theta + sector / 2) % sector - sector / 2))
        window = np.maximum(web + tip * 0.05, tip * 0.075 - across)
        outside = np.maximum(outside, -window)
    top = size * 0.13
    height = top - np.clip((-web + 0.6) / 1.8, 0, 1) * size * 0.05
    height = _rounded(outside, height, 1.8)
    turned = np.where(rho < root, 0.8, 0.25)
    return _Solid(_f32(outside), _f32(height), _noise(rho * 1.7, theta * 3, rng), _f32(turned))


_SHAPES: tuple[Callable[[_Grid, float, np.random.Generator], _Solid], ...] = (_bolt, _nut, _washer, _gear)


def _rounded(outside: npt.ArrayLike, height: npt.ArrayLike, radius: float) -> Plane:
    """Round the edges of a height map by a quarter circle."""
    inset = np.clip(radius + np.asarray(outside), 0, radius)
    return _f32(np.asarray(height) - (radius - np.sqrt(np.maximum(radius**2 - inset**2, 0))))


@lru_cache(maxsize=1)
def _noise_tile() -> Plane:
    """Make (512, 512) noise of unit variance that repeats without a seam."""
    tile = np.random.default_rng(0).standard_normal((512, 512), np.float32)
    smooth = cv2.GaussianBlur(np.pad(tile, 8, mode="wrap"), (0, 0), 0.9)[8:-8, 8:-8]
    return _f32(smooth / smooth.std())


def _noise(x: npt.ArrayLike, y: npt.ArrayLike, rng: np.random.Generator) -> Plane:
    """Sample the noise tile at coordinates x, y, relative to a random origin.

    If one coordinate changes faster than the other, the noise becomes streaks like tool marks.
    """
    ox, oy = rng.uniform(0, 512, 2)
    column, row = _f32(x) + np.float32(ox), _f32(y) + np.float32(oy)
    return _f32(cv2.remap(_noise_tile(), column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


def _shade(
    solid: _Solid, grid: _Grid, angle: float, material: _Material, light: Light, rng: np.random.Generator
) -> Plane:
    """Compute (h, w, 3) float32 BGR 0..255: the metal's reflection of a bar lamp, a weak fill and the dark hall."""
    height = cv2.GaussianBlur(solid.height, (0, 0), 0.35 * _FINE)
    slope_x = cv2.Scharr(height, cv2.CV_32F, 1, 0, scale=_FINE / 32)
    slope_y = cv2.Scharr(height, cv2.CV_32F, 0, 1, scale=_FINE / 32)
    wave = 0.02 * _noise(grid.u * 0.25, grid.v * 0.25, rng)  # no rolled or cast surface is quite flat
    slope_x, slope_y = slope_x + wave, slope_y - wave
    up2 = 1 / (1 + slope_x**2 + slope_y**2)  # the normal's z, squared

    # Mirror the view (0, 0, 1) at the normal, and split it along and across the lamp's azimuth.
    cos, sin = math.cos(light.azimuth), math.sin(light.azimuth)
    mirror_z = 2 * up2 - 1
    mirror_to = -2 * up2 * (slope_x * cos + slope_y * sin)
    mirror_by = -2 * up2 * (slope_y * cos - slope_x * sin)
    flat, lift = math.cos(light.elevation), math.sin(light.elevation)
    lamp_angle = 1 - mirror_to * flat - mirror_z * lift
    fill_angle = 1 + mirror_to * flat - mirror_z * lift
    softbox = np.exp(lamp_angle * -(3.2 + 2 * material.gloss))
    fill = np.exp(fill_angle * -5)
    # The lamp's bright core is a bar, long across its azimuth, which draws a line of light along every shank.
    width = 0.26 - 0.10 * material.gloss
    glint = np.exp(-(((mirror_to - flat) / width) ** 2) - (mirror_by / 0.8) ** 2) * (0.7 + 1.1 * material.gloss)
    ceiling = 0.20 + 0.24 * np.clip(mirror_z, -0.6, 1)
    seen = ceiling + softbox + glint + 0.28 * fill

    bow_tie = np.cos(grid.theta + (angle - light.azimuth)) ** 2
    seen *= 1 + solid.turned * up2**2 * (0.95 * bow_tie**3 - 0.2)
    seen *= 1 + 0.085 * material.grain * solid.marks
    # Hollows receive less light from the hall: compare each point with its surroundings.
    surroundings = cv2.GaussianBlur(height, (0, 0), 2.2 * _FINE)
    seen *= np.clip(1 - 0.16 * np.maximum(surroundings - height, 0), 0.35, 1)
    stain = np.clip(_noise(grid.u * 0.06, grid.v * 0.06, rng) - 0.6, 0, 1.5)
    seen *= 1 - 0.14 * stain

    film = 0.10 * glint  # an oil film, which glints white whatever the metal
    channels = [np.sqrt(1 - np.exp(-1.35 * (seen * share + film))) for share in material.reflectance]
    return _f32(255 * cv2.merge(channels))  # the square root approximates sRGB's curve


def _shadow(alpha: Plane, thickness: float, light: Light) -> Plane:
    """Compute (h, w) the share of light lost on the belt: the cast shadow, softer away from the part, and contact."""
    lx, ly, _ = light.direction
    reach = min(thickness, 26) / math.tan(light.elevation) * 1.2
    cast = np.zeros_like(alpha)
    for step in (0.35, 0.7, 1.0):
        shift = _f32([[1, 0, -lx * reach * step], [0, 1, -ly * reach * step]])
        moved = cv2.warpAffine(alpha, shift, alpha.shape[::-1])
        cast = np.maximum(cast, cv2.GaussianBlur(moved, (0, 0), 1.2 + 0.22 * reach * step))
    contact = cv2.GaussianBlur(alpha, (0, 0), 2.5)
    return _f32(1 - (1 - 0.55 * cast) * (1 - 0.35 * contact))

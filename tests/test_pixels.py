"""Pixel formats: BGR from each of them, against OpenCV and against the standards' equations."""

from __future__ import annotations

from statistics import median
from time import thread_time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd_edge.pixels import COEFFICIENTS, FORMATS, Colour, Layout, RawFrame, packed, to_bgr, to_bgr_in_integers

YUV = ("NV12", "I420", "YUYV")
# Kr and Kb of ITU-R BT.601-7, section 2.5.1, and BT.709-6, item 3.2.
KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


def noise(layout: Layout, seed: int = 0) -> RawFrame:
    """A frame of random bytes, also in the gaps between its rows."""
    return RawFrame(np.random.default_rng(seed).integers(0, 256, layout.nbytes, np.uint8), layout)


def padded(pixel_format: str, size: tuple[int, int], colour: Colour, gap: int) -> Layout:
    """A layout with a gap after each row and between the planes."""
    tight = packed(pixel_format, size, colour)
    strides = tuple(stride + gap for stride in tight.strides)
    rows = [-(-size[0] // plane.rows) for plane in FORMATS[pixel_format]]
    offsets = [gap]
    for stride, number in zip(strides[:-1], rows[:-1], strict=True):
        offsets.append(offsets[-1] + stride * number + gap)
    return Layout(pixel_format, size, tuple(offsets), strides, colour)


@pytest.mark.parametrize("pixel_format", YUV)
@pytest.mark.parametrize("size", [(2, 2), (16, 16), (54, 98), (480, 640)])
def test_bt601_of_limited_range_is_opencvs(pixel_format: str, size: tuple[int, int]) -> None:
    frame = noise(packed(pixel_format, size))
    np.testing.assert_array_equal(to_bgr(frame), to_bgr_in_integers(frame))


@pytest.mark.parametrize("colour", COEFFICIENTS)
def test_colours_are_the_standards(colour: Colour) -> None:
    """Within the error of coefficients to three decimals: 5 × 0.0005 × 255 of rounding is 0.64, and half a level."""
    frame = noise(packed("I420", (64, 64), colour))
    y, u, v = (frame.layout.of_plane(frame.memory, place)[..., 0].astype(np.float64) for place in range(3))
    y, u, v = (plane.repeat(64 // len(plane), 0).repeat(64 // len(plane), 1) for plane in (y, u, v))
    kr, kb = KR_KB[colour.matrix]
    if not colour.full_range:
        y, u, v = np.maximum(y - 16, 0) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    else:
        u, v = u - 128, v - 128
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    wanted = np.clip(np.stack([blue, green, red], axis=2), 0, 255)
    assert np.abs(to_bgr_in_integers(frame) - wanted).max() < 1.2


@pytest.mark.parametrize(("value", "full_range", "level"), [(16, False, 0), (235, False, 255), (0, True, 0)])
@pytest.mark.parametrize("pixel_format", YUV)
def test_black_and_white(pixel_format: str, value: int, full_range: bool, level: int) -> None:
    layout = packed(pixel_format, (4, 4), Colour("bt709", full_range))
    memory = np.full(layout.nbytes, 128, np.uint8)
    for place in range(len(layout.offsets)):
        plane = layout.of_plane(memory, place)
        if place == 0:
            plane[..., :: 2 if pixel_format == "YUYV" else 1] = value
    assert (to_bgr(RawFrame(memory, layout)) == level).all()


@given(
    st.sampled_from(sorted(FORMATS)), st.integers(1, 9), st.integers(1, 9), st.sampled_from(list(COEFFICIENTS)),
    st.integers(0, 5),
)  # fmt: skip
def test_gaps_and_odd_sizes_change_nothing(
    pixel_format: str, height: int, width: int, colour: Colour, gap: int
) -> None:
    loose = noise(padded(pixel_format, (height, width), colour, gap))
    tight = packed(pixel_format, (height, width), colour)
    memory = np.zeros(tight.nbytes, np.uint8)
    for place in range(len(tight.offsets)):
        tight.of_plane(memory, place)[...] = loose.layout.of_plane(loose.memory, place)
    image = to_bgr(RawFrame(memory, tight))
    assert image.shape == (height, width, 3)
    np.testing.assert_array_equal(to_bgr(loose), image)


@given(
    st.sampled_from(YUV),
    st.one_of(st.integers(1, 9), st.integers(60, 140)),
    st.integers(1, 40),
    st.sampled_from(list(COEFFICIENTS)),
    st.sampled_from([0, 3]),
)
def test_strips_have_the_bits_of_the_whole(
    pixel_format: str, height: int, width: int, colour: Colour, gap: int
) -> None:
    """Heights around one and two strips of 64 rows; BT.601 of limited range goes through OpenCV where it is even."""
    frame = noise(padded(pixel_format, (height, width), colour, gap), seed=height)
    np.testing.assert_array_equal(to_bgr(frame), to_bgr_in_integers(frame))


@pytest.mark.slow
@pytest.mark.parametrize("pixel_format", YUV)
def test_strips_are_faster(pixel_format: str) -> None:
    """They were seen to take half of the processor's time, and a quarter where each array's memory is new."""
    frame = noise(packed(pixel_format, (720, 1280), Colour("bt709")))
    ratios = []
    for _ in range(9):
        times = [thread_time()]
        for convert in (to_bgr_in_integers, to_bgr):
            convert(frame)
            times.append(thread_time())
        ratios.append((times[1] - times[0]) / (times[2] - times[1]))
    assert median(ratios) > 1.2


@given(st.sampled_from(YUV), st.integers(1, 8), st.integers(1, 8))
def test_an_odd_frame_is_the_corner_of_an_even_one(pixel_format: str, height: int, width: int) -> None:
    even = packed(pixel_format, (height + height % 2, width + width % 2))
    frame = noise(even)
    odd = Layout(pixel_format, (height, width), even.offsets, even.strides)
    np.testing.assert_array_equal(to_bgr(RawFrame(frame.memory, odd)), to_bgr(frame)[:height, :width])


def test_bgr_forms_keep_their_pixels() -> None:
    frame = noise(packed("BGRx", (3, 5)))
    np.testing.assert_array_equal(to_bgr(frame), frame.memory.reshape(3, 5, 4)[..., :3])
    frame = noise(packed("BGR", (3, 5)))
    np.testing.assert_array_equal(to_bgr(frame), frame.memory.reshape(3, 5, 3))
    frame = noise(packed("GRAY8", (3, 5)))
    np.testing.assert_array_equal(to_bgr(frame), cv2.cvtColor(frame.memory.reshape(3, 5), cv2.COLOR_GRAY2BGR))


def test_memory_that_ends_before_the_frame() -> None:
    layout = packed("NV12", (4, 4))
    with pytest.raises(ValueError, match="needs 24 bytes"):
        RawFrame(np.zeros(23, np.uint8), layout)

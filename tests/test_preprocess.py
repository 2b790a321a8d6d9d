"""``preprocess``, compared with OpenCV's resize and the arithmetic of its docstring in float64."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.preprocess import preprocess
from tests.helpers import small_spec


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    frame=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    order=st.sampled_from(["rgb", "bgr"]),
    seed=st.integers(0, 99),
)
def test_is_resize_then_reorder_then_normalise(frame, size, order, seed):
    spec = small_spec(input_size=size, channel_order=order, mean=(10.0, 120.5, 200.25), std=(3.0, 50.0, 61.7))
    image = noise(*frame, seed)
    got = preprocess(image, spec)
    if frame == (1, 1):  # which OpenCV 4.5 refuses
        resized = np.tile(image, (*size, 1))
    else:
        resized = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR_EXACT)
    ordered = (resized[..., ::-1] if order == "rgb" else resized).astype(np.float64)
    wanted = ((ordered - np.asarray(spec.mean)) / np.asarray(spec.std)).transpose(2, 0, 1)[None]
    assert got.shape == (1, 3, *size)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-5)


def test_every_level_is_subtracted_and_divided_in_float32():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mean, std = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
    spec = small_spec(input_size=(16, 16), channel_order="bgr", mean=mean, std=std)
    got = preprocess(np.stack([levels] * 3, axis=-1), spec)
    for channel in range(3):
        wanted = (levels.astype(np.float32) - np.float32(mean[channel])) / np.float32(std[channel])
        assert got[0, channel].tobytes() == wanted.tobytes()


def test_each_channel_goes_where_the_spec_says():
    blue = np.zeros((8, 8, 3), np.uint8)
    blue[..., 0] = 255
    plain = {"mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)}
    assert preprocess(blue, small_spec(channel_order="rgb", **plain))[0, :, 0, 0].tolist() == [0, 0, 1]
    assert preprocess(blue, small_spec(channel_order="bgr", **plain))[0, :, 0, 0].tolist() == [1, 0, 0]


def test_a_view_of_a_frame_gives_the_same_as_its_copy():
    view = noise(40, 60)[3:, ::-1]
    spec = small_spec()
    np.testing.assert_array_equal(preprocess(view, spec), preprocess(view.copy(), spec))


def test_the_frame_is_not_changed():
    frame = noise(32, 32)
    before = frame.copy()
    preprocess(frame, small_spec())
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
    ],
)
def test_an_invalid_frame_is_refused(frame):
    with pytest.raises(ValueError, match=r"must be \(height, width, 3\) uint8, but got"):
        preprocess(frame, small_spec())

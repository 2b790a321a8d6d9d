"""Predict where boxes will be: a Kalman filter of constant velocity for many boxes at once.

The state and its noise are those of SORT and ByteTrack (github.com/ifzhang/ByteTrack, yolox/tracker/kalman_filter.py):
centre, aspect ratio and height of a box, and their velocities. There all covariance matrices are 8 × 8. As none of the
matrices couples two coordinates, they are four matrices of 2 × 2, of which three numbers are kept. Time is counted in
frames of 1/30 s, for which the noise was chosen, and need not pass evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import to_cxcywh, to_xyxy

Numbers = npt.NDArray[np.float64]

FRAME = 1 / 30
"""Seconds of the frame in which velocities and noise are measured."""

_POSITION, _VELOCITY = 1 / 20, 1 / 160
"""Standard deviation of the noise for one frame, as a share of the box's height."""


@dataclass(eq=False)
class Motion:
    """State of N boxes; ``x``, ``y``, ``ratio`` (width/height) and ``height`` are the four coordinates.

    Attributes:
        place: (N, 4) float64: the coordinates, in pixels.
        speed: (N, 4) float64: their change in one frame.
        spread: (3, N, 4) float64: variance of place, covariance of place and speed, variance of speed.
    """

    place: Numbers
    speed: Numbers
    spread: Numbers

    @classmethod
    def of(cls, boxes: npt.NDArray[np.floating]) -> Motion:
        """Start at (N, 4) xyxy boxes, at rest."""
        place = coordinates(boxes)
        height = place[:, 3:]
        variances = (_noise(height, 2 * _POSITION, 1e-2), _noise(height, 10 * _VELOCITY, 1e-5))
        return cls(place, np.zeros_like(place), np.stack([variances[0], np.zeros_like(place), variances[1]]))

    def boxes(self) -> npt.NDArray[np.float32]:
        """Return (N, 4) float32 xyxy."""
        size = np.concatenate([self.place[:, 2:3] * self.place[:, 3:], self.place[:, 3:]], axis=1)
        return to_xyxy(np.concatenate([self.place[:, :2], size], axis=1)).astype(np.float32)

    def predict(self, which: npt.NDArray[np.bool_], frames: float) -> None:
        """Move the boxes ``which``, (N,), on by a time given in frames, 0 or more."""
        place, speed, spread = self.place[which], self.speed[which], self.spread[:, which]
        height = place[:, 3:]
        place_noise, speed_noise = _noise(height, _POSITION, 1e-2), _noise(height, _VELOCITY, 1e-5)
        self.place[which] = place + frames * speed
        # What the noise of speed adds to the place in a whole number of frames is a sum: of 0 … frames − 1, of squares.
        once, twice = frames * max(frames - 1, 0) / 2, frames * max(frames - 1, 0) * (2 * frames - 1) / 6
        grown = frames * (2 * spread[1] + frames * spread[2] + place_noise)
        self.spread[0, which] = spread[0] + grown + twice * speed_noise
        self.spread[1, which] = spread[1] + frames * spread[2] + once * speed_noise
        self.spread[2, which] = spread[2] + frames * speed_noise

    def correct(self, which: npt.NDArray[np.int64], boxes: npt.NDArray[np.floating]) -> None:
        """Take in measured boxes, (K, 4) xyxy, of the boxes ``which``, (K,) indices."""
        place, spread = self.place[which], self.spread[:, which]
        innovation = spread[0] + _noise(place[:, 3:], _POSITION, 1e-1)
        off = coordinates(boxes) - place
        gain = spread[:2] / innovation
        self.place[which] = place + gain[0] * off
        self.speed[which] += gain[1] * off
        self.spread[0, which] = spread[0] - gain[0] * spread[0]
        self.spread[1, which] = spread[1] - gain[0] * spread[1]
        self.spread[2, which] = spread[2] - gain[1] * spread[1]

    def select(self, which: npt.NDArray[np.bool_]) -> Motion:
        """Return a copy with the boxes ``which``, (N,)."""
        return Motion(self.place[which], self.speed[which], self.spread[:, which])

    def joined(self, other: Motion) -> Motion:
        """Return the boxes of this and of another."""
        return Motion(
            np.concatenate([self.place, other.place]),
            np.concatenate([self.speed, other.speed]),
            np.concatenate([self.spread, other.spread], axis=1),
        )


def coordinates(boxes: npt.NDArray[np.floating]) -> Numbers:
    """Convert (N, 4) xyxy to centre x, centre y, width/height, height, which is at least a thousandth of a pixel."""
    place: Numbers = to_cxcywh(np.asarray(boxes, np.float64)).astype(np.float64)
    place[:, 3] = np.maximum(place[:, 3], 1e-3)
    place[:, 2] /= place[:, 3]
    return place


def _noise(height: Numbers, share: float, ratio: float) -> Numbers:
    """Return the variance of each coordinate: of three it follows the height, (N, 1); of the ratio it is constant."""
    noise: Numbers = np.empty((len(height), 4))
    noise[:] = np.square(share * height)
    noise[:, 2] = ratio**2
    return noise

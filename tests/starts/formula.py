"""Weights and a picture by a formula, so that a network's reference needs only its outputs in a file.

Imported by tests, and by ``make_references.py`` in environments that have only NumPy.
"""

from __future__ import annotations

import zlib

import numpy as np


def uniform(name: str, count: int) -> np.ndarray:
    """Return numbers in −1 … 1 that depend on a name: splitmix64 of a counter, the same on every machine."""
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += np.uint64(zlib.crc32(name.encode()) << 20)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)


def weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Make the tensors of a state_dict: convolutions as He's initialisation, so that activations stay near 1."""
    made = {}
    for name, shape in shapes.items():
        values = uniform(name, int(np.prod(shape))).reshape(shape)
        if name.endswith("num_batches_tracked"):
            values = np.zeros(shape, np.int64)
        elif name.endswith("running_var"):
            values = 1 + np.float32(0.5) * values
        elif len(shape) == 4:
            values *= np.float32((6 / np.prod(shape[1:])) ** 0.5)
            if shape == [64, 3, 3, 3]:  # the first of VGG, which takes pixels of up to ±128 and not ±1
                values /= np.float32(128)
        elif name.endswith(("bias", "running_mean")):
            values *= np.float32(0.1)
        else:  # weights of BatchNorm and L2Norm
            values = 1 + np.float32(0.2) * values
        made[name] = values
    return made


def picture(height: int, width: int) -> np.ndarray:
    """Return an (H, W, 3) uint8 picture: waves of several lengths with noise on them."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    noise = uniform("picture", height * width * 3).reshape(height, width, 3)
    waves = np.stack([np.sin(x / 9), np.sin(y / 13), np.sin((x + y) / 21)], axis=-1)
    return np.clip(128 + 80 * waves + 40 * noise, 0, 255).astype(np.uint8)

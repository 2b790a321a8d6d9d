"""Keep decoded images between epochs, once for all processes that load them: in memory, or in a file mapped into it."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssd_edge.data.dataset import Image, Sample, read_image
from ssd_edge.machine.host import Host, this_host
from ssd_edge.machine.processor import memory_sizes

SHARE = 0.5
"""Largest share of the free memory, or of the free space on the disk, that images may take."""

MEMORY, FILE, NOWHERE = "memory", "file", "nowhere"


class Room(NamedTuple):
    """Where decoded images go.

    Attributes:
        place: ``memory``, ``file`` or ``nowhere``.
        needed: bytes that all images take.
    """

    place: str
    needed: int

    def sentence(self) -> str:
        """Say where they are kept, for people."""
        size = f"{self.needed / (1 << 30):.1f} GiB" if self.needed >> 30 else f"{self.needed / (1 << 20):.1f} MiB"
        if self.place == MEMORY:
            return f"decoded images are kept in memory: {size}"
        if self.place == FILE:
            return f"decoded images are kept in a file without a name in the output folder, until the end: {size}"
        return f"images are decoded each time: {size} fit neither into half of the free memory nor of the disk"


def room_for(samples: Sequence[Sample], folder: Path, among: int = 1, host: Host | None = None) -> Room:
    """Decide where the decoded images of a training are kept.

    Args:
        samples: checked images, whose ``declared`` size is their real one.
        folder: where a file would be.
        among: number of trainings on this machine that keep images at the same time.
        host: the machine; this one by default.
    """
    host = host or this_host()
    needed = sum(_nbytes(sample) for sample in samples)
    if needed * among <= SHARE * memory_sizes(host).get("MemAvailable", 0):
        return Room(MEMORY, needed)
    try:
        free = host.space(folder).free
    except OSError:
        free = 0
    return Room(FILE if needed * among <= SHARE * free else NOWHERE, needed)


class DecodedImages:
    """Images by number, each decoded once; processes that are forked later share what is decoded.

    A process that was started anew, as on Windows, keeps nothing and decodes each time.

    Args:
        samples: checked images.
        place: ``Room.place``.
        folder: where a file would be; it has no name, and is gone when its processes end.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, samples: Sequence[Sample], place: str = NOWHERE, folder: Path | None = None) -> None:
        self.samples = samples
        sizes = [_nbytes(sample) for sample in samples]
        self._starts = np.cumsum([0, *sizes]).tolist()
        self._pixels: mmap.mmap | None = None
        total = self._starts[-1]
        if place == NOWHERE or not total or os.name != "posix":
            return
        if place == MEMORY:
            self._pixels = mmap.mmap(-1, total)
        else:
            with tempfile.TemporaryFile(dir=folder) as file:
                _take_space(file.fileno(), total)
                self._pixels = mmap.mmap(file.fileno(), total)
        # One byte an image: whether its pixels are there. Written after them; two processes may both decode an image.
        self._there = mmap.mmap(-1, len(samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Image:
        """Return an image, (height, width, 3) uint8 BGR, not to be written to.

        Raises:
            DataError: it cannot be read.
        """
        sample, pixels = self.samples[index], self._pixels
        if pixels is None or sample.declared is None:
            return read_image(sample.image)
        width, height = sample.declared
        kept = np.frombuffer(pixels, np.uint8, _nbytes(sample), self._starts[index]).reshape(height, width, 3)
        if not self._there[index]:
            image = read_image(sample.image)
            if image.shape != kept.shape:  # it has changed since it was checked
                return image
            kept[:] = image
            self._there[index] = 1
        view = kept.view()
        view.flags.writeable = False
        return view

    def __getstate__(self) -> dict[str, object]:
        return {"samples": self.samples, "_starts": self._starts, "_pixels": None}


def _nbytes(sample: Sample) -> int:
    width, height = sample.declared or (0, 0)
    return 3 * width * height


def _take_space(descriptor: int, size: int) -> None:
    """Take space on the disk now: a full disk would kill a process that writes to a mapped file without any."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    for start in range(0, size, 1 << 24):  # macOS has no such call
        os.write(descriptor, bytes(min(1 << 24, size - start)))

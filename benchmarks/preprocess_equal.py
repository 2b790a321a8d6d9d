"""The resize of frames compared between OpenCV here, OpenCV on ARM, NumPy's integers, and the kernel run on a CPU.

10 000 frames of random sizes are resized to random input sizes. Results on ARM are compared by a hash for each hundred
frames.

python benchmarks/preprocess_equal.py hashes     prints a hash for each hundred frames; ``measure`` starts this on ARM
python benchmarks/preprocess_equal.py compare    prints the numbers of differing and compared values; started here
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
ARM = ROOT / "build" / "aarch64" / "python"
"""An aarch64 Python under qemu, made by ``make test-aarch64``."""

FRAMES, TOGETHER = 10_000, 100
LARGE = ((480, 640), (720, 1280), (1080, 1920))
INPUT = (300, 300)


def cases(number: int = FRAMES) -> Iterator[tuple[npt.NDArray[np.uint8], tuple[int, int]]]:
    """Yield frames with the size to resize each to; most are small, to cover many ratios in little time."""
    random = np.random.default_rng(0)
    for k in range(number):
        if k % 250 == 0:
            frame, size = LARGE[k // 250 % len(LARGE)], INPUT
        else:
            height, width, rows, columns = (int(np.exp(random.uniform(0, np.log(120)))) for _ in range(4))
            frame, size = (height, width), (rows, columns)
        yield random.integers(0, 256, (*frame, 3), np.uint8), size


def hashes() -> Iterator[str]:
    """Yield a hash for each hundred frames, resized in both ways by this machine's OpenCV."""
    from ssd_edge.resize import RESIZES

    digest = hashlib.sha256()
    for number, (frame, size) in enumerate(cases(), 1):
        for resize in RESIZES.values():
            digest.update(resize(frame, size).tobytes())
        if number % TOGETHER == 0:
            yield digest.hexdigest()


def measure() -> Any:
    """Count the values that differ, of all that were compared."""
    from figure import Figure

    differing, pixels = map(int, _started(sys.executable, "compare"))
    arm = "not compared on ARM: make test-aarch64 makes what it needs"
    if ARM.exists():
        here, there = list(hashes()), _started(str(ARM), "hashes")
        wrong = sum(a != b for a, b in zip(here, there, strict=True))
        differing += wrong
        arm = f"aarch64 under qemu: {len(here) - wrong} of {len(here)} hundreds of frames equal"
    times = {f"{width}×{height}": _times(height, width) for height, width in LARGE}
    said = ", ".join(
        f"{size} {one['linear'] / one['INTER_LINEAR']:.1f} and {one['area'] / one['INTER_LINEAR']:.0f}"
        for size, one in times.items()
    )
    return Figure(
        "preprocess-equal",
        differing,
        f"of {pixels} values differ, of {FRAMES} frames",
        "0, on x86, aarch64 and in the kernel",
        differing == 0 and ARM.exists(),
        {"aarch64": arm, "milliseconds": times},
        f"{arm}; to 300×300, linear and area take so many times INTER_LINEAR's time: {said}",
    )


def compare() -> Iterator[int]:
    """Yield the number of values that differ, and the number of all values."""
    differing = pixels = 0
    for frame, size in cases():
        for wanted, computed in _computed(frame, size):
            differing += int(np.count_nonzero(wanted != computed))
            pixels += wanted.size
    yield from (differing, pixels)


def _computed(frame: npt.NDArray[np.uint8], size: tuple[int, int]) -> Iterator[tuple[Any, Any]]:
    """Yield pairs that must be equal: NumPy's linear and OpenCV's, then NumPy's and the kernel's in both ways."""
    from ssd_edge.resize import RESIZES, area, linear_in_integers

    yield linear_in_integers(frame, size), RESIZES["linear"](frame, size)
    for how, reference in (("linear", linear_in_integers), ("area", area)):
        yield reference(frame, size), _by_kernel(frame, size, how)


def _by_kernel(frame: npt.NDArray[np.uint8], size: tuple[int, int], how: Any) -> npt.NDArray[np.uint8]:
    from ssd_edge.engines.kernels.launch import preprocess_launch, preprocess_taps
    from ssd_edge.models.registry import make_spec
    from ssd_edge.pixels import packed
    from tests.cuda.build import kernel_library

    spec = replace(
        make_spec("ssd300_vgg16", ["a"]),
        input_size=size,
        resize=how,
        channel_order="bgr",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    image = np.full((1, 3, *size), np.nan, np.float32)
    size_of_frame = (frame.shape[0], frame.shape[1])
    launch = preprocess_launch(spec, packed("BGR", size_of_frame), False)
    memory = {"frame": frame, "taps": preprocess_taps(spec, size_of_frame), "image": image}
    arguments = [memory[value] if isinstance(value, str) else value for value in launch.arguments]
    kernel_library().launch(launch.kernel, launch.grid, launch.block, arguments, 1)
    return np.asarray(image[0].transpose(1, 2, 0), np.uint8)


def _started(python: str, what: str) -> list[str]:
    """Run a process and return the words that it prints; it starts in the root, to import the tests' emulation."""
    child = subprocess.run(
        [python, __file__, what],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return child.stdout.split()


def _times(height: int, width: int, runs: int = 15) -> dict[str, float]:
    """Measure the milliseconds of each way to resize to 300×300, in turns."""
    from ssd_edge.resize import RESIZES

    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    ways: dict[str, Callable[[], Any]] = {
        "INTER_LINEAR": lambda: cv2.resize(frame, INPUT, interpolation=cv2.INTER_LINEAR),
        "INTER_AREA": lambda: cv2.resize(frame, INPUT, interpolation=cv2.INTER_AREA),
        **{how: (lambda resize=resize: resize(frame, INPUT)) for how, resize in RESIZES.items()},
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            began = perf_counter()
            way()
            took[name].append(1000 * (perf_counter() - began))
    return {name: median(times) for name, times in took.items()}


if __name__ == "__main__":
    print(*(hashes() if sys.argv[1] == "hashes" else compare()), sep="\n")

"""Frames in each pixel format through the preprocess kernel, compared with NumPy's integers, value by value.

Sizes are random, odd ones too, with gaps between rows and planes, in all colours, resized in both ways. The kernel is
compiled from its own source and runs on the CPU.

python benchmarks/planes.py     prints the comparison, as JSON
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from figure import Figure, in_a_process

from ssd_edge.pixels import COEFFICIENTS, FORMATS, Layout, RawFrame, packed, to_bgr_in_integers

FRAMES = 200
"""Frames of each format."""


def cases() -> Iterator[tuple[RawFrame, tuple[int, int]]]:
    """Yield frames of random bytes, gaps included, and the size that each is resized to."""
    random = np.random.default_rng(0)
    colours = list(COEFFICIENTS)
    for pixel_format in FORMATS:
        for number in range(FRAMES):
            height, width, rows, columns = (int(np.exp(random.uniform(0, np.log(150)))) for _ in range(4))
            tight = packed(pixel_format, (height, width), colours[number % len(colours)])
            begin, between, behind = (int(gap) for gap in random.integers(0, 9, 3))
            strides = tuple(stride + behind for stride in tight.strides)
            offsets, end = [], begin
            for place, stride in enumerate(strides):
                offsets.append(end)
                end += stride * -(-height // FORMATS[pixel_format][place].rows) + between
            layout = Layout(pixel_format, (height, width), tuple(offsets), strides, tight.colour)
            yield RawFrame(random.integers(0, 256, end + 4, np.uint8), layout), (rows, columns)


def compare() -> dict[str, Any]:
    """Count, by format, the frames with a value that differs; and all values."""
    from ssd_edge.engines.kernels.launch import preprocess_launch, preprocess_taps
    from ssd_edge.models.registry import make_spec
    from ssd_edge.preprocess import normalise
    from ssd_edge.resize import IN_INTEGERS
    from tests.cuda.build import kernel_library

    kernels, model, values = kernel_library(), make_spec("ssd300_vgg16", ["a"]), 0
    differing = dict.fromkeys(FORMATS, 0)
    for number, (frame, size) in enumerate(cases(), 1):
        bgr, wrong = to_bgr_in_integers(frame), False
        for how, resize in IN_INTEGERS.items():
            spec = replace(model, input_size=size, resize=how, channel_order=("bgr", "rgb")[number % 2])
            image = np.full((1, 3, *size), np.nan, np.float32)
            launch = preprocess_launch(spec, frame.layout, False)
            memory = {"frame": frame.memory, "taps": preprocess_taps(spec, frame.layout.size), "image": image}
            arguments = [memory[value] if isinstance(value, str) else value for value in launch.arguments]
            kernels.launch(launch.kernel, launch.grid, launch.block, arguments, number)
            wrong = wrong or not np.array_equal(image, normalise(resize(bgr, size), spec))
            values += image.size
        differing[frame.layout.pixel_format] += wrong
    return {"frames that differ": differing, "values": values}


def measure() -> Figure:
    """Run the comparison in another process, and return its result."""
    detail: dict[str, Any] = in_a_process(__file__)
    differing = sum(detail["frames that differ"].values())
    return Figure(
        "planes",
        differing,
        f"of {FRAMES * len(FORMATS)} frames differ between kernel and NumPy",
        "0, to the last bit",
        differing == 0,
        detail,
        f"{FRAMES} of each of {', '.join(FORMATS)}, each resized in both ways: {detail['values']} values",
    )


if __name__ == "__main__":
    print(json.dumps(compare()))

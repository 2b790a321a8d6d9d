"""Selftest section: compare the GPU's kernels with NumPy, to the last bit, on random heads, edge cases and frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import default_boxes
from ssd_edge.decode import Decoder, to_pixels
from ssd_edge.detections import Detections
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.driver import Argument
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.kernels.launch import (
    Launch,
    between_buffers,
    decode_launches,
    heads_buffers,
    preprocess_launch,
    preprocess_taps,
    result_buffers,
    words,
)
from ssd_edge.engines.selftest.sections import FailedError, NotRunError, Setting
from ssd_edge.errors import BackendError, MissingDependencyError
from ssd_edge.pixels import COEFFICIENTS, FORMATS, Image, RawFrame, packed, to_bgr_in_integers
from ssd_edge.preprocess import normalise
from ssd_edge.resize import IN_INTEGERS
from ssd_edge.spec import ModelSpec

Arrays = dict[str, npt.NDArray[Any]]


def kernels(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Run the kernels and compare them with NumPy; see ``sections.Work``."""
    spec = setting.model()[1]
    with ExitStack() as stack:
        device = open_device(stack)
        module = load_kernels(stack, device)
        number = 0
        for half in (False, True):
            for name, loc, logits in heads_to_try(spec):
                _compare(device, module, spec, half, name, loc, logits)
                number += 1
        for half in (False, True):  # compared with integers, whatever OpenCV the device has
            for frame in frames_to_try(setting.frames[:4]):
                _compare_image(device, module, spec, half, frame)
                number += 1
        sentence = f"{number} results of {device.name} equal NumPy's to the last bit"
        return sentence, {"device": device.name, "results": number}


def open_device(stack: ExitStack) -> Device:
    """Open the first GPU.

    Raises:
        NotRunError: there is none.
    """
    try:
        return stack.enter_context(Device())
    except BackendError as error:
        raise NotRunError(f"it needs a GPU: {error}") from None


def load_kernels(stack: ExitStack, device: Device) -> Module:
    """Compile the kernels for a GPU and load them.

    Raises:
        NotRunError: the compiler is not installed.
    """
    capability = "".join(map(str, device.compute_capability))
    try:
        images = compile_kernels(f"sm_{capability}").images
    except MissingDependencyError as error:
        raise NotRunError(str(error)) from None
    (cubin,) = (content for image, content in images.items() if image.kind == "cubin")
    return stack.enter_context(device.module(cubin))


def heads_to_try(spec: ModelSpec) -> Iterator[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Make test heads: name, loc (1, A, 4), logits (1, A, C); random, ties, NaN and infinities, no candidate."""
    rng = np.random.default_rng(0)
    boxes, classes = spec.num_default_boxes, spec.num_classes
    for seed in range(3):
        logits = rng.normal(0, 3, (1, boxes, classes)).astype(np.float32)
        yield f"random {seed}", rng.normal(0, 1, (1, boxes, 4)).astype(np.float32), logits
    loc = rng.normal(0, 1, (1, boxes, 4)).astype(np.float32)
    ties = np.zeros((1, boxes, classes), np.float32)
    ties[..., 1:] = 4
    yield "ties", loc, ties
    hard = rng.normal(0, 3, (1, boxes, classes)).astype(np.float32)
    hard[0, ::7], hard[0, 3::7], loc_hard = np.nan, np.inf, loc.copy()
    loc_hard[0, ::5] = np.inf
    yield "NaN and infinite", loc_hard, hard
    nothing = np.full((1, boxes, classes), -20, np.float32)
    nothing[..., 0] = 20
    yield "no candidate", loc, nothing


def frames_to_try(pictures: Sequence[Image]) -> Iterator[RawFrame]:
    """Make test frames: the pictures, and random ones of odd size in each pixel format and colour."""
    for picture in pictures:
        data = np.ascontiguousarray(picture).reshape(-1)
        yield RawFrame(data, packed("BGR", (picture.shape[0], picture.shape[1])))
    rng = np.random.default_rng(0)
    for pixel_format in FORMATS:
        for colour in COEFFICIENTS:
            layout = packed(pixel_format, (363, 641), colour)
            yield RawFrame(rng.integers(0, 256, layout.nbytes, np.uint8), layout)


def _compare(
    device: Device,
    module: Module,
    spec: ModelSpec,
    half: bool,
    name: str,
    loc: npt.NDArray[np.float32],
    logits: npt.NDArray[np.float32],
) -> None:
    kind = np.float16 if half else np.float32
    with np.errstate(over="ignore"):
        given: Arrays = {"loc": loc.astype(kind), "logits": logits.astype(kind), "defaults": default_boxes(spec)}
    results = {key: np.zeros(one.shape, one.dtype) for key, one in result_buffers(spec, 1).items()}
    between = {key: np.zeros(one.shape, one.dtype) for key, one in between_buffers(spec, 1).items()}
    _launch(device, module, decode_launches(spec, 1, half), {**given, **between, **results}, tuple(results), results)
    size = (480, 640)
    wanted = Decoder(spec)(given["loc"][0].astype(np.float32), given["logits"][0].astype(np.float32), size)
    number = int(results["num_detections"][0])
    actual = results["scores"][0, :number], results["classes"][0, :number].astype(np.int64), int(results["num_cut"][0])
    if not _equal(wanted, actual, results["boxes"][0, :number], size):
        raise FailedError(f"decode of {name} heads in {kind.__name__} is not NumPy's: {number} and {len(wanted)} boxes")


def _equal(
    wanted: Detections, actual: tuple[Any, Any, int], boxes: npt.NDArray[np.float32], size: tuple[int, int]
) -> bool:
    scores, labels, cut = actual
    return (
        np.array_equal(wanted.scores, scores)
        and np.array_equal(wanted.labels, labels)
        and np.array_equal(wanted.boxes, to_pixels(boxes, size))
        and wanted.num_cut == cut
    )


def _compare_image(device: Device, module: Module, spec: ModelSpec, half: bool, frame: RawFrame) -> None:
    buffer = heads_buffers(spec, 1, half)["image"]
    image = {"image": np.zeros(buffer.shape, buffer.dtype)}
    size, launches = frame.layout.size, (preprocess_launch(spec, frame.layout, half),)
    given: Arrays = {"frame": frame.memory, "taps": preprocess_taps(spec, size)}
    _launch(device, module, launches, {**given, **image}, ("image",), image)
    pixels = IN_INTEGERS[spec.resize](to_bgr_in_integers(frame), spec.input_size)
    wanted = normalise(pixels, spec).astype(buffer.dtype)
    if not np.array_equal(image["image"], wanted):
        worst = float(np.abs(image["image"].astype(np.float32) - wanted.astype(np.float32)).max())
        raise FailedError(
            f"preprocess of a {size[1]}×{size[0]} {frame.layout.pixel_format} frame is off by up to {worst:.3g}; "
            "decode is right"
        )


def _launch(
    device: Device, module: Module, launches: tuple[Launch, ...], arrays: Arrays, back: tuple[str, ...], into: Arrays
) -> None:
    with ExitStack() as stack:
        buffers = {name: stack.enter_context(device.buffer(words(array.nbytes))) for name, array in arrays.items()}
        stream = stack.enter_context(device.stream())
        for name, array in arrays.items():
            stream.upload(buffers[name], array)
        for launch in launches:
            arguments: list[Argument] = [
                np.uint64(buffers[value].address) if isinstance(value, str) else np.int32(value)
                for value in launch.arguments
            ]
            stream.launch(module.function(launch.kernel), launch.grid, launch.block, arguments)
        for name in back:
            stream.download(into[name], buffers[name])
        stream.synchronize()

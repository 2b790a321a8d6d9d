"""Check every image and box of a data set; report what is wrong, and return the usable part."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssd_edge.data.dataset import Dataset, Issue, Sample, Target
from ssd_edge.data.likeness import Look, look_of
from ssd_edge.data.picture import Decoding, read_picture
from ssd_edge.data.report import Report
from ssd_edge.data.units import Inspected, Problem, Units
from ssd_edge.errors import DataError
from ssd_edge.progress import Progress, no_progress

_LEAST = 0.999  # width and height of a box in pixels; a little less than 1, since fractions in text are rounded
_SLACK = 1.0  # pixels outside the image that can be due to rounding or to counting from 1


def check_dataset(
    dataset: Dataset, progress: Progress = no_progress, split_of: Mapping[Path, str] | None = None
) -> Report:
    """Decode every image, and compare every box with its image.

    Images are left out if they are missing, unreadable, byte for byte the same as an earlier one, or of another shape
    than their labels declare. Boxes in other units than this picture's pixels are scaled (``units``). Boxes are left
    out if they have less than a pixel or a coordinate that is NaN or infinite, lie completely outside the image, or
    repeat an earlier one. Boxes partly outside are clipped, and reported if more than one pixel is cut off. An image
    that loses all its boxes is kept, as an image with no object.

    Args:
        dataset: a data set as a reader returned it.
        progress: called in the calling thread.
        split_of: the split of images, to be named where two images are the same.
    """
    inspected = []
    for done, result in enumerate(_inspect_all(dataset.samples), 1):
        inspected.append(result)
        progress(done, len(dataset))
    units = Units.of(dataset, inspected)
    issues = list(dataset.issues)
    samples = []
    first: dict[str, Sample] = {}
    digests = []
    looks: list[Look] = []
    for sample, info in zip(dataset.samples, inspected, strict=True):
        if isinstance(info, Issue):
            issues.append(info)
            continue
        twin = first.setdefault(info.digest, sample)
        if twin is not sample:
            issues.append(duplicate(sample, twin, (split_of or {}).get(twin.image, "")))
            continue
        target, problems = units.in_pixels(sample, info)
        if target is not None:
            target, more = check_boxes(target, *info.header.size)
            problems += more
            samples.append(Sample(sample.image, target, info.header.size))
            digests.append(info.digest)
            looks.append(info.look)
        issues += [Issue(p.kind, sample.image, p.detail, p.handled) for p in problems]
    clean = replace(dataset, samples=tuple(samples), issues=())
    return Report(dataset, clean, tuple(issues), tuple(digests), tuple(looks))


def check_boxes(target: Target, width: int, height: int) -> tuple[Target, list[Problem]]:
    """Check the objects of one image of ``width`` × ``height``; return the usable ones and the problems.

    Boxes in the result are finite, have an area, lie within the image, and do not repeat.
    """
    edge = np.array([width, height, width, height], np.float32)
    boxes = np.clip(target.boxes, 0, edge)
    keep = np.zeros(len(target), bool)
    problems = []
    earlier = set()
    for i, (raw, clipped, label) in enumerate(zip(target.boxes, boxes, target.labels, strict=True)):
        shown = f"box ({', '.join(f'{value:g}' for value in raw.tolist())})"
        key = (int(label), raw.tobytes())
        if not np.isfinite(raw).all():
            problems.append(Problem("no-area", f"{shown} has a coordinate that is not a number", "box left out"))
        elif raw[2] <= raw[0] or raw[3] <= raw[1]:
            problems.append(Problem("no-area", f"{shown} has no area", "box left out"))
        elif clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            detail = f"{shown} lies outside the {width}×{height} image"
            problems.append(Problem("outside-image", detail, "box left out"))
        elif min(clipped[2] - clipped[0], clipped[3] - clipped[1]) < _LEAST:
            problems.append(Problem("no-area", f"{shown} is less than a pixel of the image", "box left out"))
        elif key in earlier:
            problems.append(Problem("duplicate-box", f"{shown} repeats an earlier one", "box left out"))
        else:
            keep[i] = True
            earlier.add(key)
            if np.abs(raw - clipped).max() > _SLACK:
                detail = f"{shown} reaches out of the {width}×{height} image"
                problems.append(Problem("outside-image", detail, "box clipped"))
    return replace(target, boxes=boxes).where(keep), problems


def _inspect_all(samples: Sequence[Sample]) -> Iterator[Inspected | Issue]:
    """Inspect the image of every sample, in order; in threads, since OpenCV decodes without Python's lock."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        yield from pool.map(_inspect, (sample.image for sample in samples))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C should not wait for the rest


def _inspect(image: Path) -> Inspected | Issue:
    if not image.is_file():
        return Issue("missing-image", image, "there is no such file", "image left out")
    try:
        picture = read_picture(image)
    except (DataError, OSError) as error:
        return Issue("unreadable-image", image, str(error), "image left out")
    digest = hashlib.sha256(picture.data).hexdigest()
    return Inspected(picture.header, picture.largest, digest, Decoding.chosen().bits, look_of(picture.image))


def duplicate(sample: Sample, twin: Sample, split: str = "") -> Issue:
    """Return the issue of an image whose bytes are those of another, which is in ``split`` if that is not ""."""
    ours, theirs = sample.target, twin.target
    same = np.array_equal(ours.boxes, theirs.boxes) and np.array_equal(ours.labels, theirs.labels)
    listed_twice = f"listed in split {split} too" if split else "listed more than once"
    what = listed_twice if sample.image == twin.image else f"the same picture as {twin.image}"
    what += f" in split {split}" if split and sample.image != twin.image else ""
    detail = what if same else f"{what}, but with other objects"
    return Issue("duplicate-image", sample.image, detail, "image left out")

"""Read images without their labels, from a data set, a folder or the rendered scene."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Image, read_image
from ssd_edge.data.files import IMAGE_SUFFIXES, visible, walk
from ssd_edge.data.readers import declared_splits, open_dataset, recognise
from ssd_edge.data.roles import role_of
from ssd_edge.errors import DataError
from ssd_edge.preprocess import preprocess
from ssd_edge.progress import Note
from ssd_edge.spec import ModelSpec

SUFFIXES = IMAGE_SUFFIXES


def image_files(path: Path, split: str = "") -> list[Path]:
    """List the image files of a data set or, if a folder has no labels that are read, of the folder itself.

    The data set comes first, so that a stray picture beside it does not hide it. The order is fixed.

    Raises:
        DataError: there is no image.
    """
    if not path.is_dir() or split:
        return [sample.image for sample in open_dataset(path, split)]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and visible(file.name))
    if files and recognise(path) is None:
        return files
    try:
        return [sample.image for sample in open_dataset(path)]
    except DataError:
        if files and files == list(walk(path, SUFFIXES)):  # the labels beside them, which are not needed, are bad
            return files
        raise


def spread(files: list[Path], number: int, seed: int = 0) -> list[Path]:
    """Choose ``number`` files at random by seed, or all if there are fewer; they keep their order."""
    if len(files) <= number:
        return files
    chosen = np.random.default_rng(seed).choice(len(files), number, replace=False)
    return [files[k] for k in sorted(chosen)]


def sample_images(path: Path | None, number: int, split: str = "") -> Iterator[Image]:
    """Yield up to ``number`` images of a data set or folder, or frames of the rendered scene if there is no path.

    Raises:
        DataError: there is no image, or one cannot be read.
    """
    if path is None:
        from ssd_edge.data.synthetic import Conveyor

        for k in range(number):
            yield Conveyor(seed=k).frame(k)[0]
        return
    for file in spread(image_files(path, split), number):
        yield read_image(file)


def validation_images(path: Path | None, number: int) -> Iterator[Image]:
    """Yield images as ``sample_images`` does, from the split ``val`` if the data set has one.

    Raises:
        DataError: there is no image, or one cannot be read.
    """
    return sample_images(path, number, _validation_split(path) if path is not None else "")


def _validation_split(path: Path) -> str:
    """Return the split for validation; "" if there is none, or only pictures without labels."""
    try:
        declared = declared_splits(path)
    except DataError:
        return ""
    names = [name for name, source in declared.items() if role_of(name) == "val" and source.exists()]
    return min(names, key=lambda name: (name.casefold() != "val", name), default="")


def jpeg_thumbnail(image: Image, longest: int = 128) -> bytes:
    """Encode an image as a JPEG of a few kilobytes whose longer side has at most ``longest`` pixels."""
    factor = min(1.0, longest / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 75])[1])


def preprocessed(images: Iterable[Image], spec: ModelSpec) -> Iterator[npt.NDArray[np.float32]]:
    """Turn each image into a (1, 3, H, W) network input."""
    return (preprocess(image, spec) for image in images)


def readable(files: Iterable[Path], note: Note) -> Iterator[Image]:
    """Yield the images of readable files; note the error of each other file."""
    for file in files:
        try:
            image = read_image(file)
        except DataError as error:
            note(str(error))
        else:
            yield image

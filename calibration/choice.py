"""Choosing the calibration images, by seed, from a data set, a folder or a video."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Dataset, Image
from ssd_edge.data.images import SUFFIXES, image_files, preprocessed, readable, spread
from ssd_edge.data.split import part_to_learn_from
from ssd_edge.data.wording import where
from ssd_edge.errors import CalibrationError
from ssd_edge.progress import Note, no_note
from ssd_edge.spec import ModelSpec
from ssd_edge.stream.video_file import VideoSource, count_frames

LEAST_IMAGES = 32
"""The least number of images, unless forced: fewer show only a few scenes, and the camera will see others."""

_LABEL_FILES = {".json", ".yaml", ".yml"}


@dataclass(frozen=True)
class ChosenImages:
    """The images chosen for calibration, not read yet.

    Attributes:
        number: how many images there are.
        key: hash that identifies the images and their order: paths, sizes and times of files, numbers of frames.
        missing: classes that no image shows; empty if the labels are not known.
        read: yields (name, image) one by one; calls its argument with a sentence for each unreadable image.
        origin: what they were chosen from, in words: a split and its file, a folder or a video.
    """

    number: int
    key: str
    missing: tuple[str, ...]
    read: Callable[[Note], Iterator[tuple[str, Image]]]
    origin: str = ""

    def inputs(self, spec: ModelSpec, note: Note) -> Iterator[npt.NDArray[np.float32]]:
        """Yield (1, 3, H, W) float32 of each image, as the network takes it; ``note`` as for ``read``."""
        return preprocessed((image for _, image in self.read(note)), spec)

    def some(self, number: int) -> Iterator[Image]:
        """Yield about ``number`` of the images, evenly spread."""
        images = (image for _, image in self.read(no_note))
        return islice(images, 0, None, max(1, self.number // number))


NO_IMAGES = ChosenImages(0, "", (), lambda note: iter(()))
"""No images at all: for scales that are given."""


def choose_images(
    source: Path,
    number: int,
    *,
    split: str = "",
    seed: int = 0,
    labels: Sequence[str] = (),
    least: int = LEAST_IMAGES,
    held_out: Collection[str] = (),
) -> ChosenImages:
    """Choose images by seed: the same seed gives the same files or frames.

    Args:
        source: a data set, a folder of images, an image or a video.
        number: the most images to choose.
        split: the part of the data set; "" for that to learn from, see ``part_to_learn_from``.
        seed: random seed for the choice.
        labels: class names that the images should show.
        least: the least number of images.
        held_out: digests of images that the model's training held out, to measure on; not chosen from a data set.

    Raises:
        DataError: there is no such data set, split or image.
        SourceError: the video cannot be read.
        CalibrationError: there are fewer than ``least`` images.
    """
    if source.is_file() and source.suffix.lower() not in SUFFIXES | _LABEL_FILES:
        chosen = _of_video(source, number, seed)
    else:
        chosen = _of_files(source, number, split, seed, labels, held_out)
    if chosen.number < least:
        raise CalibrationError(
            f"calibration needs at least {least} images, but {source} gives {chosen.number}: "
            "add images like those the camera will see, or --force to make do with these"
        )
    return chosen


def _of_files(
    source: Path, number: int, split: str, seed: int, labels: Sequence[str], held_out: Collection[str]
) -> ChosenImages:
    single = source.is_file() and source.suffix.lower() in SUFFIXES
    dataset = None if single else _dataset(source, split, held_out)
    if dataset is not None:
        files = [sample.image for sample in dataset]
    else:
        files = [source] if source.is_file() else image_files(source)
    files = spread(files, number, seed)
    facts = [f"{file.absolute()}\0{_size_and_time(file)}" for file in files]
    missing = _missing(dataset, files, labels) if dataset is not None else ()
    origin = where(dataset) if dataset is not None else str(source)
    return ChosenImages(len(files), _hash(facts), missing, lambda note: _read_files(files, note), origin)


def _dataset(source: Path, split: str, held_out: Collection[str]) -> Dataset | None:
    """Open the data set; None if the source is a plain folder of images."""
    plain = not split and source.is_dir() and any(file.suffix.lower() in SUFFIXES for file in source.iterdir())
    return None if plain else part_to_learn_from(source, split, held_out=held_out)


def _missing(dataset: Dataset, files: Iterable[Path], labels: Sequence[str]) -> tuple[str, ...]:
    chosen = set(files)
    shown = {
        dataset.labels[label] for sample in dataset if sample.image in chosen for label in sample.target.labels.tolist()
    }
    return tuple(label for label in labels if label not in shown)


def _of_video(path: Path, number: int, seed: int) -> ChosenImages:
    """Choose one frame from each of ``number`` equal stretches, since neighbouring frames are nearly alike."""
    total = count_frames(path)
    edges = np.linspace(0, total, min(number, total) + 1)
    random = np.random.default_rng(seed)
    frames = sorted({int(random.integers(int(a), max(int(b), int(a) + 1))) for a, b in pairwise(edges)})
    facts = [f"{path.absolute()}\0{_size_and_time(path)}", *map(str, frames)]
    return ChosenImages(len(frames), _hash(facts), (), lambda note: _read_frames(path, frames, note), str(path))


def _read_files(files: Iterable[Path], note: Note) -> Iterator[tuple[str, Image]]:
    for file in files:
        for image in readable([file], note):
            yield file.name, image


def _read_frames(path: Path, frames: Sequence[int], note: Note) -> Iterator[tuple[str, Image]]:
    """Read the chosen frames; in place of one that cannot be decoded, the next that can and is not chosen itself."""
    left = list(frames)
    with VideoSource(path) as source:
        while left and (frame := source.read()) is not None:
            number = frame.index + source.lost
            if number >= left[0]:
                yield f"{path.name}, frame {number}", frame.image
                del left[0]
    if source.lost:
        note(f"{source.lost} frames of {path} cannot be decoded")
    if left:
        note(f"{len(left)} of the {len(frames)} frames chosen from {path} are missing")


def _size_and_time(path: Path) -> str:
    try:
        facts = path.stat()
    except OSError:  # reported when the file is read
        return ""
    return f"{facts.st_size} {facts.st_mtime_ns}"


def _hash(facts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(facts).encode(errors="surrogatepass")).hexdigest()

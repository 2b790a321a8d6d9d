"""Draw a plate of samples: each as it is labelled, beside what an augmentation makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ssd_edge.data.augment.catalogue import make_augmentation
from ssd_edge.data.augment.geometry import stretch
from ssd_edge.data.dataset import Dataset, Sample, Target, read_image
from ssd_edge.errors import DataError
from ssd_edge.files import written_whole
from ssd_edge.outputs.draw import PALETTE, Mark, draw_marks
from ssd_edge.outputs.lettering import names_of, write
from ssd_edge.pixels import Image
from ssd_edge.spec import ModelSpec

ROWS = 6
"""Most samples on a plate."""
VARIANTS = 4
"""Augmented variants of each sample."""
SIDE = 320
"""Longest side of a picture on the plate, in pixels."""

_GAP, _LINE = 8, 22  # pixels between pictures, and height of a line with a file's name
_DARK, _INK = (32, 30, 28), (215, 215, 215)


class Plate:
    """A picture of samples as they are labelled, and of what an augmentation makes of them.

    Args:
        path: a PNG file; replaced if it exists.
        augmentation: a key of ``AUGMENTATIONS``.
        spec: gives the input size and mean of augmented images.

    Raises:
        DataError: there is no such augmentation, or the file's name does not end with ``.png``.
    """

    def __init__(self, path: Path, augmentation: str, spec: ModelSpec) -> None:
        if path.suffix.lower() != ".png":
            raise DataError(f"a preview is a PNG picture: give --preview a name that ends with .png, not {path}")
        self.path, self.title = path, augmentation
        self._augment = make_augmentation(augmentation, spec)

    def write(self, dataset: Dataset, seed: int = 0) -> None:
        """Draw some samples and write the file.

        Args:
            dataset: the usable part of a data set.
            seed: random seed. The variants of a sample are those that training draws in its first epochs with this
                seed, if it learns from this data set as it is.

        Raises:
            DataError: there is no object to show, or the file cannot be written.
        """
        chosen = _some_with_objects(dataset.samples)
        if not chosen:
            raise DataError(f"no preview is written, since no usable image of {dataset.root} has an object to show")
        _, data = cv2.imencode(".png", np.concatenate([self._row(dataset, index, seed) for index in chosen]))
        try:
            with written_whole(self.path) as partial:
                partial.write_bytes(data.tobytes())
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}") from None

    def _row(self, dataset: Dataset, index: int, seed: int) -> Image:
        """Draw one sample and its variants side by side, below the file's name."""
        sample = dataset.samples[index]
        image = read_image(sample.image)
        tiles = [_tile(image, sample.target, dataset.labels, "as labelled")]
        for variant in range(VARIANTS):
            changed = self._augment(image, sample.target, np.random.default_rng([seed, variant, index]))
            tiles.append(_tile(*changed, dataset.labels, f"{self.title} {variant + 1}"))
        height = max(tile.shape[0] for tile in tiles)
        row = np.full((_LINE + height + _GAP, (SIDE + _GAP) * len(tiles) + _GAP, 3), _DARK, np.uint8)
        for column, tile in enumerate(tiles):
            left = _GAP + column * (SIDE + _GAP)
            row[_LINE : _LINE + tile.shape[0], left : left + tile.shape[1]] = tile
        (name,) = names_of((sample.image.name,))
        write(row, name, name.text, (_GAP, _LINE - 7), 0.42, _INK)
        return row


def _some_with_objects(samples: Sequence[Sample]) -> list[int]:
    """Choose samples with an object, spread evenly over the data set."""
    indices = [k for k, sample in enumerate(samples) if len(sample.target)]
    places = np.linspace(0, len(indices) - 1, min(ROWS, len(indices))).round().astype(int)
    return [indices[place] for place in places]


def _tile(image: Image, target: Target, labels: Sequence[str], note: str) -> Image:
    """Resize an image so that its longer side is ``SIDE``, and draw its objects."""
    scale = SIDE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    small = stretch(image, target, (height, width), cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return annotate_objects(*small, labels, note)


def annotate_objects(image: Image, target: Target, labels: Sequence[str], note: str) -> Image:
    """Copy an image and draw its labelled objects on it; those that are difficult or crowds are marked.

    Args:
        image: (height, width, 3) uint8 BGR; not changed.
        target: objects in pixels of the image.
        labels: class names in any script.
        note: short text for the upper left corner.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    names = names_of(tuple(labels))
    marks = []
    for k, label in enumerate(target.labels.tolist()):
        flags = " (crowd)" * bool(target.crowd[k]) + " (difficult)" * bool(target.difficult[k])
        marks.append(Mark(target.boxes[k], names[label], names[label].text + flags, PALETTE[label % len(PALETTE)]))
    return draw_marks(image, marks, note=note)

"""Choose the images for training and for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssd_edge.data.dataset import Dataset
from ssd_edge.data.readers import open_dataset
from ssd_edge.errors import DataError

HELD_OUT = 0.2
"""Share of the images held out for validation if a data set has no split for it."""


def training_and_validation(
    path: Path, split: str = "", validation_split: str = "", seed: int = 0
) -> tuple[Dataset, Dataset]:
    """Read the training and the validation part of a data set, both with the classes of the training part.

    Args:
        path: as in ``open_dataset``.
        split: split to train on. If empty, it is ``train`` if that exists, else all images that validation does not
            use.
        validation_split: split to validate on. If empty, it is ``val`` if that exists and shares no image with the
            training part; else a fifth of the training part is held out.
        seed: random seed for choosing the held-out images.

    Raises:
        DataError: the data set has no usable image, or not this split.
    """
    training = open_dataset(path, split) if split else _open_if_there(path, "train") or open_dataset(path)
    if validation_split:
        validation = open_dataset(path, validation_split, training.labels)
        return (training if split else _without(training, validation)), validation
    val = _open_if_there(path, "val", training.labels)
    if val and not _images(training) & _images(val):
        return training, val
    return hold_out(training, HELD_OUT, seed)


def _open_if_there(path: Path, split: str, labels: Sequence[str] | None = None) -> Dataset | None:
    try:
        return open_dataset(path, split, labels)
    except DataError:
        return None  # an error other than a missing split is raised when the whole data set is opened


def _images(dataset: Dataset) -> set[Path]:
    return {sample.image for sample in dataset}


def _without(dataset: Dataset, other: Dataset) -> Dataset:
    used = _images(other)
    return replace(dataset, samples=[sample for sample in dataset if sample.image not in used])


def hold_out(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split a data set into (rest, held out): a random ``share`` of the images, at least one, the same for each seed.

    Raises:
        DataError: there are fewer than two images.
    """
    if len(dataset) < 2:
        raise DataError(
            f"{dataset.root} has {len(dataset)} image, but training needs one and validation another: add images"
        )
    number = min(len(dataset) - 1, max(1, round(len(dataset) * share)))
    held = set(np.random.default_rng(seed).permutation(len(dataset))[:number].tolist())
    rest = [sample for k, sample in enumerate(dataset.samples) if k not in held]
    kept = [sample for k, sample in enumerate(dataset.samples) if k in held]
    name = dataset.split or "all"
    return (
        replace(dataset, samples=rest, split=f"{name} less held-out"),
        replace(dataset, samples=kept, split=f"{name} held-out", issues=()),
    )

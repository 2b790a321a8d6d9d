"""Which images to train on and which to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssd_edge.data.dataset import Dataset
from ssd_edge.data.readers import open_dataset
from ssd_edge.errors import DataError

HELD_OUT = 0.2
"""Share of the images that validate where a data set has no split for it."""


def training_and_validation(
    path: Path, split: str = "", validation_split: str = "", seed: int = 0
) -> tuple[Dataset, Dataset]:
    """The two parts of a data set, with the classes of the first.

    Args:
        path: as in ``open_dataset``.
        split: to train on; ``train`` where empty and there is one, else all that validation does not use.
        validation_split: ``val`` where empty, there is one and it shares no image with ``split``; else a fifth of
            ``split`` is held out, by ``seed``.
        seed: of the choice.

    Raises:
        DataError: nothing usable there, or no such split.
    """
    training = open_dataset(path, split) if split else _open_if_there(path, "train") or open_dataset(path)
    if validation_split:
        validation = open_dataset(path, validation_split, training.labels)
        return (training if split else _without(training, validation)), validation
    found = _open_if_there(path, "val", training.labels)
    if found and not _images(training) & _images(found):
        return training, found
    return hold_out(training, HELD_OUT, seed)


def _open_if_there(path: Path, split: str, labels: Sequence[str] | None = None) -> Dataset | None:
    try:
        return open_dataset(path, split, labels)
    except DataError:
        return None  # what is wrong beyond that is said when the whole is opened


def _images(dataset: Dataset) -> set[Path]:
    return {sample.image for sample in dataset}


def _without(dataset: Dataset, other: Dataset) -> Dataset:
    used = _images(other)
    return replace(dataset, samples=[sample for sample in dataset if sample.image not in used])


def hold_out(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(rest, held out): a random ``share`` of the images, at least one; the same seed holds out the same ones.

    Raises:
        DataError: fewer than two images.
    """
    if len(dataset) < 2:
        raise DataError(f"{dataset.root} has {len(dataset)} image; training needs one and validation another")
    number = min(len(dataset) - 1, max(1, round(len(dataset) * share)))
    held = set(np.random.default_rng(seed).permutation(len(dataset))[:number].tolist())
    rest = [sample for k, sample in enumerate(dataset.samples) if k not in held]
    kept = [sample for k, sample in enumerate(dataset.samples) if k in held]
    name = dataset.split or "all"
    return (
        replace(dataset, samples=rest, split=f"{name} less held-out"),
        replace(dataset, samples=kept, split=f"{name} held-out", issues=()),
    )

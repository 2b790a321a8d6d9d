"""Which images to train on and which to validate on."""

from __future__ import annotations

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
    """The two parts of a data set.

    Args:
        path: as in ``open_dataset``.
        split: to train on; ``train`` where empty and there is one.
        validation_split: ``val`` where empty and there is one; else a fifth of ``split`` is held out, by ``seed``.
        seed: of the choice.

    Raises:
        DataError: nothing usable there, or no such split.
    """
    if split and validation_split:
        return open_dataset(path, split), open_dataset(path, validation_split)
    if not split and not validation_split:
        try:
            return open_dataset(path, "train"), open_dataset(path, "val")
        except DataError:
            pass  # no such splits: what is wrong otherwise is said below
    whole = open_dataset(path, split)
    if validation_split:
        return whole, open_dataset(path, validation_split)
    return hold_out(whole, HELD_OUT, seed)


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

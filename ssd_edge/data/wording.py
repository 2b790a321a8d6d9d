"""How sentences name a data set, a count, classes, and the command that lists what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssd_edge.data.roles import HELD_OUT
from ssd_edge.hints import command

if TYPE_CHECKING:
    from ssd_edge.data.dataset import Dataset

LISTED = 20
"""Number of issues that ``check-data`` lists without ``--all``."""


def unknown_sentence(unknown: Mapping[str, int], images: str) -> str:
    """Say which classes of the data set are not in the class list, and how many boxes each has."""
    names = ", ".join(f"{name} ({number})" for name, number in unknown.items())
    boxes = counted(sum(unknown.values()), "box")
    classes = "a class that is" if len(unknown) == 1 else f"{len(unknown)} classes that are"
    return f"left out {boxes} of {images}, of {classes} not in the class list: {names}"


def check_command(dataset: Dataset, number: int = 0) -> str:
    """Return the command that lists what is wrong with a data set.

    Args:
        dataset: the data set as it was read.
        number: number of problems to list.
    """
    split = ["--split", dataset.split] if dataset.split else []
    return command("check-data", dataset.root, *split, *(["--all"] if number > LISTED else []))


def counted(number: int, thing: str) -> str:
    """Write a number with its noun: ``0 boxes``, ``1 box``, ``2 images``."""
    plural = f"{thing}es" if thing.endswith(("box", "class")) else f"{thing}s"
    return f"{number} {thing if number == 1 else plural}"


def described(dataset: Dataset) -> str:
    """Describe usable images: how many, with how many objects, and which files they are."""
    objects = counted(_objects_to_find(dataset), "object")
    return f"{counted(len(dataset), 'image')} with {objects} ({where(dataset)})"


def facts(dataset: Dataset) -> dict[str, Any]:
    """Return the same as plain values for ``json.dumps``."""
    return {
        "path": str(dataset.root),
        "split": dataset.split,
        "source": str(dataset.source) if dataset.source else None,
        "held_out": dataset.part == HELD_OUT,
        "images": len(dataset),
        "objects": _objects_to_find(dataset),
    }


def _objects_to_find(dataset: Dataset) -> int:
    return sum(int(sample.target.to_find.sum()) for sample in dataset)


def where(dataset: Dataset) -> str:
    """Name the split of a data set and the file or folder that declares it."""
    place = f"split {dataset.split}, {dataset.source or dataset.root}" if dataset.split else str(dataset.root)
    if dataset.part == HELD_OUT:
        return f"held out of {place}"
    return f"{place}, {dataset.part}" if dataset.part else place

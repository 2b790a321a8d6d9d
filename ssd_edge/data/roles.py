"""Tell from a split's name what it is for: to learn from, to validate on, or to test on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from ssd_edge.errors import DataError

Role = Literal["train", "val", "test"]

HELD_OUT = "held-out"
"""The name under which the images that a training held out can be asked for."""

NO_SPLIT = "none"
"""The name that asks a training to validate on nothing."""

WORDS: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "eval", "evaluation", "minival"),
    "test": ("test", "testing", "tests", "holdout"),
}
"""The words that give a split its role, in the order in which splits are preferred."""


def role_of(name: str) -> Role | None:
    """Return the role of a split or folder by the words in its name (``Val``, ``val2017``, ``line1_test``).

    A name with a word for training as well, such as ``train_val``, is one to learn from.
    """
    words = {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    return next((role for role, known in WORDS.items() if words & set(known)), None)


def find_split(role: Role, names: Iterable[str], where: Path, option: str) -> str:
    """Return the split that has a role, or "" if none has.

    Args:
        role: the role.
        names: all splits of a data set.
        where: the data set, for the error.
        option: the command's option that names a split, for the error.

    Raises:
        DataError: several splits have the role, and none of them has its usual name.
    """
    candidates = sorted(name for name in names if role_of(name) == role)
    for word in WORDS[role]:
        usual = [name for name in candidates if name.casefold() == word]
        if len(usual) == 1:
            return usual[0]
    if len(candidates) > 1:
        raise DataError(
            f"{where} has several splits that could be '{role}': {', '.join(candidates)}; name one with {option}"
        )
    return candidates[0] if candidates else ""

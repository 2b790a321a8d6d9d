"""The augmentations by name, for help texts and to make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ssd_edge.choices import Choice
from ssd_edge.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from ssd_edge.data.dataset import Image, Target
    from ssd_edge.spec import ModelSpec

    Augment = Callable[[Image, Target, np.random.Generator], tuple[Image, Target]]
    """Makes a random variant of an image and its objects, by the random numbers of the generator alone."""

AUGMENTATIONS: dict[str, Choice] = {
    "mild": Choice("moderate crops, mirror, colour: for a few hundred images", "ssd_edge.data.augment.mild:for_model"),
    "paper": Choice(
        "the SSD paper's, with strong crops and shrunk objects: for thousands of images and long training",
        "ssd_edge.data.augment.paper:for_model",
    ),
}
"""The augmentations; each place holds a function from a ``ModelSpec`` to an ``Augment``."""

DEFAULT_AUGMENTATION = "mild"


def make_augmentation(name: str, spec: ModelSpec) -> Augment:
    """Make an augmentation for a model's training images; it can be sent to other processes.

    Args:
        name: a key of ``AUGMENTATIONS``.
        spec: the model; gives the input size and the mean.

    Raises:
        DataError: there is no such augmentation.
    """
    if name not in AUGMENTATIONS:
        raise DataError(f"no augmentation is called {name!r}; there are {', '.join(AUGMENTATIONS)}")
    return cast("Augment", AUGMENTATIONS[name].load()(spec))

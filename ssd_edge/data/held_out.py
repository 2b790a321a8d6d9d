"""Hold images out of training to validate on, and know them again later by the hashes of their files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssd_edge.data.dataset import Sample
from ssd_edge.errors import DataError
from ssd_edge.files import sha256

SHARE = 0.2
"""Share of the images that is held out for validation if a data set has no split for it."""

_DIGITS = 12
"""Digits of a file's SHA-256 by which an image is known: 48 bits, so that two of a million images hardly ever agree."""


@dataclass(frozen=True)
class HeldOut:
    """The images that a training held out.

    Attributes:
        digests: the first digits of the SHA-256 of their files, sorted.
        split: the split that they were held out of; "" if it has no name.
        seed: random seed of the choice.
    """

    digests: tuple[str, ...]
    split: str
    seed: int

    def provenance(self) -> dict[str, str]:
        """Return the facts that a model's provenance keeps."""
        return {
            "held_out": " ".join(self.digests),
            "held_out_of": self.split,
            "held_out_seed": str(self.seed),
        }


KEYS = frozenset(HeldOut((), "", 0).provenance())
"""The keys of ``HeldOut`` in a provenance."""


def held_out_of(provenance: Mapping[str, str]) -> HeldOut | None:
    """Return what a model's training held out; None if it was validated on a split, or does not say."""
    digests = tuple(provenance.get("held_out", "").split())
    seed = provenance.get("held_out_seed", "0")
    return (
        HeldOut(digests, provenance.get("held_out_of", ""), int(seed) if seed.isdecimal() else 0) if digests else None
    )


def digest_of(image: Path) -> str:
    """Return the digits by which an image file is known; "" if it cannot be read."""
    try:
        return shortened(sha256(image))
    except OSError:
        return ""


def shortened(digest: str) -> str:
    """Return the digits of a SHA-256 by which an image is known."""
    return digest[:_DIGITS]


def choose_held_out(
    samples: Sequence[Sample], share: float, seed: int, scenes: Sequence[int] | None = None
) -> list[int]:
    """Choose the images to hold out: a random share of the scenes with objects, and of those without.

    Each side gets an image with an object to find wherever there are two, and a rare class its share where it can be
    divided. A scene is held out as a whole or not at all, so the share is only approximate if scenes are large. If no
    scene with objects can be spared, since one has more than half of the images, scenes are divided. The same samples,
    scenes and seed give the same choice.

    Args:
        samples: the images.
        share: share of the images.
        seed: random seed.
        scenes: number of each image's scene, see ``likeness.scenes``; None if each image is one by itself.

    Returns:
        Sorted indices into ``samples``, at least one and never all.

    Raises:
        DataError: there are fewer than two images.
    """
    if len(samples) < 2:
        raise DataError(f"there is {len(samples)} usable image, but training needs one and validation another")
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    chosen = _choose_scenes(samples, share, order, scenes) if scenes is not None else []
    return sorted(chosen or _choose_scenes(samples, share, order, range(len(samples))))


def _choose_scenes(samples: Sequence[Sample], share: float, order: Sequence[int], scenes: Sequence[int]) -> list[int]:
    """Choose whole scenes, in a random order of their images; none if no scene with objects leaves half of the images.

    A scene of one image always does, so images by themselves can always be chosen.
    """
    images: defaultdict[int, list[int]] = defaultdict(list)
    for k in order:
        images[scenes[k]].append(k)
    classes = {scene: frozenset[int]().union(*(_classes(samples[k]) for k in own)) for scene, own in images.items()}
    frequency = Counter(label for labels in classes.values() for label in labels)
    strata: defaultdict[int, list[list[int]]] = defaultdict(list)  # by rarest class; −1 for those without object
    for scene, own in images.items():
        strata[min(classes[scene], key=lambda label: (frequency[label], label), default=-1)].append(own)
    empty = strata.pop(-1, [])
    num_empty = _size(empty)
    filled = len(samples) - num_empty
    number = min(len(samples) - 1, max(1, round(len(samples) * share)))
    of_filled = min(filled - 1, max(1, round(filled * share))) if filled > 1 else 0
    of_empty = min(num_empty, max(number - of_filled, 0))
    if not of_filled and not of_empty:
        of_empty = min(num_empty, 1)
    quotas = _quotas([_size(stratum) for stratum in strata.values()], of_filled)
    chosen = [own for stratum, quota in zip(strata.values(), quotas, strict=True) for own in _filling(stratum, quota)]
    taken = {own[0] for own in chosen}
    rest = [own for stratum in strata.values() for own in stratum if own[0] not in taken]
    chosen += _filling(rest, of_filled - _size(chosen))  # what the classes could not fill, since a scene was too large
    if of_filled and not chosen:
        chosen = [own for own in sorted(rest, key=len)[:-1] if len(own) <= len(samples) / 2][:1]
        if not chosen:
            return []
    chosen += _filling(empty, of_empty)
    return [k for own in chosen for k in own]


def _size(scenes: Sequence[Sequence[int]]) -> int:
    return sum(map(len, scenes))


def _classes(sample: Sample) -> frozenset[int]:
    return frozenset(sample.target.labels[sample.target.to_find].tolist())


def _filling(scenes: Sequence[list[int]], number: int) -> list[list[int]]:
    """Take scenes in their order, as far as they fit into a number of images."""
    taken, left = [], number
    for images in scenes:
        if len(images) <= left:
            taken.append(images)
            left -= len(images)
    return taken


def _quotas(sizes: Sequence[int], number: int) -> list[int]:
    """Divide ``number`` among groups by their sizes; the largest remainders, and of equal ones the smaller groups."""
    exact = [number * size / max(1, sum(sizes)) for size in sizes]
    quotas = [int(value) for value in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda k: (quotas[k] - exact[k], sizes[k]))
    for k in by_remainder[: number - sum(quotas)]:
        quotas[k] += 1
    return quotas


def known_again(digests: Sequence[str], earlier: Collection[str]) -> list[int]:
    """Return the indices of the images that an earlier training held out."""
    return [k for k, digest in enumerate(digests) if digest in earlier]

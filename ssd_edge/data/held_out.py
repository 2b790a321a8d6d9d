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


def choose_held_out(samples: Sequence[Sample], share: float, seed: int) -> list[int]:
    """Choose the images to hold out: a random share of the images with objects, and of those without.

    Each side gets an image with an object to find wherever there are two, and a rare class its share where it can be
    divided. The same samples and seed give the same choice.

    Returns:
        Sorted indices into ``samples``, at least one and never all.

    Raises:
        DataError: there are fewer than two images.
    """
    if len(samples) < 2:
        raise DataError(f"there is {len(samples)} usable image, but training needs one and validation another")
    classes = [frozenset(s.target.labels[s.target.to_find].tolist()) for s in samples]
    frequency = Counter(label for labels in classes for label in labels)
    strata: defaultdict[int, list[int]] = defaultdict(list)  # images by their rarest class; −1 for those without object
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    for k in order:
        strata[min(classes[k], key=lambda label: (frequency[label], label), default=-1)].append(k)
    empty = strata.pop(-1, [])
    filled = len(samples) - len(empty)
    number = min(len(samples) - 1, max(1, round(len(samples) * share)))
    of_filled = min(filled - 1, max(1, round(filled * share))) if filled > 1 else 0
    of_empty = min(len(empty), max(number - of_filled, 0))
    if not of_filled and not of_empty:
        of_empty = min(len(empty), 1)
    chosen = empty[:of_empty]
    for stratum, quota in zip(strata.values(), _quotas([len(s) for s in strata.values()], of_filled), strict=True):
        chosen += stratum[:quota]
    return sorted(chosen)


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

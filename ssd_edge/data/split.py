"""Decide which part of a data set is learnt from, and which is measured on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ssd_edge.data.dataset import Dataset, Sample
from ssd_edge.data.held_out import HeldOut, digest_of, held_out_of
from ssd_edge.data.readers import declared_splits, open_dataset
from ssd_edge.data.roles import HELD_OUT, NO_SPLIT, find_split, role_of
from ssd_edge.errors import DataError
from ssd_edge.spec import ModelSpec


class Parts(NamedTuple):
    """The parts of a data set that a training uses, as they were read.

    Attributes:
        training: images to learn from.
        validation: images to choose the best epoch by; None if they are to be held out of the training images; without
            a sample to validate on nothing.
        kept_back: the other splits to measure on, whose pictures are not learnt from either.
    """

    training: Dataset
    validation: Dataset | None
    kept_back: tuple[Dataset, ...]


def training_and_validation(
    path: Path, split: str = "", validation_split: str = "", classes: Sequence[str] = ()
) -> Parts:
    """Read the parts of a data set, all with the classes of the training part, or with those given.

    Args:
        path: as in ``open_dataset``.
        split: split to train on. If empty, it is that for training, or everything that no split for validation or test
            holds.
        validation_split: split to validate on; ``held-out`` for a share of the training part, ``none`` to validate on
            nothing and learn from everything. If empty, it is that for validation, or ``held-out`` if there is none.
        classes: the classes to learn, in this order; objects of others are left out and reported. All if empty.

    Raises:
        DataError: the data set has no usable image, not this split, not these classes, or only splits to measure on;
            or a split that it declares cannot be read.
    """
    declared = declared_splits(path)
    training = part_to_learn_from(path, split)
    if classes:
        _require_classes(training, classes)
        training = part_to_learn_from(path, split, classes)
    if not validation_split:
        validation_split = find_split("val", declared.keys() - {split, training.split}, path, "--val-split")
    validation = None
    if validation_split == NO_SPLIT:
        validation = replace(training, samples=[], issues=[], part=NO_SPLIT)
    elif validation_split and validation_split != HELD_OUT:
        try:
            validation = open_dataset(path, validation_split, training.labels)
        except DataError as error:
            raise DataError(
                f"{error}; mend it, name another split with --val-split, or hold images out of training with "
                f"--val-split {HELD_OUT}"
            ) from None
    used = {training.split, validation.split if validation else ""}
    # Whoever asks for images to be held out in place of a split may do so because that split cannot be read; whoever
    # asks for no validation learns from that split too, as the paper does from VOC's trainval.
    roles = ("test",) if validation_split in (HELD_OUT, NO_SPLIT) else ("val", "test")
    others = [name for name, source in declared.items() if role_of(name) in roles and source.exists()]
    kept_back = tuple(open_dataset(path, name, training.labels) for name in others if name not in used)
    return Parts(training, validation, kept_back)


def part_to_learn_from(
    path: Path, split: str = "", labels: Sequence[str] | None = None, held_out: Collection[str] = ()
) -> Dataset:
    """Read the part of a data set that a model may learn from, or be calibrated with.

    Args:
        path: as in ``open_dataset``.
        split: as in ``training_and_validation``; a split for validation or test only if it is named here.
        labels: as in ``open_dataset``.
        held_out: digests of images that a training held out.

    Raises:
        DataError: as in ``training_and_validation``.
    """
    dataset = open_dataset(path, split, labels) if split else _unnamed_part_to_learn_from(path, labels)
    if not held_out:
        return dataset
    samples = [sample for sample in dataset if digest_of(sample.image) not in held_out]
    part = dataset.part or f"without the {len(held_out)} images held out"
    return _not_empty(replace(dataset, samples=samples, part=part), "was held out of training")


def _unnamed_part_to_learn_from(path: Path, labels: Sequence[str] | None) -> Dataset:
    declared = declared_splits(path)
    if split := find_split("train", declared, path, "--split"):
        return open_dataset(path, split, labels)
    kept_back = [name for name in declared if role_of(name) in ("val", "test")]
    dataset = open_dataset(path, "", labels)
    if role_of(dataset.split) in ("val", "test"):  # the only file of a COCO data set
        raise DataError(
            f"{path} has only {_listed(kept_back)}, which is to be measured on: name a split to learn from with --split"
        )
    measured = {sample.image for name in kept_back for sample in open_dataset(path, name, dataset.labels)}
    samples = [s for s in dataset if s.image not in measured and not _is_kept_back(s, dataset.root)]
    part = f"without {_listed(kept_back)}" if kept_back else ""
    whole = replace(dataset, samples=samples, part=part)
    return _not_empty(whole, f"is in {_listed(kept_back) or 'a folder named as one to measure on'}")


def _is_kept_back(sample: Sample, root: Path) -> bool:
    """Tell whether an image lies in a folder for validation or test, however deep."""
    folder = root.parent if root.is_file() else root
    inner = sample.image.relative_to(folder).parts[:-1] if sample.image.is_relative_to(folder) else ()
    return any(role_of(name) in ("val", "test") for name in inner)


def _not_empty(dataset: Dataset, why: str) -> Dataset:
    if not dataset.samples:
        raise DataError(
            f"nothing is left to learn from in {dataset.root}: every image {why}; name a split with --split"
        )
    return dataset


def _require_classes(dataset: Dataset, classes: Sequence[str]) -> None:
    for name in classes:
        if name not in dataset.labels:
            near = get_close_matches(name, dataset.labels, 1)
            advice = f"did you mean {near[0]}?" if near else f"it names {', '.join(dataset.labels)}"
            raise DataError(f"{dataset.root} has no class {name!r}; {advice}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"split '{name}'" for name in names)


def part_to_measure_on(path: Path, split: str, spec: ModelSpec) -> Dataset:
    """Read the part of a data set to measure a model on, with the model's classes.

    Args:
        path: as in ``open_dataset``.
        split: as in ``open_dataset``, or ``held-out``: the images that the model's training held out.
        spec: the model.

    Raises:
        DataError: as in ``open_dataset``; the model and the data set share no class; the model does not say what was
            held out, or the data set has none of it.
    """
    dataset = _held_out_part(path, spec) if split == HELD_OUT else open_dataset(path, split, spec.labels)
    _require_shared_class(dataset, path, split, spec)
    return dataset


def usual_part_to_measure_on(path: Path, spec: ModelSpec) -> str:
    """Return the split to measure on if none is named: what was held out, else that for validation, else everything.

    Raises:
        DataError: as in ``open_dataset``.
    """
    held_out = held_out_of(spec.provenance)
    if held_out and _found_again(path, held_out, spec):
        return HELD_OUT
    return find_split("val", declared_splits(path), path, "--eval-split")


def _held_out_part(path: Path, spec: ModelSpec) -> Dataset:
    held_out = held_out_of(spec.provenance)
    if held_out is None:
        raise DataError(
            "the model does not say that images were held out of its training: name the part to measure on with --split"
        )
    dataset = _found_again(path, held_out, spec)
    if dataset is None:
        raise DataError(
            f"{path} has none of the {len(held_out.digests)} images that were held out of the model's training: give "
            "the data set that it was trained on, or name another part with --split"
        )
    return dataset


def _found_again(path: Path, held_out: HeldOut, spec: ModelSpec) -> Dataset | None:
    """Return the images that a training held out, from the split that has most of them; None if there are none."""
    digests: dict[Path, str] = {}
    known, best = set(held_out.digests), None
    for part in _parts_to_search(path, held_out.split, spec.labels):
        for sample in part:
            if sample.image not in digests:
                digests[sample.image] = digest_of(sample.image)
        samples = [sample for sample in part if digests[sample.image] in known]
        if samples and (best is None or len(samples) > len(best)):
            images = {sample.image for sample in samples}
            issues = [issue for issue in part.issues if issue.image in images]
            best = replace(part, samples=samples, issues=issues, part=HELD_OUT)
    return best


def _parts_to_search(path: Path, first: str, labels: Sequence[str]) -> Iterator[Dataset]:
    """Open the split of this name if it is there, else every split and all images, as far as they can be opened."""
    declared = declared_splits(path)
    if first in declared:
        yield open_dataset(path, first, labels)
        return
    for name in ["", *declared]:
        with suppress(DataError):  # it is only looked into for known images
            yield open_dataset(path, name, labels)


def _require_shared_class(dataset: Dataset, path: Path, split: str, spec: ModelSpec) -> None:
    """Raise DataError if the model knows none of the data set's classes, so that every object would be left out."""
    if any(len(sample.target) for sample in dataset):
        return
    try:
        own = open_dataset(path, "" if split == HELD_OUT else split).labels
    except DataError:
        return  # the classes have no names of their own: they are those of the model
    require_shared_class(own, path, spec)


def require_shared_class(own: Sequence[str], path: Path, spec: ModelSpec) -> None:
    """Raise DataError if a model knows none of the classes ``own`` of the data set at ``path``."""
    if own and not set(own) & set(spec.labels):
        raise DataError(
            f"the model and {path} share no class, so there is nothing to measure: the model knows "
            f"{', '.join(spec.labels)}, and the data set names {', '.join(own)}"
        )

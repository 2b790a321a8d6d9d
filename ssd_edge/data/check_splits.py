"""Check a whole data set, or one split, and find the pictures that splits have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ssd_edge.data.check import check_dataset
from ssd_edge.data.dataset import Dataset, Issue, Sample
from ssd_edge.data.likeness import alike_pairs
from ssd_edge.data.readers import declared_splits, open_dataset
from ssd_edge.data.report import Report
from ssd_edge.data.roles import Role, find_split, role_of
from ssd_edge.data.usable import twins_of, without_copies
from ssd_edge.progress import Progress, no_progress

_ROLES: tuple[Role | None, ...] = (None, "train", "val", "test")
"""From what is learnt from to what is measured on last."""


def check_splits(path: Path, split: str = "", progress: Progress = no_progress) -> Report:
    """Check a split, or all images of a data set.

    A picture of a split for training that a split for validation or test has too is left out, as in training. If
    everything is checked, an image of the same scene as one of another split is an issue too (``likeness``).

    Args:
        path: as in ``open_dataset``.
        split: the split; "" for everything.
        progress: called with (done, total) images.

    Raises:
        DataError: as in ``open_dataset``; so does a declared split that cannot be read.
    """
    if not split:
        dataset, split_of = _everything(path)
        report = check_dataset(dataset, progress, split_of)
        return replace(report, issues=(*report.issues, *_alike_across_splits(report, split_of)))
    dataset = open_dataset(path, split)
    report = check_dataset(dataset, progress)
    declared = declared_splits(path)
    measured = [name for name, source in declared.items() if _is_measured(name) and source.exists()]
    others = [open_dataset(path, name, dataset.labels) for name in measured if name != dataset.split]
    compared = without_copies(report, twins_of(reversed(others)))
    if not _is_measured(dataset.split):
        return compared
    # Both splits keep such a picture, but a person should know.
    new = [replace(issue, handled="none") for issue in compared.issues[len(report.issues) :]]
    return replace(report, issues=(*report.issues, *new))


def _alike_across_splits(report: Report, split_of: Mapping[Path, str]) -> list[Issue]:
    """Name for each image the one of another split that is most like it, if both show the same scene.

    Of a pair, the image in the split to learn from gets the issue; of validation and test, that for validation.
    """
    images = [sample.image for sample in report.clean]
    roles = [role_of(split_of.get(image, "")) for image in images]
    closest: dict[int, tuple[float, int]] = {}
    for pair in alike_pairs(report.looks):
        learnt, measured = sorted(pair[:2], key=lambda k: _ROLES.index(roles[k]))
        if roles[learnt] != roles[measured] and roles[measured] is not None:
            closest[learnt] = max(closest.get(learnt, (0.0, 0)), (pair[2], measured))
    return [
        Issue(
            "near-duplicate",
            images[k],
            f"looks like {images[twin]} in split {split_of[images[twin]]}, likeness {likeness:.2f}: what is measured "
            f"there is partly known from {split_of.get(images[k]) or 'here'}",
            "none",
        )
        for k, (likeness, twin) in sorted(closest.items())
    ]


def _is_measured(split: str) -> bool:
    return role_of(split) in ("val", "test")


def _everything(path: Path) -> tuple[Dataset, dict[Path, str]]:
    """Read all splits as one data set, those to measure on first; also return the split of each of their images."""
    declared = declared_splits(path)
    names = [name for name in declared if declared[name].exists()]
    train = find_split("train", names, path, "--split")
    first = [name for role in ("val", "test") for name in names if role_of(name) == role] + ([train] if train else [])
    parts = _open_all(path, [*first, *(name for name in names if name not in first)])
    samples: list[Sample] = []
    split_of: dict[Path, str] = {}
    for part in parts:
        # Splits of one role, and others with the same images, are one split by several names.
        known = set(split_of) if part.split not in first else _images_of_role(role_of(part.split), split_of)
        samples += [sample for sample in part if sample.image not in known]
        for sample in part:
            split_of.setdefault(sample.image, part.split)
    issues = dict.fromkeys(issue for part in parts for issue in part.issues)
    for name, source in declared.items():
        if name not in names:
            issues[Issue("missing-split", source, f"declared as split '{name}', and not there", "none")] = None
    return replace(parts[0], split="", source=None, samples=samples, issues=tuple(issues)), split_of


def _images_of_role(role: Role | None, split_of: Mapping[Path, str]) -> set[Path]:
    return {image for image, split in split_of.items() if role_of(split) == role}


def _open_all(path: Path, names: Sequence[str]) -> list[Dataset]:
    """Open splits, and then all images where the format has a name for them, with one class list for all."""
    parts = [open_dataset(path, name) for name in names]
    if not parts or parts[0].format != "coco":
        parts.append(open_dataset(path))
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    return [
        part
        if part.labels == labels
        else replace(opened := open_dataset(path, part.split, labels), issues=(*part.issues, *opened.issues))
        for part in parts
    ]

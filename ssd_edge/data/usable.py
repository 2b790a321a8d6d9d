"""Check the parts of a data set, and only then hold out: what a training really learns from and validates on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ssd_edge.data.check import check_dataset, duplicate
from ssd_edge.data.dataset import Dataset, Issue, Sample
from ssd_edge.data.held_out import SHARE, HeldOut, choose_held_out, known_again, shortened
from ssd_edge.data.likeness import known_scenes
from ssd_edge.data.report import Report
from ssd_edge.data.roles import HELD_OUT
from ssd_edge.data.wording import check_command, counted
from ssd_edge.errors import DataError
from ssd_edge.files import sha256
from ssd_edge.progress import Progress, no_progress, part

Twins = Mapping[str, tuple[Sample, str]]
"""Images by the SHA-256 of their files, each with the name of its split."""


@dataclass(frozen=True, eq=False)
class Usable:
    """The usable images of a training.

    Attributes:
        training: images to learn from.
        validation: images to choose the best epoch by; no file of theirs has the bytes of one to learn from.
        reports: the reports of the parts that were read, that of the training part first.
        held_out: what was held out of the training part; None if validation has a split.
        scenes: number of the scene that each validation image shows, see ``likeness``.
        known: number of validation images that show a scene which is learnt from too, see ``likeness``.
    """

    training: Dataset
    validation: Dataset
    reports: tuple[Report, ...]
    held_out: HeldOut | None
    scenes: tuple[int, ...]
    known: int = 0

    def summary(self) -> str:
        """Say in one sentence what is left out of the data."""
        first, *rest = self.reports
        problems = [f"for validation, {report.summary()}" for report in rest if report.issues]
        if self.known:
            images = counted(len(self.validation), "image")
            problems.append(
                f"{self.known} of {images} to validate on show scenes that are learnt from too, so AP there is too high"
            )
        return "; ".join([first.summary(), *problems])


def check_parts(
    training: Dataset,
    validation: Dataset | None,
    kept_back: Sequence[Dataset] = (),
    *,
    seed: int = 0,
    earlier: HeldOut | None = None,
    progress: Progress = no_progress,
) -> Usable:
    """Check the parts, leave out of training what is measured on, and hold out if there is no validation part.

    Args:
        training, validation, kept_back: as in ``ssd_edge.data.split.Parts``.
        seed: random seed for choosing the held-out images.
        earlier: what an earlier training of the same weights held out; the same images are held out again.
        progress: called with (done, total) images.

    Raises:
        DataError: there are too few usable images, or no object to learn from.
    """
    total = len(training) + (len(validation) if validation else 0)
    learnt = check_dataset(training, part(progress, 0, total))
    reports = [learnt]
    if validation is not None:
        reports.append(check_dataset(validation, part(progress, len(training), total)))
        if validation.samples:
            _require_images(reports[1], 1, "validate")
    measured = [*_twins(reports[1:]), *_twins_of_files(kept_back)]
    some_are_usable = bool(learnt.clean.samples)
    reports[0] = learnt = without_copies(learnt, dict(reversed(measured)))
    if some_are_usable and not learnt.clean.samples:
        raise DataError(
            f"every usable image of {training.root} to learn from is also one to measure on "
            f"({check_command(learnt.dataset, len(learnt.issues))} lists them): name another split to validate on with "
            f"--val-split, or hold images out of training with --val-split {HELD_OUT}"
        )
    if validation is None:
        _require_images(learnt, 3, "train and validate")
    else:
        _require_images(learnt, 2, "train")
    _require_object(learnt)
    if validation is not None:
        known = len(known_scenes(learnt.looks, reports[1].looks))
        return Usable(learnt.clean, reports[1].clean, tuple(reports), None, reports[1].scenes, known)
    rest, chosen, held_out = _hold_out(learnt, seed, earlier)
    kept = replace(_some(learnt.clean, chosen), part=HELD_OUT)
    own = set(chosen)
    of_rest = {scene for k, scene in enumerate(learnt.scenes) if k not in own}
    scenes = tuple(learnt.scenes[k] for k in chosen)
    return Usable(rest, kept, tuple(reports), held_out, scenes, sum(scene in of_rest for scene in scenes))


def without_copies(report: Report, others: Twins) -> Report:
    """Leave out the images whose bytes are those of another part's, each with an issue that names the other."""
    kept, issues = [], list[Issue]()
    for k, (sample, digest) in enumerate(zip(report.clean.samples, report.digests, strict=True)):
        if digest in others:
            issues.append(duplicate(sample, *others[digest]))
        else:
            kept.append(k)
    return replace(
        report,
        clean=_some(report.clean, kept),
        issues=(*report.issues, *issues),
        digests=tuple(report.digests[k] for k in kept),
        looks=tuple(report.looks[k] for k in kept),
    )


def _twins(reports: Iterable[Report]) -> list[tuple[str, tuple[Sample, str]]]:
    return [
        (digest, (sample, report.dataset.split))
        for report in reports
        for sample, digest in zip(report.clean.samples, report.digests, strict=True)
    ]


def _twins_of_files(datasets: Iterable[Dataset]) -> list[tuple[str, tuple[Sample, str]]]:
    """Return the images of parts that are not used now, by the bytes of their files alone."""
    return [
        (sha256(sample.image), (sample, dataset.split))
        for dataset in datasets
        for sample in dataset
        if sample.image.is_file()
    ]


def twins_of(datasets: Iterable[Dataset]) -> Twins:
    """Return the images of some parts, by the bytes of their files."""
    return dict(_twins_of_files(datasets))


def _hold_out(report: Report, seed: int, earlier: HeldOut | None) -> tuple[Dataset, list[int], HeldOut]:
    """Divide the usable images into the rest and those to hold out, by their indices."""
    digests = [shortened(digest) for digest in report.digests]
    again = known_again(digests, earlier.digests) if earlier else []
    chosen = again or choose_held_out(report.clean.samples, SHARE, seed, report.scenes)
    rest = [k for k in range(len(digests)) if k not in set(chosen)]
    used_seed = earlier.seed if again and earlier else seed
    held_out = HeldOut(tuple(sorted(digests[k] for k in chosen)), report.dataset.split, used_seed)
    training = _some(report.clean, rest)
    if len(training) < 2 or not any(sample.target.to_find.any() for sample in training):
        raise DataError(
            f"too little to learn from in {report.dataset.root}: {counted(len(chosen), 'image')} of "
            f"{len(digests)} were held out of the training that this one goes on from; add images, or name a split to "
            "validate on with --val-split"
        )
    return training, chosen, held_out


def _some(dataset: Dataset, chosen: Iterable[int]) -> Dataset:
    return replace(dataset, samples=tuple(dataset.samples[k] for k in chosen))


def _require_images(report: Report, number: int, purpose: str) -> None:
    usable = len(report.clean)
    if usable < number:
        root, command = report.dataset.root, check_command(report.dataset, len(report.issues))
        raise DataError(
            f"{usable or 'no'} usable image{'s' * (usable != 1)} in {root} to {purpose} with, but it takes {number} "
            f"or more: {f'{command} lists why' if report.issues else 'add images'}"
        )


def _require_object(report: Report) -> None:
    if not report.objects_to_find:
        boxes = f", but {counted(report.objects, 'box')} of crowds or difficult objects" if report.objects else ""
        command = check_command(report.dataset, len(report.issues))
        raise DataError(
            f"nothing to learn from in {report.dataset.root}: {counted(len(report.clean), 'usable image')} with no "
            f"object to learn{boxes}; {command} shows what there is"
        )

"""Result of a check: what is wrong with a data set, what is usable, and both in a sentence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ssd_edge.data.dataset import Dataset, Issue, Target
from ssd_edge.data.likeness import Look, scenes
from ssd_edge.data.wording import check_command, counted, facts, unknown_sentence


class ClassCount(NamedTuple):
    """Number of images and objects of a class in the usable part, and its median box (None if it has no box).

    ``to_find`` is the number of objects that are neither difficult nor crowds, and so can be learnt from.
    """

    name: str
    images: int
    objects: int
    median_width: float | None
    median_height: float | None
    to_find: int


@dataclass(frozen=True, eq=False)
class Report:
    """Result of a check.

    Attributes:
        dataset: the data set as it was read.
        clean: the usable part: without bad images and boxes, with boxes clipped to their image, and without issues.
        issues: the reader's issues, then the check's in the order of the samples.
        digests: SHA-256 of the file of each image in ``clean``.
        looks: by which images of the same scene are known, likewise.
    """

    dataset: Dataset
    clean: Dataset
    issues: tuple[Issue, ...]
    digests: tuple[str, ...] = ()
    looks: tuple[Look, ...] = ()

    @cached_property
    def scenes(self) -> tuple[int, ...]:
        """Number of the scene that each image in ``clean`` shows: copies, bursts and frames of a video share one."""
        return tuple(scenes(self.looks))

    @property
    def images(self) -> int:
        """Number of all images, including those that the reader left out."""
        return len(self.dataset) + sum(issue.handled == "image left out" for issue in self.dataset.issues)

    @property
    def objects(self) -> int:
        """Number of boxes in the usable part."""
        return sum(len(sample.target) for sample in self.clean)

    @property
    def objects_to_find(self) -> int:
        """Number of objects in the usable part that are neither difficult nor crowds: what can be learnt from."""
        return sum(int(sample.target.to_find.sum()) for sample in self.clean)

    def unknown_classes(self) -> dict[str, int]:
        """Count the boxes of each class that the data set names and the class list, such as a model's, lacks."""
        return dict(Counter(issue.class_name for issue in self.issues if issue.class_name).most_common())

    def counts(self) -> dict[str, int]:
        """Count the issues of each kind, in the order in which the kinds first occur."""
        return dict(Counter(issue.kind for issue in self.issues))

    def classes(self) -> list[ClassCount]:
        """Count each class, in the order of the labels; a class that never occurs has zeros."""
        targets = [sample.target for sample in self.clean]
        none = Target.of([], [])
        labels = np.concatenate([t.labels for t in [none, *targets]])
        boxes = np.concatenate([t.boxes for t in [none, *targets]])
        to_find = np.concatenate([t.to_find for t in [none, *targets]])
        images = Counter(int(label) for t in targets for label in np.unique(t.labels))
        rows = []
        for label, name in enumerate(self.clean.labels):
            own = boxes[labels == label]
            width, height = np.median(own[:, 2:] - own[:, :2], axis=0).tolist() if len(own) else (None, None)
            rows.append(ClassCount(name, images[label], len(own), width, height, int(to_find[labels == label].sum())))
        return rows

    def summary(self) -> str:
        """Say in one sentence what training leaves out or changes, and what there is to learn from."""
        listed = [issue for issue in self.issues if not issue.class_name]
        images = counted(self.images, "image")
        sentences = []
        if listed:
            handled = Counter(issue.handled for issue in listed)
            left_out = {thing: handled[f"{thing} left out"] for thing in ("image", "box", "class")}
            sentence = " and ".join(counted(number, thing) for thing, number in left_out.items() if number) or "nothing"
            sentence = f"left out {sentence} of {images}"
            if clipped := handled["box clipped"]:
                sentence += f", clipped {counted(clipped, 'box')}"
            for word in ("scaled", "turned"):
                if changed := handled[f"boxes {word}"]:
                    sentence += f", {word} the boxes of {counted(changed, 'image')}"
            if kept := handled["kept as an image with no object"]:
                sentence += f", took {counted(kept, 'image')} with no label file as background"
            them = "it" if len(listed) == 1 else "them"
            sentences.append(f"{sentence} ({check_command(self.dataset, len(listed))} lists {them})")
        if unknown := self.unknown_classes():
            sentences.append(unknown_sentence(unknown, images))
        boxes = counted(self.objects, "box")
        ignored = self.objects - self.objects_to_find
        if self.images and not self.objects_to_find:
            why = f", {boxes} of crowds or difficult objects" if ignored else ""
            return "; ".join([f"no object to learn from or to find in {images}{why}", *sentences])
        sentences = sentences or [f"nothing wrong in {images} with {boxes}"]
        if ignored:
            sentences.append(f"{ignored} of {boxes} {'is a crowd' if ignored == 1 else 'are crowds'} or difficult")
        return "; ".join(sentences)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            "path": str(self.dataset.root),
            "format": self.dataset.format,
            "split": self.dataset.split,
            "labels": list(self.dataset.labels),
            "images": self.images,
            "images_kept": len(self.clean),
            "scenes": len(set(self.scenes)),
            "objects_kept": self.objects,
            "objects_to_find": self.objects_to_find,
            "unknown_classes": self.unknown_classes(),
            "summary": self.summary(),
            "classes": [row._asdict() for row in self.classes()],
            "counts": self.counts(),
            "issues": [
                {"kind": i.kind, "path": str(i.path), "detail": i.detail, "handled": i.handled} for i in self.issues
            ],
        }


def measured_facts(report: Report) -> dict[str, Any]:
    """Return what a model was measured on, and what was left out of it, as plain values for ``json.dumps``."""
    return {
        **facts(report.clean),
        "left_out": report.counts(),
        "unknown_classes": report.unknown_classes(),
        "summary": report.summary(),
    }

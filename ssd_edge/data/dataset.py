"""``Dataset``, which every reader of labels returns: samples with boxes, and a list of issues."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssd_edge.data.picture import read_picture

Image = npt.NDArray[np.uint8]
"""(height, width, 3) uint8 BGR, as OpenCV reads images; every frame in this project has this form."""


@dataclass(frozen=True, eq=False)
class Target:
    """The objects of one image.

    Attributes:
        boxes: (N, 4) float32, ``x1, y1, x2, y2`` in pixels; x2 and y2 are edges, so width is x2 − x1.
        labels: (N,) int64, indices into ``Dataset.labels``.
        difficult: (N,) bool, VOC's flag: evaluation neither rewards nor punishes finding the object.
        crowd: (N,) bool, COCO's flag: the box is a region with many objects, not one.
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]
    crowd: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 4) or self.boxes.dtype != np.float32:
            raise ValueError(f"boxes must be (N, 4) float32, but got {self.boxes.shape} {self.boxes.dtype}")
        for name, array in (("labels", self.labels), ("difficult", self.difficult), ("crowd", self.crowd)):
            if array.shape != (n,):
                raise ValueError(f"{name} must be ({n},), but got {array.shape}")

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def to_find(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: the objects to learn from and to find, neither difficult nor crowds."""
        return ~(self.difficult | self.crowd)

    @classmethod
    def of(
        cls,
        boxes: npt.ArrayLike,
        labels: npt.ArrayLike,
        difficult: npt.ArrayLike | None = None,
        crowd: npt.ArrayLike | None = None,
    ) -> Target:
        """Make a target from plain lists; flags are false by default."""
        array = np.asarray(boxes, np.float32).reshape(-1, 4)
        none = np.zeros(len(array), bool)
        return cls(
            array,
            np.asarray(labels, np.int64).reshape(-1),
            none if difficult is None else np.asarray(difficult, bool).reshape(-1),
            none if crowd is None else np.asarray(crowd, bool).reshape(-1),
        )

    def where(self, keep: npt.NDArray[np.bool_]) -> Target:
        """Select the objects for which ``keep`` (N,) is true."""
        return Target(self.boxes[keep], self.labels[keep], self.difficult[keep], self.crowd[keep])


@dataclass(frozen=True)
class Issue:
    """One problem in a data set.

    Attributes:
        kind: one of ``unreadable-image``, ``missing-image``, ``missing-labels``, ``missing-split``, ``bad-labels``,
            ``size-mismatch``, ``fraction-boxes``, ``unused-bits``, ``unknown-class``, ``unused-class``, ``no-area``,
            ``outside-image``, ``duplicate-image``, ``duplicate-box``, ``near-duplicate``.
        path: the file with the problem.
        detail: description for a person.
        handled: what training does about it: ``image left out``, ``box left out``, ``box clipped``, ``boxes scaled``,
            ``boxes turned``, ``class left out``, ``kept as an image with no object`` or ``none``.
        image: the image whose object has the problem; None if it is not known.
        class_name: name of the class that is not in the class list; "" in other kinds, and if it has no name.
    """

    kind: str
    path: Path
    detail: str
    handled: str
    image: Path | None = None
    class_name: str = ""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image on disk and its objects.

    Attributes:
        image: the file.
        target: the objects.
        declared: width and height of the image by its labels; None if they do not say. In the usable part of a checked
            data set, those that the image has.
    """

    image: Path
    target: Target
    declared: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with objects, read from label files but not yet compared with the images' pixels.

    Attributes:
        root: the folder or file that the user named.
        format: ``voc``, ``coco``, ``yolo`` or ``synthetic``.
        split: the part that was read, such as ``train``; "" if it has no name.
        labels: class names, without background.
        samples: the images, in a fixed order (by file name).
        issues: the problems that the reader met; ``ssd_edge.data.check`` finds the others.
        source: the file or folder that declares the split; None if the split has no name.
        part: ``held-out`` if the samples are those that a training held out of the split; "" for all of it; else what
            they are, in words.
    """

    root: Path
    format: str
    split: str
    labels: tuple[str, ...]
    samples: Sequence[Sample]
    issues: Sequence[Issue] = field(default=())
    source: Path | None = None
    part: str = ""

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def with_labels(self, labels: Sequence[str]) -> Dataset:
        """Number the objects by another class list, by their classes' names; those of classes it lacks are left out."""
        numbers = np.array([labels.index(name) if name in labels else -1 for name in self.labels], np.int64)
        samples = []
        for sample in self.samples:
            known = sample.target.where(numbers[sample.target.labels] >= 0)
            samples.append(replace(sample, target=replace(known, labels=numbers[known.labels])))
        return replace(self, labels=tuple(labels), samples=tuple(samples))

    def fingerprint(self) -> str:
        """Compute a SHA-256 over names and objects, by which a model's provenance identifies its data set."""
        digest = hashlib.sha256("\0".join(self.labels).encode(errors="surrogatepass"))
        for sample in self.samples:
            digest.update(sample.image.name.encode(errors="surrogatepass"))
            digest.update(sample.target.boxes.tobytes() + sample.target.labels.tobytes())
        return digest.hexdigest()


def read_image(path: Path) -> Image:
    """Read an image file as (height, width, 3) uint8 BGR: grey becomes BGR, alpha is dropped, EXIF rotation applied.

    Raises:
        DataError: the file is missing, truncated or not an image, or has more pixels than ``picture.Decoding`` allows.
    """
    return read_picture(path).image

"""Near copies of training images planted in the test split of a rendered data set: whether check-data finds them, and
what they add to AP.

The copies are saved again with another brightness, shifted by a few pixels, or smaller. Detections are simulated; on
the planted images they are those of a detector that knows them by heart.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from figure import Figure
from intervals import simulated

from ssd_edge.data.check_splits import check_splits
from ssd_edge.data.dataset import Image
from ssd_edge.data.readers import open_dataset
from ssd_edge.data.synthetic_dataset import write_dataset
from ssd_edge.evaluation import evaluate
from ssd_edge.evaluation.leaks import Optimism

IMAGES, SHARE, EVERY = 120, 0.5, 4
QUALITY, BY_HEART = 1.0, 6.0
SHIFT = 8


def plant(root: Path) -> set[str]:
    """Add a near copy of every fourth training image to ``val``, and return the names of the copies."""
    lists = root / "ImageSets" / "Main"
    names = (lists / "train.txt").read_text().split()[::EVERY]
    copies = []
    for number, name in enumerate(names):
        image = cv2.imread(str(root / "JPEGImages" / f"{name}.jpg"))
        way = (_brighter, _shifted, _smaller)[number % 3]
        copies.append(f"copy_{name}")
        tree = ElementTree.parse(root / "Annotations" / f"{name}.xml")
        changed, factor, shift = way(image)
        cv2.imwrite(str(root / "JPEGImages" / f"{copies[-1]}.jpg"), changed, [cv2.IMWRITE_JPEG_QUALITY, 80])
        _relabel(tree, f"{copies[-1]}.jpg", changed.shape, factor, shift)
        tree.write(root / "Annotations" / f"{copies[-1]}.xml")
    with (lists / "val.txt").open("a") as file:
        file.writelines(f"{name}\n" for name in copies)
    return set(copies)


def _brighter(image: Image) -> tuple[Image, float, int]:
    return np.clip(image * 1.15 + 8, 0, 255).astype(np.uint8), 1.0, 0


def _shifted(image: Image) -> tuple[Image, float, int]:
    return np.ascontiguousarray(image[:, SHIFT:]), 1.0, SHIFT


def _smaller(image: Image) -> tuple[Image, float, int]:
    return np.asarray(cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA), np.uint8), 0.75, 0


def _relabel(tree: ElementTree.ElementTree, file: str, shape: tuple[int, ...], factor: float, shift: int) -> None:
    """Move the boxes as the picture was moved, and write its name and size."""
    for tag, value in (("filename", file), ("size/height", shape[0]), ("size/width", shape[1])):
        node = tree.find(tag)
        if node is not None:
            node.text = str(value)
    for box in tree.iter("bndbox"):
        for edge in box:
            moved = float(edge.text or 0) - (shift if edge.tag[0] == "x" else 0)
            edge.text = f"{max(0.0, moved) * factor:.1f}"


def measure(images: int = IMAGES) -> Figure:
    """Return the share of the planted copies that are found, with what they add to AP in the detail."""
    with tempfile.TemporaryDirectory() as folder:
        root = write_dataset(Path(folder) / "set", images=images, seed=3, val_fraction=SHARE)
        planted = plant(root)
        issues = [one for one in check_splits(root).issues if one.kind == "near-duplicate"]
        test = open_dataset(root, "val")
    named = {one.detail.split("looks like ")[1].split(" in split")[0] for one in issues}
    found = {Path(name).stem for name in named}
    targets = [sample.target for sample in test]
    known = [k for k, sample in enumerate(test) if sample.image.stem in found]
    honest, by_heart = simulated(targets, QUALITY), simulated(targets, BY_HEART)
    detections = [by_heart[k] if sample.image.stem in planted else honest[k] for k, sample in enumerate(test)]
    optimism = Optimism.of(evaluate(detections, targets, test.labels), known)
    share, false = len(found & planted) / len(planted), len(found - planted)
    stated = optimism.change is not None and optimism.change.interval.low > 0
    interval = [round(100 * end, 2) for end in optimism.change.interval] if optimism.change else []
    return Figure(
        "leaks",
        100 * share,
        f"% of {len(planted)} near copies in a test split of {len(test)} images that check-data finds",
        "100, no other image named, and an optimism whose interval is above 0",
        share == 1 and not false and stated,
        {"false": false, "ap with": optimism.with_them, "ap without": optimism.without, "interval": interval},
        f"others named {false}; AP {100 * (optimism.with_them or 0):.1f} with them, "
        f"{100 * (optimism.without or 0):.1f} without, too high by {' to '.join(map(str, interval))} points",
    )


if __name__ == "__main__":
    print(measure())

"""Frames of a camera whose pictures differ, detections for them, and a check of what was collected."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.data.check import check_dataset
from ssd_edge.data.likeness import STILL, look_of
from ssd_edge.data.readers import open_dataset
from ssd_edge.detections import Detections
from ssd_edge.outputs.collect.folder import LABELS, PICTURES
from ssd_edge.stream.frames import Frame

NAMES = ("bolt", "nut")
BOX, OTHER_BOX = (20.0, 20.0, 60.0, 60.0), (100.0, 30.0, 150.0, 90.0)


def picture(scene: int, size: tuple[int, int] = (120, 160)) -> npt.NDArray[np.uint8]:
    """Draw a scene: the same number is the same scene, up to noise."""
    coarse = np.random.default_rng(scene).integers(0, 256, (6, 8, 3), np.uint8)
    image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noise = np.random.default_rng().normal(0, 2, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def frame(index: int, scene: int | None = None, every: float = 0.1) -> Frame:
    """Make a frame of a camera, ``every`` seconds after the one before."""
    return Frame(picture(index if scene is None else scene), index, monotonic(), index * every)


def found(*objects: tuple[float, int, tuple[float, float, float, float]]) -> Detections:
    """Make detections of (score, label, box), best first."""
    ordered = sorted(objects, key=lambda one: -one[0])
    return Detections(
        np.array([box for _, _, box in ordered], np.float32).reshape(-1, 4),
        np.array([score for score, _, _ in ordered], np.float32),
        np.array([label for _, label, _ in ordered], np.int64),
    )


SURE, UNSURE = found((0.9, 0, BOX)), found((0.55, 0, BOX))


def problems(folder: Path) -> list[str]:
    """Say what is wrong with a collection: halves, pictures that are drawn on or alike, what check-data would list."""
    pictures = {file.stem for file in (folder / PICTURES).iterdir()}
    told = [f"half: {name}" for name in sorted(pictures ^ {file.stem for file in (folder / LABELS).iterdir()})]
    if pictures and not told:
        told += [str(issue) for issue in check_dataset(open_dataset(folder)).issues]
    looks = [look_of(np.asarray(cv2.imread(str(file)), np.uint8)) for file in (folder / PICTURES).iterdir()]
    table = np.stack(looks) if looks else np.zeros((0, 1), np.float32)
    alike = np.triu(table @ table.T >= STILL, 1)
    return told + [f"alike: {i}, {j}" for i, j in np.argwhere(alike).tolist()]

"""A detector that trains in a second, and pictures for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ssd_edge.choices import Choice
from ssd_edge.data.dataset import Dataset, Sample, Target
from ssd_edge.models.catalogue import MODELS

LABELS = ("bolt", "nut")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a registered detector of 56 default boxes."""
    monkeypatch.setitem(MODELS, "tiny", Choice("for tests", "tests.training.tiny:TINY"))
    return "tiny"


@pytest.fixture(autouse=True)
def _random_state_restored() -> Iterator[None]:
    """Restore the random state after each test, since training sets the seeds."""
    state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    yield
    torch.set_rng_state(state)
    np.random.set_state(numpy_state)  # noqa: NPY002


def draw_dataset(folder: Path, number: int, seed: int = 0) -> Dataset:
    """Draw red squares ("bolt") and blue wide boxes ("nut") on grey noise, 40 × 36 pixels; the last has no object."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    samples = []
    for k in range(number):
        image = rng.integers(90, 130, (36, 40, 3), np.uint8)
        boxes, labels = [], []
        for label, (w, h), colour in ((0, (12, 12), (0, 0, 255)), (1, (16, 8), (255, 0, 0))):
            if k == number - 1:
                break
            x, y = int(rng.integers(0, 40 - w)), int(rng.integers(0, 36 - h))
            image[y : y + h, x : x + w] = colour
            boxes.append([x, y, x + w, y + h])
            labels.append(label)
        path = folder / f"{k}.png"
        cv2.imwrite(str(path), image)
        samples.append(Sample(path, Target.of(boxes, labels)))
    return Dataset(folder, "voc", "train", LABELS, samples)


def write_yolo(pictures: Dataset, folder: Path) -> Path:
    """Write pictures as a YOLO data set, and return its folder."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    (folder / "data.yaml").write_text("names: [bolt, nut]\n")
    for sample in pictures:
        shutil.copy(sample.image, folder / "images")
        lines = []
        for (x1, y1, x2, y2), label in zip(sample.target.boxes, sample.target.labels, strict=True):
            lines.append(f"{label} {(x1 + x2) / 80} {(y1 + y2) / 72} {(x2 - x1) / 40} {(y2 - y1) / 36}\n")
        (folder / "labels" / f"{sample.image.stem}.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Dataset, Dataset]:
    """Two data sets: eight pictures to train on, three to validate on."""
    return draw_dataset(tmp_path / "train", 8), draw_dataset(tmp_path / "val", 3, seed=1)

"""A training run as one value: its data, its folder and its settings, checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssd_edge.data.augment.catalogue import AUGMENTATIONS, DEFAULT_AUGMENTATION
from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import DataError, ModelError
from ssd_edge.progress import Note, Progress, no_note, no_progress

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training run; the defaults suit a few hundred images.

    Attributes:
        model: a key of ``ssd_edge.models.registry.MODELS``.
        box_sizes: name of the model's table of default-box sizes; empty for its usual one.
        epochs: passes over the training images.
        batch_size: images in a step.
        lr: highest learning rate.
        seed: random seed.
        patience: stop after this many validations without a better AP50; 0 never stops early.
        validate_every: epochs between validations.
        minutes: stop after this many minutes; 0 for no limit.
        workers: number of processes that prepare images.
        precision: ``32-true``, ``bf16-mixed``, ``16-mixed``, or ``auto``: bf16 where the processor has it.
        frozen_blocks: number of the backbone's first blocks that are not trained.
        augmentation: a key of ``ssd_edge.data.augment.catalogue.AUGMENTATIONS``.

    Raises:
        ModelError: a value is out of range.
    """

    model: str = "ssdlite300_mobilenet_v2"
    box_sizes: str = ""
    epochs: int = 100
    batch_size: int = 16
    lr: float = 0.02
    seed: int = 0
    patience: int = 0
    validate_every: int = 5
    minutes: float = 0
    workers: int = 1
    precision: str = "auto"
    frozen_blocks: int = 0
    augmentation: str = DEFAULT_AUGMENTATION

    def __post_init__(self) -> None:
        checks = (
            (self.epochs >= 1, f"epochs must be at least 1, but got {self.epochs}"),
            # BatchNorm cannot learn from one image.
            (self.batch_size >= 2, f"batch_size must be at least 2, but got {self.batch_size}"),
            (0 < self.lr < math.inf, f"lr must be above 0, but got {self.lr}"),
            (0 <= self.seed < 2**32, f"seed must lie in 0 … 2³² − 1, but got {self.seed}"),
            (self.patience >= 0, f"patience must be at least 0, but got {self.patience}"),
            (self.validate_every >= 1, f"validate_every must be at least 1, but got {self.validate_every}"),
            (0 <= self.minutes < math.inf, f"minutes must be at least 0, but got {self.minutes}"),
            (self.workers >= 0, f"workers must be at least 0, but got {self.workers}"),
            (
                self.precision in PRECISIONS,
                f"precision must be one of {', '.join(PRECISIONS)}, but got {self.precision!r}",
            ),
            (self.frozen_blocks >= 0, f"frozen_blocks must be at least 0, but got {self.frozen_blocks}"),
            (
                self.augmentation in AUGMENTATIONS,
                f"augmentation must be one of {', '.join(AUGMENTATIONS)}, but got {self.augmentation!r}",
            ),
        )
        for holds, message in checks:
            if not holds:
                raise ModelError(message)


@dataclass(frozen=True)
class TrainingRun:
    """Everything that a training run needs, except the network it begins with.

    Attributes:
        training: images to learn from; what ``check_dataset`` finds wrong is left out, and so is every picture that is
            measured on.
        validation: images to choose the best epoch by; None to hold out a share of the training images, by the
            recipe's seed.
        folder: receives ``model.pt``, ``last.ckpt`` (to resume from) and TensorBoard logs.
        recipe: hyperparameters.
        resume: continue from ``folder/last.ckpt``.
        show_bar: show a progress bar while training.
        progress: called with (done, total) while the images are checked, before training.
        note: called before the first step with each sentence that a person should read: what is learnt from and
            validated on, what was left out of it, and what was taken from an earlier checkpoint.
        kept_back: parts that are measured on at another time, and not learnt from.

    Raises:
        DataError: training and validation do not name the same classes.
    """

    training: Dataset
    validation: Dataset | None
    folder: Path
    recipe: Recipe
    resume: bool = False
    show_bar: bool = True
    progress: Progress = no_progress
    note: Note = no_note
    kept_back: Sequence[Dataset] = ()

    def __post_init__(self) -> None:
        if self.validation is not None and self.validation.labels != self.training.labels:
            raise DataError(
                "training and validation must name the same classes in the same order, but got "
                f"{self.training.labels} and {self.validation.labels}"
            )

    @property
    def best(self) -> Path:
        """The checkpoint with the best weights so far."""
        return self.folder / "model.pt"

    @property
    def last(self) -> Path:
        """Lightning's checkpoint of the last whole epoch."""
        return self.folder / "last.ckpt"


@dataclass(frozen=True)
class Trained:
    """Result of a training run.

    Attributes:
        checkpoint: the file with the best weights and the spec.
        ap50: VOC AP50 of these weights on the validation images; None if these show no object, so that it is undefined
            and the weights are those of the last epoch.
        epochs: number of epochs done.
        seconds: wall-clock time.
        summary: one sentence on what was left out of the data.
        ap50_at_start: AP50 before the first step, where the network was already trained; else None.
        tensors_left_out: names of tensors that the checkpoint to start from could not give; trained from scratch.
        training: facts on the images that were learnt from: data set, split, file, number of images and objects.
        validation: the same on the images that were validated on.
    """

    checkpoint: Path
    ap50: float | None
    epochs: int
    seconds: float
    summary: str
    ap50_at_start: float | None = None
    tensors_left_out: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)

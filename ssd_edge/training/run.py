"""A training run as one value: its data, its folder and its settings, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import DataError
from ssd_edge.progress import Note, Progress, no_note, no_progress
from ssd_edge.training.recipe import Recipe


@dataclass(frozen=True)
class TrainingRun:
    """Everything that a training run needs, except the network it begins with.

    Attributes:
        training: images to learn from; what ``check_dataset`` finds wrong is left out, and so is every picture that is
            measured on.
        validation: images to choose the best epoch by; None to hold out a share of the training images, by the
            recipe's seed.
        folder: receives ``model.pt``, ``last.ckpt`` (to resume from), TensorBoard logs, and the record of the run: see
            ``ssd_edge.training.experiment``.
        recipe: hyperparameters.
        nodes: number of machines that train together; each runs the same command, started by torchrun.
        resume: continue from ``folder/last.ckpt``.
        show_bar: show a progress bar while training.
        progress: called with (done, total) while the images are checked, before training.
        note: called before the first step with each sentence that a person should read: what is learnt from and
            validated on, what was left out of it, and what was taken from an earlier checkpoint.
        kept_back: parts that are measured on at another time, and not learnt from.

    Raises:
        DataError: training and validation do not name the same classes, or not those of the recipe.
    """

    training: Dataset
    validation: Dataset | None
    folder: Path
    recipe: Recipe
    nodes: int = 1
    resume: bool = False
    show_bar: bool = True
    progress: Progress = no_progress
    note: Note = no_note
    kept_back: Sequence[Dataset] = ()

    def __post_init__(self) -> None:
        if self.recipe.classes and self.recipe.classes != self.training.labels:
            raise DataError(
                f"the recipe is for the classes {', '.join(self.recipe.classes)}, but the data set is read with "
                f"{', '.join(self.training.labels)}: open it with the recipe's"
            )
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
        ap50_interval: 95 % interval of ``ap50``, [low, high]: what many more validation images of the same kind could
            show; None if it is undefined.
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
    ap50_interval: list[float] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)

"""One process of a training by several: ``torchrun … tests/training/together.py FOLDER EPOCHS [--resume]``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl
import torch

from ssd_edge.choices import Choice
from ssd_edge.models.catalogue import MODELS
from ssd_edge.training import fit
from ssd_edge.training.recipe import Optimiser, Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train
from tests.training.conftest import draw_dataset

RECIPE = Recipe(
    model="plain",
    epochs=4,
    batch_size=8,
    validate_every=2,
    workers=0,
    precision="32-true",
    ema=0.9,
    optimiser=Optimiser(lr=0.01, clip=1.0),
)


class StopAfter(pl.Callback):
    """Ends a training as the end of its time would."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def main(folder: Path, epochs: int, resume: bool, stop_after: int) -> None:
    """Train on 27 pictures, which no number of processes divides, and validate on 5."""
    original = fit.make_trainer
    fit.make_trainer = lambda run, callbacks: original(run, [*callbacks, StopAfter(stop_after)])
    torch.set_num_threads(1)
    MODELS["plain"] = Choice("for tests", "tests.training.tiny:PLAIN")
    # Each process draws its own, the same: none may read a picture that another is just writing.
    own = folder / f"process-{os.environ['RANK']}"
    parts = draw_dataset(own / "train", 27), draw_dataset(own / "val", 5, seed=1)
    recipe = replace(RECIPE, epochs=epochs)
    train(TrainingRun(*parts, folder / "run", recipe, resume=resume, show_bar=False, note=print))


if __name__ == "__main__":
    stop = int(sys.argv[sys.argv.index("--stop-after") + 1]) if "--stop-after" in sys.argv else 1000
    main(Path(sys.argv[1]), int(sys.argv[2]), "--resume" in sys.argv, stop)

"""Steps of ``ssd-edge train`` on command, as torchvision_steps: ``go N`` on stdin, seconds on stdout."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from ssd_edge.data.readers import open_dataset
from ssd_edge.training.recipe import Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train


class OnCommand(pl.Callback):
    """Waits for a line before the steps that it asks for, and prints what they took."""

    def __init__(self) -> None:
        self.left, self.began = 0, 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Wait before the first step."""
        if self.left == 0:
            self._next(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Print the time of a turn, and wait for the next."""
        self.left -= 1
        if self.left == 0:
            print(time.perf_counter() - self.began, file=sys.__stdout__, flush=True)
            self._next(trainer)  # so that waiting for the next batch counts in the next round

    def _next(self, trainer: pl.Trainer) -> None:
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # Lightning would write files first
        self.left, self.began = int(line.split()[1]), time.perf_counter()


def main() -> None:
    """Train until stdin ends."""
    asked = json.loads(sys.stdin.readline())
    torch.set_num_threads(asked["threads"])
    from ssd_edge.training import fit

    original = fit.make_trainer

    def with_commands(run: TrainingRun, callbacks: Sequence[pl.Callback]) -> pl.Trainer:
        return original(run, [*callbacks, OnCommand()])

    fit.make_trainer = with_commands
    data = Path(asked["data"])
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(
            model=asked["model"],
            input=asked.get("input", ""),
            epochs=10_000,
            batch_size=asked["batch"],
            validate_every=10_000,
            workers=asked["workers"],
            precision="32-true",
        )
        parts = open_dataset(data, "train"), open_dataset(data, "val")
        train(TrainingRun(*parts, Path(folder), recipe, show_bar=False))


if __name__ == "__main__":
    main()

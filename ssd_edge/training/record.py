"""Write down a training while it runs: recipe, facts and curves in the run's folder."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from ssd_edge.errors import ModelError
from ssd_edge.machine.summary import summary
from ssd_edge.training.experiment import CURVES, PICTURE, RECIPE, Row, draw_curves, read_rows, write_facts, write_rows
from ssd_edge.training.recipe_files import write_recipe
from ssd_edge.training.run import TrainingRun


class _Measured(NamedTuple):
    """Result of a validation."""

    ap: float | None = None
    ap50: float | None = None


class Record(Callback):
    """Writes ``recipe.yaml`` and ``run.json`` at the beginning, ``curves.csv`` after each epoch, all at the end.

    Args:
        run: gives folder and recipe.
        facts: the data, and what the weights come from, for ``run.json``.
        epochs: number of epochs that an interrupted training has done; its rows stay.

    Raises:
        ModelError: the table of an interrupted training is damaged.
    """

    def __init__(self, run: TrainingRun, facts: Mapping[str, Any], epochs: int) -> None:
        self._run = run
        self._facts = {
            "seed": run.recipe.seed,
            **facts,
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "pytorch-lightning")},
            "machine": summary(),
        }
        self._begun = False
        self._began = time.monotonic()
        self._sums: dict[str, Tensor | float] = {}
        self._steps = 0
        self._measured = _Measured()
        self.rows: list[Row] = []
        curves = run.folder / CURVES
        if epochs and curves.exists():  # a training of an earlier version has none
            try:
                self.rows = [row for row in read_rows(curves) if row.epoch <= epochs]
            except (OSError, ValueError) as error:
                raise ModelError(f"{curves} is damaged: {error}; delete it to resume without it") from None
        self._seconds_before = self.rows[-1].seconds if self.rows else 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what is known before the first step; what cannot be resumed does not come so far.

        Raises:
            ModelError: the folder cannot be written to.
        """
        self._begun = True
        if trainer.is_global_zero:
            write_recipe(self._run.recipe, self._run.folder / RECIPE)
            self._write_facts(trainer, "running", {})

    def end(self, trainer: pl.Trainer, state: str, result: Mapping[str, Any]) -> None:
        """Write the result, and draw the curves; a training without a step leaves the folder as it was.

        Args:
            trainer: did the training.
            state: ``finished``, or why it did not.
            result: what came out.

        Raises:
            ModelError: the folder cannot be written to.
        """
        if self._begun and trainer.is_global_zero:
            self._write_facts(trainer, state, result)
            write_rows(self._run.folder / CURVES, self.rows)
            draw_curves(self._run.folder / PICTURE, self.rows)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add up the losses of an epoch, on their device."""
        self._steps += 1
        for name in ("total", "loc", "conf"):
            self._sums[name] = self._sums.get(name, 0.0) + outputs[name]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the AP for the row of the epoch; outside the epochs, it belongs to the last row."""
        metrics = trainer.callback_metrics
        self._measured = _Measured(*(float(metrics[n]) if n in metrics else None for n in ("val/ap", "val/ap50")))
        if trainer.state.fn != "fit":
            last = self.rows.pop() if self.rows else Row(0, 0, 0.0)
            self.rows.append(replace(last, ap=self._measured.ap, ap50=self._measured.ap50))
            self._measured = _Measured()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch's row."""
        means = {name: float(total) / self._steps for name, total in self._sums.items()} if self._steps else {}
        self.rows.append(
            Row(
                epoch=trainer.current_epoch + 1,
                step=trainer.global_step,
                seconds=self._seconds_before + time.monotonic() - self._began,
                lr=float(trainer.optimizers[0].param_groups[0]["lr"]),
                loss=means.get("total"),
                loss_loc=means.get("loc"),
                loss_conf=means.get("conf"),
                ap=self._measured.ap,
                ap50=self._measured.ap50,
            )
        )
        self._sums, self._steps, self._measured = {}, 0, _Measured()
        if trainer.is_global_zero:
            write_rows(self._run.folder / CURVES, self.rows)

    def _write_facts(self, trainer: pl.Trainer, state: str, result: Mapping[str, Any]) -> None:
        facts = {**self._facts, "precision": str(trainer.precision), "state": state, "result": dict(result)}
        write_facts(self._run.folder, facts)

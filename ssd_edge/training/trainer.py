"""Set up Lightning's trainer for a run: callbacks, precision, and none of its advice on the screen."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from ssd_edge.evaluation import Evaluation
from ssd_edge.training.averaging import MovingAverage
from ssd_edge.training.checkpoints import write_torch_file
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.processes import launched_with
from ssd_edge.training.run import TrainingRun


class BestModel(Callback):
    """Writes ``model.pt`` each time the validation AP50 is the best so far.

    Attributes:
        path: the file to write.
        ap50: the best AP50 so far, −1 before the first validation and where it is undefined.
        step: the training step of the latest validation, −1 before the first.
        at_start: AP50 before the first step, where it was measured.
        evaluation: what the best AP50 is of; None if an earlier part of a resumed training measured it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ap50 = -1.0
        self.step = -1
        self.at_start: float | None = None
        self.evaluation: Evaluation | None = None
        self._interval: list[float] | None = None

    @property
    def interval(self) -> list[float] | None:
        """The 95 % interval of the best AP50, [low, high]; None where it is undefined."""
        if self.evaluation is not None:
            found = self.evaluation.intervals.overall["voc_map50"]
            self._interval = None if found is None else list(found)
        return self._interval

    @property
    def state_key(self) -> str:
        """Key of this callback's state in ``last.ckpt``; older files have it too."""
        return "_BestModel"

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write ``model.pt`` if the AP50 is at least the best so far, or undefined as it has been so far."""
        ap50 = float(trainer.callback_metrics.get("val/ap50", -1.0))
        self.step = trainer.global_step
        if ap50 >= self.ap50 or not self.path.exists():
            assert isinstance(module, DetectorModule)
            self.ap50, self.evaluation = ap50, module.evaluation
            if trainer.is_global_zero:
                shown = "undefined" if defined(ap50) is None else f"{ap50:.4f}"
                module.save(self.path, module.network.spec.with_provenance(validation_ap50=shown))

    def keep_last(self, trainer: pl.Trainer, module: DetectorModule) -> None:
        """Write ``model.pt`` at the end of a training that validates on nothing; an average is in place by then."""
        self.step = trainer.global_step
        if trainer.is_global_zero:
            module.save(self.path, module.network.spec)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that ``last.ckpt`` keeps."""
        return {"ap50": self.ap50, "step": self.step, "at_start": self.at_start, "interval": self.interval}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from ``last.ckpt``."""
        self.ap50 = float(state["ap50"])
        self.step = int(state.get("step", -1))
        self.at_start = state.get("at_start")
        self._interval = state.get("interval")


class WholeCheckpoints(TorchCheckpointIO):
    """Writes ``last.ckpt`` beside the old file and on its disk, where Lightning's own would move it from elsewhere."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint, whole or not at all.

        Raises:
            ModelError: it cannot be written.
        """
        write_torch_file(Path(path), checkpoint)


def defined(ap50: float) -> float | None:
    """Return an AP50 of ``BestModel``; None if it is undefined."""
    return None if ap50 < 0 else ap50


def make_trainer(run: TrainingRun, callbacks: Sequence[Callback]) -> pl.Trainer:
    """Make Lightning's trainer with the settings of a run.

    Args:
        run: gives the settings.
        callbacks: called in this order, before the moving average puts the weights back after a validation.
    """
    recipe = run.recipe
    with quiet_lightning():
        return pl.Trainer(
            accelerator="auto",
            devices=launched_with() or "auto",
            num_nodes=run.nodes,
            use_distributed_sampler=False,  # see batches_of
            sync_batchnorm=torch.cuda.is_available(),  # PyTorch has none for CPUs
            precision=_precision(recipe.precision),  # type: ignore[arg-type]
            max_epochs=recipe.epochs or -1,
            max_steps=recipe.iterations or -1,
            max_time={"seconds": round(recipe.minutes * 60)} if recipe.minutes else None,
            check_val_every_n_epoch=min(recipe.validate_every, recipe.epochs or recipe.validate_every),
            num_sanity_val_steps=0,
            gradient_clip_val=recipe.optimiser.clip or None,
            log_every_n_steps=10,
            logger=TensorBoardLogger(str(run.folder), name="logs"),
            callbacks=[*callbacks, *_callbacks(run)],
            plugins=[WholeCheckpoints()],
            enable_progress_bar=run.show_bar,
            enable_model_summary=False,
        )


def _callbacks(run: TrainingRun) -> list[Callback]:
    callbacks: list[Callback] = [
        ModelCheckpoint(
            run.folder,
            filename=run.last.stem,
            save_top_k=1,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    ]
    if run.recipe.patience:
        callbacks.append(EarlyStopping("val/ap50", mode="max", patience=run.recipe.patience))
    if run.recipe.ema:
        callbacks.append(MovingAverage(run.recipe.ema))
    if run.show_bar:
        callbacks.append(RichProgressBar(leave=False, console_kwargs={"stderr": True}))
    return callbacks


def _precision(asked: str) -> str:
    """Resolve ``auto`` to the precision that suits this machine; other names stay."""
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    # On a CPU with bf16 instructions a step takes a quarter of the time; without them it takes longer than in FP32.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16-mixed" if supported else "32-true"


class quiet_lightning(warnings.catch_warnings):  # noqa: N801 - a context manager used as a word
    """Hide Lightning's advice while it runs: it is for programmers who use Lightning, not for users of ssd-edge."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        for name in ("pytorch_lightning", "lightning.pytorch", "lightning_utilities"):
            logging.getLogger(name).setLevel(logging.ERROR)
        os.environ.setdefault("POSSIBLE_USER_WARNINGS", "off")
        return entered

"""Carry out a training run: check the data, make the network, train it, keep the best checkpoint."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch

from ssd_edge.data.check import Report, check_dataset
from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import DataError, ModelError
from ssd_edge.files import sha256
from ssd_edge.progress import part
from ssd_edge.training.loading import Batches, batches_of
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.resuming import epochs_done
from ssd_edge.training.run import Trained, TrainingRun
from ssd_edge.training.trainer import BestModel, make_trainer, quiet_lightning


class Beginning(NamedTuple):
    """The network that a run begins with.

    Attributes:
        module: the network, ready to be trained.
        parents: files that its weights come from, by the name that the provenance gives them.
        left_out: names of tensors that an earlier checkpoint could not give, see ``load_matching``.
    """

    module: DetectorModule
    parents: Mapping[str, Path]
    left_out: tuple[str, ...] = ()


def fit(run: TrainingRun, begin: Callable[[Dataset], Beginning]) -> Trained:
    """Train a network and keep its best checkpoint.

    Args:
        run: data and settings; what its recipe says of the network is left to ``begin``.
        begin: makes the network; called with the usable training images after the random seed is set.

    Raises:
        DataError: too few usable images are left.
        ModelError: there is nothing to resume from, or the training diverged.
        KeyboardInterrupt: Ctrl-C; ``last.ckpt`` holds the last whole epoch.
    """
    began = time.monotonic()
    training, validation = _checked(run)
    run.note(training.summary())
    pl.seed_everything(run.recipe.seed, workers=True, verbose=False)
    beginning = begin(training.clean)
    module, network = beginning.module, beginning.module.network
    network.spec = network.spec.with_provenance(**_provenance(run, beginning.parents))
    epoch = epochs_done(run.last, network.spec, module.kind) if run.resume else 0
    batches = batches_of(training.clean, validation.clean, network.spec, run.recipe, epoch)
    best = BestModel(run.best)
    trainer = make_trainer(run, best)
    _train(run, trainer, module, batches, best)
    summary = training.summary()
    if validation.issues:
        summary += f"; for validation, {validation.summary()}"
    return Trained(
        checkpoint=best.path,
        ap50=best.ap50,
        epochs=trainer.current_epoch,
        seconds=time.monotonic() - began,
        summary=summary,
        ap50_at_start=best.at_start,
        tensors_left_out=beginning.left_out,
    )


def _train(run: TrainingRun, trainer: pl.Trainer, module: DetectorModule, batches: Batches, best: BestModel) -> None:
    """Train and validate; raise ModelError if the loss diverges, KeyboardInterrupt after Ctrl-C."""
    try:
        with quiet_lightning():
            if module.starts_trained and not run.resume:
                trainer.validate(module, batches.validation, verbose=False)
                best.at_start = best.ap50
            trainer.fit(
                module,
                batches.training,
                batches.validation,
                ckpt_path=str(run.last) if run.resume else None,
                weights_only=True,
            )
            if best.step != trainer.global_step:  # time is up, or the last epochs are fewer than validate_every
                trainer.validate(module, batches.validation, verbose=False)
    except FloatingPointError as error:
        raise ModelError(str(error)) from None
    except SystemExit:  # Lightning turns Ctrl-C into this
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def _checked(run: TrainingRun) -> tuple[Report, Report]:
    """Check the training and the validation images; DataError if too few are usable."""
    first, total = len(run.training), len(run.training) + len(run.validation)
    training = check_dataset(run.training, part(run.progress, 0, total))
    validation = check_dataset(run.validation, part(run.progress, first, total))
    _require(training, 2, "train")
    _require(validation, 1, "validate")
    return training, validation


def _require(report: Report, number: int, purpose: str) -> None:
    usable = len(report.clean)
    if usable < number:
        root = report.dataset.root
        raise DataError(
            f"{usable or 'no'} usable image{'s' * (usable != 1)} in {root} to {purpose} with, but it takes {number} "
            f"or more: ssd-edge check-data {root} lists why"
        )


def _provenance(run: TrainingRun, parents: Mapping[str, Path]) -> dict[str, str]:
    """Collect where the weights come from: data, recipe, versions, parent files."""
    return {
        "dataset": run.training.root.name,
        "dataset_sha256": run.training.fingerprint(),
        "dataset_split": run.training.split,
        "recipe": str({k: v for k, v in asdict(run.recipe).items() if k != "workers"}),
        "torch": torch.__version__,
        "ssd_edge": importlib.metadata.version("ssd-edge"),
    } | {f"{name}_sha256": sha256(path) for name, path in parents.items()}

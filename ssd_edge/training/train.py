"""Data set → checkpoint: the whole of training in one function."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from ssd_edge.data.check import Report, check_dataset
from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import DataError, ModelError
from ssd_edge.files import sha256
from ssd_edge.models.networks import load_backbone
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import METADATA_KEY, ModelSpec
from ssd_edge.training.checkpoints import load_checkpoint, load_matching, read_torch_file
from ssd_edge.training.loading import (
    Shuffled,
    TrainingSamples,
    ValidationSamples,
    collate_training,
    collate_validation,
    start_worker,
)
from ssd_edge.training.module import KIND_KEY, DetectorModule

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Recipe:
    """How to train; every value has a default that suits a few hundred images.

    Attributes:
        model: a key of ``ssd_edge.models.registry.MODELS``.
        box_sizes: a size table of the model; its usual one where empty.
        epochs: passes over the training images.
        batch_size: images a step.
        lr: highest learning rate.
        seed: of everything random.
        patience: validations without a better AP50 before training stops; 0 never stops early.
        validate_every: epochs between validations.
        minutes: stop after this much time, 0 for no limit.
        workers: processes that prepare images.
        precision: ``32-true``, ``bf16-mixed``, ``16-mixed``, or ``auto``: bf16 where the processor has it.
        frozen_blocks: first blocks of the backbone that are not trained.

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
        )
        for holds, message in checks:
            if not holds:
                raise ModelError(message)


@dataclass(frozen=True)
class Trained:
    """What training leaves behind.

    Attributes:
        checkpoint: the best weights and the spec.
        ap50: VOC AP50 of these weights on the validation images.
        epochs: epochs done.
        seconds: wall clock.
        summary: what was left out of the data, for a person.
        ap50_at_start: before the first step, where what is trained was trained before; else None.
    """

    checkpoint: Path
    ap50: float
    epochs: int
    seconds: float
    summary: str
    ap50_at_start: float | None = None


def train(
    training: Dataset,
    validation: Dataset,
    folder: Path,
    recipe: Recipe,
    backbone_weights: Path | None = None,
    start_from: Path | None = None,
    resume: bool = False,
    progress: bool = True,
    tell: Callable[[str], None] | None = None,
    on_check: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train, validate, and keep the best checkpoint as ``folder/model.pt``.

    ``folder/last.ckpt`` is written after each epoch. A resumed training draws the same images in the same order as
    one that was never interrupted.

    Args:
        training: images to learn from; what ``check_dataset`` finds wrong is left out.
        validation: images to choose the best epoch by.
        folder: receives ``model.pt``, ``last.ckpt`` (to resume from) and TensorBoard logs.
        recipe: how.
        backbone_weights: a torchvision state_dict for the backbone.
        start_from: a checkpoint of ssd-edge whose fitting weights are taken first (fine-tuning).
        resume: go on from ``folder/last.ckpt``.
        progress: show a progress bar.
        tell: called once before the first step, with one sentence on what was left out of the training images.
        on_check: called with (done, total) while the images are looked at, before ``tell``.

    Raises:
        DataError: too few usable images are left.
        ModelError: weights that do not fit; nothing to resume from; a training that diverged.
        KeyboardInterrupt: Ctrl-C; ``last.ckpt`` holds the last whole epoch.
    """

    def make(_: Dataset) -> DetectorModule:
        network = _network(training.labels, recipe, backbone_weights, start_from)
        return DetectorModule(network, recipe.lr, frozen_blocks=recipe.frozen_blocks)

    return fit(
        training,
        validation,
        folder,
        recipe,
        make,
        parents={"backbone": backbone_weights, "start_from": start_from},
        resume=resume,
        progress=progress,
        tell=tell,
        on_check=on_check,
    )


def fit(
    training: Dataset,
    validation: Dataset,
    folder: Path,
    recipe: Recipe,
    make: Callable[[Dataset], DetectorModule],
    *,
    parents: Mapping[str, Path | None],
    resume: bool = False,
    progress: bool = True,
    tell: Callable[[str], None] | None = None,
    on_check: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train a network that is made here, and keep the best checkpoint; arguments and errors as in ``train``.

    Args:
        training: images to learn from.
        validation: images to choose the best epoch by.
        folder: receives ``model.pt``, ``last.ckpt`` and logs.
        recipe: how; what makes the network is not looked at.
        make: called with the sound images to learn from, after the seed is set.
        parents: files that the network comes from, if any, for the provenance.
        resume: go on from ``folder/last.ckpt``.
        progress: show a progress bar.
        tell: called once before ``make``.
        on_check: called with (done, total) while the images are looked at.
    """
    began = time.monotonic()
    if validation.labels != training.labels:
        raise DataError(
            f"training and validation must name the same classes in the same order, but got {training.labels} "
            f"and {validation.labels}"
        )
    report, validation_report = _checked(training, validation, on_check)
    _require(report, 2, "train")
    _require(validation_report, 1, "validate")
    if tell is not None:
        tell(report.summary())
    last = folder / "last.ckpt"
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    module = make(report.clean)
    network = module.network
    network.spec = network.spec.with_provenance(**_facts(training, recipe, parents))
    epoch = epochs_done(last, network.spec, module.kind) if resume else 0
    train_batches, validation_batches = _loaders(report.clean, validation_report.clean, network, recipe, epoch)
    best = _BestModel(folder / "model.pt")
    with _quiet():
        trainer = pl.Trainer(
            accelerator="auto",
            devices="auto",
            precision=_precision(recipe.precision),  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            max_time={"seconds": round(recipe.minutes * 60)} if recipe.minutes else None,
            check_val_every_n_epoch=min(recipe.validate_every, recipe.epochs),
            num_sanity_val_steps=0,
            gradient_clip_val=10.0,
            log_every_n_steps=10,
            logger=TensorBoardLogger(str(folder), name="logs"),
            callbacks=[*_callbacks(folder, recipe, progress), best],
            enable_progress_bar=progress,
            enable_model_summary=False,
        )
    try:
        with _quiet():
            if module.starts_trained and not resume:
                trainer.validate(module, validation_batches, verbose=False)
                best.at_start = best.ap50
            trainer.fit(
                module,
                train_batches,
                validation_batches,
                ckpt_path=str(last) if resume else None,
                weights_only=True,
            )
            if best.step != trainer.global_step:  # time is up, or the last epochs are fewer than validate_every
                trainer.validate(module, validation_batches, verbose=False)
    except FloatingPointError as error:
        raise ModelError(str(error)) from None
    except SystemExit:  # what Lightning makes of Ctrl-C
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt
    summary = report.summary()
    if validation_report.issues:
        summary += f"; for validation, {validation_report.summary()}"
    return Trained(best.path, best.ap50, trainer.current_epoch, time.monotonic() - began, summary, best.at_start)


def _checked(
    training: Dataset, validation: Dataset, progress: Callable[[int, int], None] | None
) -> tuple[Report, Report]:
    tell = progress or (lambda done, total: None)
    total = len(training) + len(validation)
    report = check_dataset(training, lambda done, _: tell(done, total))
    return report, check_dataset(validation, lambda done, _: tell(len(training) + done, total))


def _require(report: Report, number: int, purpose: str) -> None:
    usable = len(report.clean)
    if usable < number:
        root = report.dataset.root
        raise DataError(
            f"{usable or 'no'} usable image{'s' * (usable != 1)} in {root} to {purpose} with, and it takes {number} "
            f"or more: ssd-edge check-data {root} lists why"
        )


def epochs_done(last: Path, spec: ModelSpec, kind: str) -> int:
    """Epochs done by the training that wrote ``last``.

    Raises:
        ModelError: there is none, or its model or kind is another than that of the training that begins now.
    """
    if not last.exists():
        raise ModelError(f"there is nothing to resume from in {last.parent}: start without --resume")
    content = read_torch_file(last)
    if METADATA_KEY not in content or "loops" not in content:
        raise ModelError(f"{last} is no training that can be gone on with: start without --resume")
    before = ModelSpec.from_text(str(content[METADATA_KEY]))
    for name in ("architecture", "labels", "levels"):
        old, new = getattr(before, name), getattr(spec, name)
        if old != new:
            values = "" if name == "levels" else f" {old}, and not {new}"
            raise ModelError(f"{last} was trained with other {name}{values}: resume as it began, or start anew")
    began_as = content.get(KIND_KEY, DetectorModule.kind)
    if began_as != kind:
        raise ModelError(f"{last} is of {began_as}, and not of {kind}: resume as it began, or start anew")
    return int(content["epoch"]) + 1


def _network(labels: Sequence[str], recipe: Recipe, backbone_weights: Path | None, start_from: Path | None) -> SSD:
    network = make_network(make_spec(recipe.model, labels, recipe.box_sizes))
    if backbone_weights:
        load_backbone(network, read_torch_file(backbone_weights))
    if start_from:
        source = load_checkpoint(start_from)
        if source.spec.architecture != recipe.model:
            raise ModelError(
                f"{start_from} is a {source.spec.architecture}, and {recipe.model} is to be trained: "
                f"add --model {source.spec.architecture}"
            )
        load_matching(network, source.state_dict())
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _facts(data: Dataset, recipe: Recipe, parents: Mapping[str, Path | None]) -> dict[str, str]:
    return {
        "dataset": data.root.name,
        "dataset_sha256": data.fingerprint(),
        "dataset_split": data.split,
        "recipe": str({k: v for k, v in asdict(recipe).items() if k != "workers"}),
        "torch": torch.__version__,
        "ssd_edge": importlib.metadata.version("ssd-edge"),
    } | {f"{name}_sha256": sha256(path) for name, path in parents.items() if path}


def _loaders(training: Dataset, validation: Dataset, network: SSD, recipe: Recipe, epoch: int) -> tuple[Any, Any]:
    spec = network.spec
    common: dict[str, Any] = {
        "num_workers": recipe.workers,
        "persistent_workers": recipe.workers > 0,
        "worker_init_fn": start_worker,
    }
    batch = min(recipe.batch_size, len(training))
    return (
        # BatchNorm cannot learn from one image: an incomplete last batch is dropped.
        DataLoader(
            TrainingSamples(training.samples, spec, recipe.seed),
            batch,
            sampler=Shuffled(len(training), recipe.seed, epoch),
            drop_last=True,
            collate_fn=collate_training,
            **common,
        ),
        DataLoader(ValidationSamples(validation.samples, spec), batch, collate_fn=collate_validation, **common),
    )


def _callbacks(folder: Path, recipe: Recipe, progress: bool) -> list[Callback]:
    callbacks: list[Callback] = [
        ModelCheckpoint(
            folder,
            filename="last",
            save_top_k=1,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    ]
    if recipe.patience:
        callbacks.append(EarlyStopping("val/ap50", mode="max", patience=recipe.patience))
    if progress:
        callbacks.append(RichProgressBar(leave=False, console_kwargs={"stderr": True}))
    return callbacks


class _BestModel(Callback):
    """Writes ``model.pt`` each time the validation AP50 is the best so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ap50 = -1.0
        self.step = -1
        self.at_start: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        ap50 = float(trainer.callback_metrics["val/ap50"])
        self.step = trainer.global_step
        if ap50 >= self.ap50 or not self.path.exists():
            assert isinstance(module, DetectorModule)
            self.ap50 = ap50
            if trainer.is_global_zero:
                module.save(self.path, module.network.spec.with_provenance(validation_ap50=f"{ap50:.4f}"))

    def state_dict(self) -> dict[str, Any]:
        return {"ap50": self.ap50, "step": self.step, "at_start": self.at_start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ap50 = float(state["ap50"])
        self.step = int(state.get("step", -1))
        self.at_start = state.get("at_start")


def _precision(asked: str) -> str:
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    # On a CPU with bf16 instructions a step takes a quarter of the time; without them it takes longer than in FP32.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16-mixed" if supported else "32-true"


class _quiet(warnings.catch_warnings):  # noqa: N801 - a context manager used as a word
    """Lightning's advice is for its own users; ours have no way to follow it."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        for name in ("pytorch_lightning", "lightning.pytorch", "lightning_utilities"):
            logging.getLogger(name).setLevel(logging.ERROR)
        os.environ.setdefault("POSSIBLE_USER_WARNINGS", "off")
        return entered

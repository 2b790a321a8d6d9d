"""Carry out a training run: check the data, make the network, train it, keep the best checkpoint."""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch

from ssd_edge.data.dataset import Dataset, Sample
from ssd_edge.data.decoded import DecodedImages, room_for
from ssd_edge.data.held_out import KEYS, HeldOut, held_out_of
from ssd_edge.data.usable import Usable, check_parts
from ssd_edge.data.wording import counted, described, facts
from ssd_edge.errors import DataError, ModelError
from ssd_edge.files import sha256
from ssd_edge.machine.allocator import freed_memory_kept
from ssd_edge.progress import no_note, no_progress
from ssd_edge.spec import METADATA_KEY, ModelSpec
from ssd_edge.training.checkpoints import read_torch_file
from ssd_edge.training.loading import Batches, batches_of
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.processes import Share, launched_with, speaks
from ssd_edge.training.record import Record
from ssd_edge.training.resuming import epochs_done
from ssd_edge.training.run import Trained, TrainingRun
from ssd_edge.training.trainer import BestModel, defined, make_trainer, quiet_lightning


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


def fit(run: TrainingRun, begin: Callable[[Dataset], Beginning], parent: ModelSpec | None = None) -> Trained:
    """Train a network and keep its best checkpoint.

    Args:
        run: data and settings; what its recipe says of the network is left to ``begin``.
        begin: makes the network; called with the usable training images after the random seed is set.
        parent: spec of the checkpoint that the weights come from; what was held out of its training stays held out.

    Raises:
        DataError: too few usable images are left, or no object to learn from; early stopping is wanted, and the
            validation images show no object.
        ModelError: there is nothing to resume from, or the training diverged.
        KeyboardInterrupt: Ctrl-C; ``last.ckpt`` holds the last whole epoch.
    """
    began = time.monotonic()
    if not speaks():
        run = replace(run, show_bar=False, progress=no_progress, note=no_note)
    usable = _usable(run, parent)
    pl.seed_everything(run.recipe.seed, workers=True, verbose=False)
    beginning = begin(usable.training)
    module, network = beginning.module, beginning.module.network
    module.scenes = usable.scenes
    network.spec = _with_provenance(network.spec, run, usable, beginning.parents)
    epoch = epochs_done(run.last, network.spec, module.kind, run.recipe.ema > 0) if run.resume else 0
    best = BestModel(run.best)
    record = Record(run, _facts(run, usable, beginning.parents), epoch)
    trainer = make_trainer(run, [best, record])
    share = Share(trainer.global_rank, trainer.world_size)
    keep = _kept_images(run, usable)
    batches = batches_of(usable.training, usable.validation, network.spec, run.recipe, epoch, share, keep)
    try:
        with freed_memory_kept():
            _train(run, trainer, module, batches, best)
    except BaseException as error:
        with suppress(ModelError):  # the error that ended the training is the one to show
            record.end(trainer, " ".join(f"{type(error).__name__} {error}".split()), {})
        raise
    trained = Trained(
        checkpoint=best.path,
        ap50=defined(best.ap50),
        epochs=trainer.current_epoch,
        seconds=time.monotonic() - began,
        summary=usable.summary(),
        ap50_at_start=best.at_start,
        ap50_interval=best.interval,
        tensors_left_out=beginning.left_out,
        training=facts(usable.training),
        validation=facts(usable.validation),
    )
    shown = ("ap50", "ap50_interval", "ap50_at_start", "epochs", "seconds")
    record.end(trainer, "finished", {name: getattr(trained, name) for name in shown})
    return trained


def _usable(run: TrainingRun, parent: ModelSpec | None) -> Usable:
    """Check the images of a run, and say what is learnt from, what is validated on, and what is wrong; see ``fit``."""
    usable = check_parts(
        run.training,
        run.validation,
        run.kept_back,
        seed=run.recipe.seed,
        earlier=_held_out_before(run, parent),
        progress=run.progress,
    )
    measured = f"validates on {described(usable.validation)}" if usable.validation.samples else "validates on nothing"
    run.note(f"learns from {described(usable.training)}; {measured}")
    run.note(usable.summary())
    _require_ap(run, usable)
    _name_classes_without_object(run, usable.training)
    return usable


def _kept_images(run: TrainingRun, usable: Usable) -> Callable[[Sequence[Sample]], DecodedImages]:
    """Decide where decoded images are kept, and say it; see ``DecodedImages``.

    Raises:
        ModelError: they are to be kept in a file, which cannot be made.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    samples = [*usable.training, *usable.validation]
    room = room_for(samples, run.folder, among=max(1, launched_with()))
    run.note(room.sentence())

    def keep(samples: Sequence[Sample]) -> DecodedImages:
        try:
            return DecodedImages(samples, room.place, run.folder)
        except OSError as error:
            raise ModelError(f"cannot keep decoded images in {run.folder}: {error.strerror or error}") from None

    return keep


def _train(run: TrainingRun, trainer: pl.Trainer, module: DetectorModule, batches: Batches, best: BestModel) -> None:
    """Train and validate; raise ModelError if the loss diverges, KeyboardInterrupt after Ctrl-C."""
    try:
        with quiet_lightning():
            validates = len(batches.validation) > 0
            if module.starts_trained and validates and not run.resume:
                trainer.validate(module, batches.validation, verbose=False)
                best.at_start = defined(best.ap50)
            trainer.fit(
                module,
                batches.training,
                batches.validation,
                ckpt_path=str(run.last) if run.resume else None,
                weights_only=True,
            )
            if not validates:
                if not trainer.interrupted:
                    best.keep_last(trainer, module)
            elif best.step != trainer.global_step:  # time is up, or the last epochs are fewer than validate_every
                trainer.validate(module, batches.validation, verbose=False)
    except FloatingPointError as error:
        raise ModelError(str(error)) from None
    except ValueError as error:
        if not (run.resume and "parameter group" in str(error)):
            raise
        raise ModelError(
            f"{run.last} was trained with other frozen layers or another optimiser: resume with the options it began "
            "with, or start without --resume"
        ) from None
    except SystemExit:  # Lightning turns Ctrl-C into this
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def _require_ap(run: TrainingRun, usable: Usable) -> None:
    """Say that AP is undefined where the validation images show no object; DataError if it is needed."""
    if any(sample.target.to_find.any() for sample in usable.validation):
        return
    if not usable.validation.samples:
        if run.recipe.patience:
            raise DataError("--patience cannot tell when to stop without images to validate on: drop --val-split none")
        return
    sentence = f"the {counted(len(usable.validation), 'image')} to validate on show no object, so AP is undefined"
    if run.recipe.patience:
        raise DataError(f"{sentence}, and --patience cannot tell when to stop: validate on others with --val-split")
    run.note(f"{sentence}: the weights of the last epoch are kept; validate on others with --val-split")


def _name_classes_without_object(run: TrainingRun, training: Dataset) -> None:
    """Say which classes have no object to learn from."""
    learnt = {int(label) for sample in training for label in sample.target.labels[sample.target.to_find]}
    missing = [name for label, name in enumerate(training.labels) if label not in learnt]
    if missing:
        run.note(f"no object to learn from of {', '.join(missing)}: the model will not find any")


def _held_out_before(run: TrainingRun, parent: ModelSpec | None) -> HeldOut | None:
    """Return what was held out of the training that is resumed, or of that of the parent."""
    if run.resume and run.last.exists():
        content = read_torch_file(run.last)
        parent = ModelSpec.from_text(str(content[METADATA_KEY])) if METADATA_KEY in content else None
    return held_out_of(parent.provenance) if parent else None


def _with_provenance(spec: ModelSpec, run: TrainingRun, usable: Usable, parents: Mapping[str, Path]) -> ModelSpec:
    """Return the spec with where the weights come from; what a parent held out counts no more."""
    kept = {key: value for key, value in spec.provenance.items() if key not in KEYS}
    held_out = usable.held_out.provenance() if usable.held_out else {}
    return replace(spec, provenance={**kept, **_provenance(run, usable, parents), **held_out})


def _facts(run: TrainingRun, usable: Usable, parents: Mapping[str, Path]) -> dict[str, Any]:
    """Collect what a run's record says of data and weights."""
    digests = {
        sample.image: digest
        for report in usable.reports
        for sample, digest in zip(report.clean, report.digests, strict=True)
    }

    def part(dataset: Dataset) -> dict[str, Any]:
        files = "".join(sorted(digests[sample.image] for sample in dataset))
        images = hashlib.sha256(files.encode()).hexdigest()
        return {**facts(dataset), "labels_sha256": dataset.fingerprint(), "images_sha256": images}

    return {
        "dataset": run.training.root.name,
        "classes": list(run.training.labels),
        "training": part(usable.training),
        "validation": part(usable.validation),
        "weights_sha256": {name: sha256(path) for name, path in parents.items()},
    }


def _provenance(run: TrainingRun, usable: Usable, parents: Mapping[str, Path]) -> dict[str, str]:
    """Collect where the weights come from: data, recipe, versions, parent files."""
    return {
        "dataset": run.training.root.name,
        "dataset_sha256": run.training.fingerprint(),
        "dataset_split": run.training.split,
        "validation_split": usable.validation.part or usable.validation.split,
        "recipe": str({k: v for k, v in asdict(run.recipe).items() if k != "workers"}),
        "torch": torch.__version__,
        "ssd_edge": importlib.metadata.version("ssd-edge"),
    } | {f"{name}_sha256": sha256(path) for name, path in parents.items()}

"""``ssd-edge train``: train a detector on labelled images."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ssd_edge.choices import help_of
from ssd_edge.cli.common import needs, print_json, progress, say
from ssd_edge.data.augment.catalogue import AUGMENTATIONS, DEFAULT_AUGMENTATION
from ssd_edge.hints import command
from ssd_edge.models.catalogue import DEFAULT_MODEL, MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssd_edge.training.int8_graph import Places
    from ssd_edge.training.run import Trained


class Usual(NamedTuple):
    """Default values that differ with --qat; see ``Recipe``."""

    epochs: int
    lr: float
    validate_every: int


USUAL = Usual(epochs=100, lr=0.02, validate_every=5)
USUAL_OF_QAT = Usual(epochs=3, lr=0.0005, validate_every=1)

OF_ANOTHER_BEGINNING = ("model", "box_sizes", "backbone_weights", "start_from", "frozen_blocks")
"""Options that choose the network to begin with; --qat chooses it by its checkpoint."""


def train(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Data set: a Pascal VOC, COCO or YOLO folder or file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for model.pt (the best checkpoint), last.ckpt and logs.")
    ] = Path("runs/train"),
    model: Annotated[
        str, typer.Option(help=f"The network to train: {help_of(MODELS, DEFAULT_MODEL)}.")
    ] = DEFAULT_MODEL,
    box_sizes: Annotated[
        str, typer.Option(help="Default-box sizes of the VGG models: voc, coco (smaller objects) or paper.")
    ] = "",
    split: Annotated[
        str, typer.Option(help="Split to train on; 'train' if there is one, else all images but those of val and test.")
    ] = "",
    val_split: Annotated[
        str,
        typer.Option(
            help="Split to validate on; 'val' if there is one, else 'held-out': a fifth of the training images."
        ),
    ] = "",
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Pretrained ImageNet weights for the backbone: a torchvision state_dict file.")
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="Checkpoint of ssd-edge to fine-tune on this data.")
    ] = None,
    qat: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to fine-tune for INT8 with quantisation-aware training."),
    ] = None,
    ranges: Annotated[
        str, typer.Option(help="Activation scales with --qat: learned, or frozen as calibration finds them.")
    ] = "learned",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of epochs: 100, or 3 with --qat.", show_default=False),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Batch size; lower it if memory runs out.")] = 16,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate: 0.02, or 0.0005 with --qat.", show_default=False)
    ] = None,
    patience: Annotated[
        int,
        typer.Option(min=0, help="Early stopping: validations without a better AP50 before training stops; 0: never."),
    ] = 0,
    validate_every: Annotated[
        int | None, typer.Option(min=1, help="Epochs between validations: 5, or 1 with --qat.", show_default=False)
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Time limit in minutes; 0: no limit.")] = 0,
    frozen_blocks: Annotated[
        int, typer.Option(min=0, help="Number of first backbone blocks to freeze: faster, for few images.")
    ] = 0,
    augmentation: Annotated[
        str, typer.Option(help=f"Random changes of training images: {help_of(AUGMENTATIONS, DEFAULT_AUGMENTATION)}.")
    ] = DEFAULT_AUGMENTATION,
    precision: Annotated[
        str, typer.Option(help="Floating-point precision: auto, 32-true, bf16-mixed or 16-mixed.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Number of processes that load images.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted training from last.ckpt in the output folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a detector on labelled images.

    Bad images and boxes are left out and counted. The checkpoint with the best AP50 on the validation images is kept.
    Ctrl-C stops; --resume continues. To watch the curves: tensorboard --logdir OUTPUT.

    If INT8 loses too much accuracy, --qat CHECKPOINT fine-tunes for a few epochs with every value rounded as in the
    INT8 file. The new checkpoint carries the INT8 scales, and export makes the INT8 file from it.

    Next: ssd-edge export OUTPUT/model.pt
    """
    with needs("train", "training"):
        from ssd_edge.training.run import Recipe, TrainingRun
        from ssd_edge.training.train import train
    from ssd_edge.data.split import training_and_validation

    _refuse_contradictions(context, qat)
    usual = USUAL if qat is None else USUAL_OF_QAT
    parts = training_and_validation(data, split, val_split)
    recipe = Recipe(
        model=model if qat is None else _architecture(qat),
        box_sizes=box_sizes,
        epochs=usual.epochs if epochs is None else epochs,
        batch_size=batch_size,
        lr=usual.lr if lr is None else lr,
        seed=seed,
        patience=patience,
        validate_every=usual.validate_every if validate_every is None else validate_every,
        minutes=minutes,
        workers=workers,
        precision=precision,
        frozen_blocks=frozen_blocks,
        augmentation=augmentation,
    )
    with ExitStack() as checking:
        bar = checking.enter_context(progress("looking at images"))

        def note(sentence: str) -> None:
            checking.close()  # its bar ends where Lightning's begins
            say(sentence)

        run = TrainingRun(
            parts.training,
            parts.validation,
            output,
            recipe,
            resume=resume,
            progress=bar,
            note=note,
            kept_back=parts.kept_back,
        )
        if qat is None:
            trained = train(run, backbone_weights, start_from)
        else:
            from ssd_edge.training.qat import fine_tune

            trained = fine_tune(run, qat, _places, ranges)
    if as_json:
        print_json({**asdict(trained), "checkpoint": str(trained.checkpoint)})
    else:
        _show(trained, "AP50" if qat is None else "AP50 in INT8")


def _refuse_contradictions(context: typer.Context, qat: Path | None) -> None:
    """Raise BadParameter if an option contradicts --qat, or needs it."""
    if qat is None:
        if _given(context, "ranges"):
            raise typer.BadParameter("--ranges is for --qat: add --qat CHECKPOINT, or drop --ranges")
        return
    for name in OF_ANOTHER_BEGINNING:
        if _given(context, name):
            option = "--from" if name == "start_from" else f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"--qat begins with the network of its checkpoint: drop {option}")


def _given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"


def _architecture(checkpoint: Path) -> str:
    from ssd_edge.training.checkpoints import load_checkpoint

    return load_checkpoint(checkpoint).spec.architecture


def _show(trained: Trained, measure: str) -> None:
    before = "" if trained.ap50_at_start is None else f"{trained.ap50_at_start:.3f} → "
    after = "undefined" if trained.ap50 is None else f"{trained.ap50:.3f}"
    say(f"{trained.checkpoint}: {measure} {before}{after} after {trained.epochs} epochs, {trained.seconds:.0f} s")
    say(f"next: {command('export', trained.checkpoint)}")


def _places(heads: Path, images: Iterator[Any], number: int) -> Places:
    """Place the Q/DQ pairs of exported heads and calibrate their scales, as ``calibrate`` would."""
    from ssd_edge.calibration.network.network import prepare
    from ssd_edge.calibration.scales.find import observe_images, scales_of
    from ssd_edge.calibration.scales.methods import DEFAULT_METHOD
    from ssd_edge.training.int8_graph import Places

    network = prepare(heads)
    with progress("calibrating") as bar:
        observed = observe_images(network, images, number=number, progress=bar)
    placement = network.placement
    return Places(
        network.model,
        placement.readers,
        placement.scale_of,
        frozenset(convolution.name for convolution in placement.convolutions),
        scales_of(network, observed, DEFAULT_METHOD),
    )

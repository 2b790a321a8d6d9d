"""``ssd-edge train``: train a detector on labelled images."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.choices import help_of
from ssd_edge.cli.common import needs, print_json, progress, say, was_given
from ssd_edge.data.augment.catalogue import AUGMENTATIONS, DEFAULT_AUGMENTATION
from ssd_edge.hints import command
from ssd_edge.models.catalogue import MODELS
from ssd_edge.progress import no_progress
from ssd_edge.training.recipe import DEFAULTS, DEFAULTS_OF_QAT, PRECISIONS, SCHEDULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ssd_edge.progress import Progress
    from ssd_edge.starts.downloads import Start
    from ssd_edge.training.int8_graph import Places
    from ssd_edge.training.recipe import Recipe
    from ssd_edge.training.run import Trained


SETTINGS = {
    name: name
    for name in (
        "model",
        "box_sizes",
        "classes",
        "frozen_blocks",
        "frozen_backbone",
        "epochs",
        "iterations",
        "minutes",
        "batch_size",
        "augmentation",
        "ema",
        "validate_every",
        "patience",
        "seed",
        "workers",
        "precision",
    )
} | {"input_size": "input", "lr": "optimiser.lr", "schedule": "schedule.kind"}
"""Settings of the recipe that have an option of their own, by the option's name."""

OF_ANOTHER_BEGINNING = (
    "model",
    "box_sizes",
    "input_size",
    "backbone_weights",
    "start_from",
    "frozen_blocks",
    "frozen_backbone",
    "classes",
)
"""Options that choose the network to begin with; --qat chooses it by its checkpoint."""


def train(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Data set: a Pascal VOC, COCO or YOLO folder or file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for model.pt (the best checkpoint), last.ckpt and logs.")
    ] = Path("runs/train"),
    recipe: Annotated[
        str,
        typer.Option(
            help="Settings to begin with: a YAML file, such as the recipe.yaml of another run, or the name of a recipe "
            "that comes with ssd-edge. Other options override it."
        ),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the recipe, such as optimiser.momentum=0.8."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"The network to train: {help_of(MODELS, DEFAULTS.model)}.", show_default=False),
    ] = None,
    box_sizes: Annotated[
        str | None,
        typer.Option(
            help="Default-box sizes: fit, for sizes fitted to the training objects; for the VGG models also voc, coco "
            "(smaller objects) or paper.",
            show_default=False,
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="WIDTHxHEIGHT",
            help="Input size of the network in pixels, such as 512x288 for a 16:9 camera: any multiple of 32 for the "
            "SSDLites; without it the published size.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Classes to learn, such as car,bus; boxes of others are left out.", show_default=False),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split to train on; 'train' if there is one, else all images but those of val and test.")
    ] = "",
    val_split: Annotated[
        str,
        typer.Option(
            help="Split to validate on; 'val' if there is one, else 'held-out': a fifth of the training images; 'none' "
            "to learn from all and keep the last epoch's weights."
        ),
    ] = "",
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Pretrained ImageNet weights for the backbone: a torchvision state_dict file.")
    ] = None,
    start_from: Annotated[
        str,
        typer.Option(
            "--start",
            "--from",
            help="Detector to fine-tune: a checkpoint, a file that import takes, or coco, torchvision's own; imagenet "
            "brings only a backbone. Published weights are downloaded once.",
        ),
    ] = "",
    qat: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to fine-tune for INT8 with quantisation-aware training."),
    ] = None,
    ranges: Annotated[
        str, typer.Option(help="Activation scales with --qat: learned, or frozen as calibration finds them.")
    ] = "learned",
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Number of epochs: {DEFAULTS.epochs}, or {DEFAULTS_OF_QAT.epochs} with --qat.",
            show_default=False,
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Number of training steps, in place of epochs.", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=2, help=f"Batch size: {DEFAULTS.batch_size}; lower it if memory runs out.", show_default=False
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help=f"Peak learning rate: {DEFAULTS.optimiser.lr:g}, or {DEFAULTS_OF_QAT.optimiser.lr:g} with --qat.",
            show_default=False,
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help=f"Learning rate after the warm-up: {' or '.join(SCHEDULES)} (needs --set schedule.milestones=[…]).",
            show_default=False,
        ),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            min=0, help="Decay of a moving average of the weights, such as 0.999; 0: no average.", show_default=False
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Early stopping: validations without a better AP50 before training stops; 0: never.",
            show_default=False,
        ),
    ] = None,
    validate_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Epochs between validations: {DEFAULTS.validate_every}, or {DEFAULTS_OF_QAT.validate_every} with "
            "--qat.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Time limit in minutes; 0: no limit.", show_default=False)
    ] = None,
    frozen_blocks: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of first backbone blocks to freeze: faster, for few images.", show_default=False
        ),
    ] = None,
    frozen_backbone: Annotated[
        bool | None,
        typer.Option("--frozen-backbone", help="Freeze the whole backbone.", show_default=False),
    ] = None,
    augmentation: Annotated[
        str | None,
        typer.Option(
            help=f"Random changes of training images: {help_of(AUGMENTATIONS, DEFAULT_AUGMENTATION)}.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help=f"Floating-point precision: {', '.join(PRECISIONS)}.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help=f"Number of processes that load images: {DEFAULTS.workers}.", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help=f"Random seed: {DEFAULTS.seed}.", show_default=False)] = None,
    nodes: Annotated[
        int, typer.Option(min=1, help="Number of machines that train together; start each by torchrun.")
    ] = 1,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Resume an interrupted training from last.ckpt and recipe.yaml in the output folder."
        ),
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
        from ssd_edge.training.processes import speaks
        from ssd_edge.training.run import TrainingRun
        from ssd_edge.training.train import train
    from ssd_edge.data.split import training_and_validation

    _refuse_contradictions(context, qat)
    begun = output / "recipe.yaml"
    if resume and not recipe and begun.is_file():
        recipe = str(begun)
    recipe_of_run = _recipe(context, recipe, settings or [], qat)
    parts = training_and_validation(data, split, val_split, recipe_of_run.classes)
    with ExitStack() as downloading:
        bar = (
            downloading.enter_context(progress("downloading weights, KiB")) if speaks() and start_from else no_progress
        )
        beginning = _start(start_from, recipe_of_run.model, bar)
    if start_from == "coco" and beginning.detector:
        recipe_of_run = replace(recipe_of_run, model=_architecture(beginning.detector))
    with ExitStack() as checking:
        bar = checking.enter_context(progress("looking at images")) if speaks() else no_progress

        def note(sentence: str) -> None:
            checking.close()  # its bar ends where Lightning's begins
            say(sentence)

        run = TrainingRun(
            parts.training,
            parts.validation,
            output,
            recipe_of_run,
            nodes=nodes,
            resume=resume,
            progress=bar,
            note=note,
            kept_back=parts.kept_back,
        )
        if qat is None:
            trained = train(run, beginning.backbone or backbone_weights, beginning.detector)
        else:
            from ssd_edge.training.qat import fine_tune

            trained = fine_tune(run, qat, _places, ranges)
    if not speaks():  # another process of this training does
        return
    if as_json:
        print_json({**asdict(trained), "checkpoint": str(trained.checkpoint)})
    else:
        _show(trained, "AP50" if qat is None else "AP50 in INT8")


def _refuse_contradictions(context: typer.Context, qat: Path | None) -> None:
    """Raise BadParameter if an option contradicts --qat, or needs it."""
    if qat is None:
        if was_given(context, "ranges"):
            raise typer.BadParameter("--ranges is for --qat: add --qat CHECKPOINT, or drop --ranges")
        if was_given(context, "backbone_weights") and context.params["start_from"]:
            raise typer.BadParameter("--start brings a backbone with it: drop --backbone-weights, or drop --start")
        return
    for name in OF_ANOTHER_BEGINNING:
        if was_given(context, name):
            option = {"start_from": "--start", "input_size": "--input"}.get(name, f"--{name.replace('_', '-')}")
            raise typer.BadParameter(f"--qat begins with the network of its checkpoint: drop {option}")


def _recipe(context: typer.Context, source: str, settings: Sequence[str], qat: Path | None) -> Recipe:
    """Return the recipe of a run: the defaults, under a recipe that is named, under the options."""
    from ssd_edge.training.recipe_files import changed, nested, parse_setting, read_recipe

    start = context.params["start_from"]
    base = DEFAULTS if qat is None else replace(DEFAULTS_OF_QAT, model=_architecture(qat))
    if start == "coco":
        from ssd_edge.starts.downloads import COCO_MODEL

        base = replace(base, model=COCO_MODEL)
    elif start not in {"", "imagenet"}:
        base = replace(base, model=_architecture(Path(start)))
    recipe = read_recipe(source, base) if source else base
    given = {name: context.params[option] for option, name in SETTINGS.items() if context.params[option] is not None}
    if "classes" in given:
        given["classes"] = [name.strip() for name in given["classes"].split(",") if name.strip()]
    for setting in settings:
        name, value = parse_setting(setting)
        given[name] = value
    return changed(recipe, nested(given))


def _start(start: str, model: str, bar: Progress) -> Start:
    """Return the files to begin with; published ones are downloaded if they are not here yet."""
    from ssd_edge.starts.downloads import Start, start_files

    return start_files(start, model, bar) if start else Start()


def _architecture(detector: Path) -> str:
    from ssd_edge.starts.convert import open_start

    return open_start(detector).spec.architecture


def _show(trained: Trained, measure: str) -> None:
    took = f"after {trained.epochs} epochs, {trained.seconds:.0f} s"
    if trained.validation["images"]:
        before = "" if trained.ap50_at_start is None else f"{trained.ap50_at_start:.3f} → "
        after = "undefined" if trained.ap50 is None else f"{trained.ap50:.3f}"
        if trained.ap50_interval:
            after += " [{:.3f}, {:.3f}]".format(*trained.ap50_interval)
        say(f"{trained.checkpoint}: {measure} {before}{after} {took}")
    else:
        say(f"{trained.checkpoint}: {took}; validated on nothing")
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

"""``ssd-edge train``: images and labels → checkpoint."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.cli.common import print_json, progress, say


def train(
    data: Annotated[Path, typer.Argument(help="The data set: a Pascal VOC, COCO or YOLO folder or file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for model.pt (the result), last.ckpt and logs.")
    ] = Path("runs/train"),
    model: Annotated[
        str,
        typer.Option(
            help="ssdlite300_mobilenet_v2 (fastest), ssdlite320_mobilenet_v3_large, ssd300_vgg16 or ssd512_vgg16."
        ),
    ] = "ssdlite300_mobilenet_v2",
    box_sizes: Annotated[
        str, typer.Option(help="Default-box sizes of the VGG models: voc, coco (smaller objects) or paper.")
    ] = "",
    split: Annotated[str, typer.Option(help="Part to train on; 'train' where there is one.")] = "",
    val_split: Annotated[
        str, typer.Option(help="Part to validate on; 'val' where there is one, else a fifth is held out.")
    ] = "",
    backbone_weights: Annotated[
        Path | None, typer.Option(help="ImageNet weights of the backbone, a torchvision state_dict file.")
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="A checkpoint of ssd-edge to go on from with new data.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 100,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step; fewer if memory runs out.")] = 16,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 0.02,
    patience: Annotated[
        int, typer.Option(min=0, help="Stop after so many validations without a better AP50; 0: never.")
    ] = 0,
    validate_every: Annotated[int, typer.Option(min=1, help="Epochs between validations.")] = 5,
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so many minutes; 0: no limit.")] = 0,
    frozen_blocks: Annotated[
        int, typer.Option(min=0, help="Keep so many first blocks of the backbone: faster, for few images.")
    ] = 0,
    precision: Annotated[str, typer.Option(help="auto, 32-true, bf16-mixed or 16-mixed.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare images.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted training stopped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a detector on labelled images.

    Bad images and boxes are left out, and it is said how many. The best checkpoint by AP50 on the validation images
    is kept. Ctrl-C stops; --resume goes on. Watch the curves: tensorboard --logdir OUTPUT.

    Next: ssd-edge export OUTPUT/model.pt
    """
    try:
        from ssd_edge.training.train import Recipe
        from ssd_edge.training.train import train as train_detector
    except ModuleNotFoundError as error:
        from ssd_edge.errors import MissingDependencyError

        raise MissingDependencyError(error.name or "PyTorch", "train", "training") from None
    from ssd_edge.data.split import training_and_validation

    training, validation = training_and_validation(data, split, val_split, seed)
    recipe = Recipe(
        model=model,
        box_sizes=box_sizes,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        patience=patience,
        validate_every=validate_every,
        minutes=minutes,
        workers=workers,
        precision=precision,
        frozen_blocks=frozen_blocks,
    )
    with ExitStack() as checking:
        advance = checking.enter_context(progress("looking at images"))

        def begin(summary: str) -> None:
            checking.close()  # its bar ends where Lightning's begins
            say(summary)

        trained = train_detector(
            training,
            validation,
            output,
            recipe,
            backbone_weights,
            start_from,
            resume,
            tell=begin,
            on_check=advance,
        )
    if as_json:
        print_json({**asdict(trained), "checkpoint": str(trained.checkpoint)})
    else:
        say(f"{trained.checkpoint}: AP50 {trained.ap50:.3f} after {trained.epochs} epochs, {trained.seconds:.0f} s")
        say(f"next: ssd-edge export {trained.checkpoint}")

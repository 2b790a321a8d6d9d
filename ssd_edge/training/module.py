"""Train a network with Lightning: its loss, its optimizer, its validation AP."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ssd_edge.data.dataset import Target
from ssd_edge.decode import Decoder
from ssd_edge.detections import Detections
from ssd_edge.errors import ModelError
from ssd_edge.evaluation import Evaluation, evaluate
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import METADATA_KEY, ModelSpec
from ssd_edge.training.checkpoints import save_checkpoint
from ssd_edge.training.loss import Losses, multibox_loss
from ssd_edge.training.optimiser import course_of, make_optimiser
from ssd_edge.training.processes import mean_over_processes, number_of_processes
from ssd_edge.training.recipe import Recipe

Batch = tuple[Tensor, Tensor, Tensor, list[str]]
"""Images (B, 3, H, W), loc targets (B, A, 4), class targets (B, A), files of the images."""
ValidationBatch = tuple[Tensor, list[Target], list[tuple[int, int]]]
"""Images (B, 3, H, W), objects in pixels, (height, width) of each frame."""

KIND_KEY = "ssd_edge_training"
"""Key in a Lightning checkpoint of the kind of training that wrote it."""


class DetectorModule(pl.LightningModule):
    """Trains an ``SSD`` with the optimiser and the schedule of a recipe.

    Args:
        network: trained in place.
        recipe: its frozen part keeps weights and statistics.

    Attributes:
        kind: name of this kind of training; one kind is not resumed as another.
        scenes: number of the scene that each validation image shows, for the intervals; None if each is one by itself.
        evaluation: the latest validation's; None before the first.
        starts_trained: whether the network is trained already, so that its AP is measured before the first step.
    """

    kind = "training in float"
    starts_trained = False

    def __init__(self, network: SSD, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.decoder = Decoder(network.spec)
        self._frozen = _frozen_part(network, recipe)
        for block in self._frozen:
            block.requires_grad_(False)
        self.scenes: Sequence[int] | None = None
        self.evaluation: Evaluation | None = None
        self._detections: list[Detections] = []
        self._targets: list[Target] = []

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute loc (B, A, 4) and logits (B, A, C) of images (B, 3, H, W), for training and validation."""
        loc, logits = self.network(images)
        return loc, logits

    def save(self, path: Path, spec: ModelSpec) -> None:
        """Write the network as it is now to a checkpoint."""
        save_checkpoint(path, self.network, spec)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the tensors of a batch; the objects of a validation batch stay."""
        return tuple(part.to(device) if isinstance(part, Tensor) else part for part in batch)

    def on_train_epoch_start(self) -> None:
        """Keep the BatchNorm statistics of the frozen part."""
        for block in self._frozen:
            block.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Compute and log the MultiBox loss of one batch.

        Returns:
            ``loss`` of this process, and ``total``, ``loc`` and ``conf``, which are means over all processes; scalars.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        images, loc_target, class_target, _ = batch
        loc, logits = self.heads(images.contiguous(memory_format=torch.channels_last))
        losses = multibox_loss(loc.float(), logits.float(), loc_target, class_target)
        size = len(images)
        means = Losses(*mean_over_processes(torch.stack(losses)).unbind())
        self.log("loss", means.total, prog_bar=True, batch_size=size)
        self.log("loss/loc", means.loc, batch_size=size)
        self.log("loss/conf", means.conf, batch_size=size)
        if not torch.isfinite(losses.total):
            raise FloatingPointError(
                f"the loss is {losses.total.item()} at step {self.global_step}, with the images "
                f"{_suspects(batch)}: lower --lr, or look for bad boxes in them with check-data"
            )
        return {"loss": losses.total, **means._asdict()}

    def validation_step(self, batch: ValidationBatch, batch_idx: int) -> None:
        """Decode a batch as an engine would, and collect detections and targets."""
        images, targets, sizes = batch
        loc, logits = self.heads(images.contiguous(memory_format=torch.channels_last))
        heads = zip(loc.float().cpu().numpy(), logits.float().cpu().numpy(), sizes, strict=True)
        self._detections += [self.decoder(*one) for one in heads]
        self._targets += targets

    def on_validation_epoch_end(self) -> None:
        """Log AP over the whole validation set, the same in every process; nothing where it is undefined."""
        detections, targets = _gathered(self._detections, self._targets)
        result = self.evaluation = evaluate(detections, targets, self.network.spec.labels, self.scenes)
        self._detections, self._targets = [], []
        if result.ap is not None:
            self.log("val/ap", result.ap)
        if result.voc_map50 is not None:
            self.log("val/ap50", result.voc_map50, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes a Lightning checkpoint readable by ``load_checkpoint``."""
        checkpoint[KIND_KEY] = self.kind
        checkpoint[METADATA_KEY] = self.network.spec.to_text()

    def configure_optimizers(self) -> Any:
        """Make the optimiser, and a learning-rate schedule by step."""
        optimiser = make_optimiser(self, self.recipe.optimiser)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, course_of(self.recipe, steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _suspects(batch: Batch) -> str:
    """Name the images of a batch whose pixels or boxes are not finite; all images if there is none such."""
    images, loc_target, _, files = batch
    finite = images.isfinite().flatten(1).all(1) & loc_target.isfinite().flatten(1).all(1)
    bad = [file for file, good in zip(files, finite.tolist(), strict=True) if not good]
    return ", ".join(Path(file).name for file in bad or files)


def _frozen_part(network: SSD, recipe: Recipe) -> Sequence[torch.nn.Module]:
    """Return the modules that a recipe freezes.

    Raises:
        ModelError: the backbone has fewer blocks than are to be frozen.
    """
    if recipe.frozen_backbone:
        return [network.backbone]
    blocks = list(network.backbone.features)  # type: ignore[arg-type]
    if recipe.frozen_blocks > len(blocks):
        raise ModelError(
            f"the backbone of {recipe.model} has {len(blocks)} blocks, of which {recipe.frozen_blocks} cannot be "
            "frozen: lower --frozen-blocks"
        )
    return blocks[: recipe.frozen_blocks]


def _gathered(detections: list[Detections], targets: list[Target]) -> tuple[list[Detections], list[Target]]:
    """Collect detections and targets of all processes that train together, in the order of the images."""
    number = number_of_processes()
    if number == 1:
        return detections, targets
    parts: list[Any] = [None] * number
    torch.distributed.all_gather_object(parts, (detections, targets))
    # Share.take gave each process every so many-th image: the first of each, then the second of each …
    rows = [pair for row in zip_longest(*(zip(*part, strict=True) for part in parts)) for pair in row if pair]
    return [detected for detected, _ in rows], [target for _, target in rows]

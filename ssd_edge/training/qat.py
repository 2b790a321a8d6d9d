"""Quantisation-aware fine-tuning: a trained checkpoint → one whose INT8 heads lose less.

Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
arXiv 1712.05877, section 3. Unlike there, BatchNorm is folded for good before the first step: what is rounded are the
deployed weights, and a few epochs at a small learning rate need no statistics of batches.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ssd_edge.data.dataset import Dataset, read_image
from ssd_edge.errors import ModelError
from ssd_edge.export import export_onnx
from ssd_edge.models.ssd import SSD
from ssd_edge.preprocess import preprocess
from ssd_edge.spec import ModelSpec
from ssd_edge.training.checkpoints import load_checkpoint, save_checkpoint
from ssd_edge.training.folding import fold_batch_norm
from ssd_edge.training.int8_graph import Int8Graph, Places
from ssd_edge.training.module import DetectorModule, ValidationBatch
from ssd_edge.training.train import Recipe, Trained, epochs_done, fit

Images = Iterator[npt.NDArray[np.float32]]
"""(1, 3, H, W) float32 each, preprocessed."""

RANGES = ("learned", "frozen")
"""What becomes of the scales of activations: trained with the weights, or kept as they were found."""

CALIBRATION_IMAGES = 128
"""Training images that the first scales come from."""


class QuantisedModule(DetectorModule):
    """Trains an ``SSD`` as it will compute in INT8.

    Args:
        network: with BatchNorm folded, see ``fold_batch_norm``; trained in place.
        biases: as ``fold_batch_norm`` gives them.
        places: of the network's exported heads.
        lr: highest learning rate.
        learned: whether the scales of activations are trained too.
    """

    kind = "quantisation-aware training"
    starts_trained = True

    def __init__(
        self, network: SSD, biases: Mapping[str, nn.Parameter | None], places: Places, lr: float, learned: bool
    ) -> None:
        super().__init__(network, lr)
        network.requires_grad_(False)
        self.int8 = Int8Graph(network, biases, places, learned)
        for parameter in self.int8.trained():
            parameter.requires_grad_(True)

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As the INT8 file gives them."""
        found: tuple[Tensor, Tensor] = self.int8(images)
        return found

    def save(self, path: Path, spec: ModelSpec) -> None:
        """With the scales."""
        save_checkpoint(path, self.network, spec, scales=self.int8.named_scales())

    def validation_step(self, batch: ValidationBatch, batch_idx: int) -> None:
        """In float32 whatever the precision of training, as the INT8 file computes between its pairs."""
        with torch.autocast(self.device.type, enabled=False):
            super().validation_step(batch, batch_idx)


def fine_tune(
    training: Dataset,
    validation: Dataset,
    folder: Path,
    recipe: Recipe,
    checkpoint: Path,
    place: Callable[[Path, Images, int], Places],
    *,
    ranges: str = RANGES[0],
    **options: Any,
) -> Trained:
    """Train on from a checkpoint as its network computes in INT8, and keep the best weights and scales.

    The checkpoint as it is counts as the first candidate: the result is never worse on the validation images.

    Args:
        training: images to learn from, and the first scales come from.
        validation: images to choose the best epoch by.
        folder: as in ``train``; its ``model.pt`` carries the scales.
        recipe: how; its model must be the checkpoint's.
        checkpoint: what to begin with, also where a training is resumed.
        place: from exported FP32 heads, some images and their number, where the pairs stand and their first scales.
        ranges: one of ``RANGES``.
        options: ``resume``, ``progress``, ``tell`` and ``on_check`` of ``fit``.

    Raises:
        DataError: too few usable images are left.
        ModelError: the checkpoint is of other classes or cannot be trained so; as in ``train``.
        KeyboardInterrupt: Ctrl-C; ``last.ckpt`` holds the last whole epoch.
    """
    if ranges not in RANGES:
        raise ModelError(f"ranges must be one of {', '.join(RANGES)}, but got {ranges!r}")
    network = load_checkpoint(checkpoint)
    spec = network.spec
    if spec.architecture != recipe.model:
        raise ModelError(f"{checkpoint} is a {spec.architecture}, and not a {recipe.model}")
    if spec.labels != training.labels:
        raise ModelError(
            f"{checkpoint} knows the classes {', '.join(spec.labels)}, but {training.root} names "
            f"{', '.join(training.labels)}: fine-tune it on images of its own classes"
        )
    if options.get("resume"):  # found out now, not after the calibration
        epochs_done(folder / "last.ckpt", spec, QuantisedModule.kind)
    if recipe.precision == "auto":
        recipe = replace(recipe, precision="32-true")

    def make(clean: Dataset) -> QuantisedModule:
        network.spec = spec.with_provenance(int8_ranges=ranges)
        biases = fold_batch_norm(network)
        number = min(CALIBRATION_IMAGES, len(clean))
        chosen = np.random.default_rng(recipe.seed).permutation(len(clean))[:number]
        images = (preprocess(read_image(clean.samples[k].image), spec) for k in chosen)
        with tempfile.TemporaryDirectory() as temporary:
            heads = Path(temporary) / "heads.onnx"
            export_onnx(network, heads)
            places = place(heads, images, number)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return QuantisedModule(network, biases, places, recipe.lr, ranges == "learned")

    return fit(training, validation, folder, recipe, make, parents={"fine_tuned": checkpoint}, **options)

"""Fine-tune a checkpoint with quantisation-aware training, so that its INT8 heads lose less.

Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
arXiv 1712.05877, section 3. Unlike there, BatchNorm is folded before the first step and stays folded: the rounded
weights are those that are deployed, and a few epochs at a small learning rate need no statistics of batches.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

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
from ssd_edge.training.fit import Beginning, fit
from ssd_edge.training.folding import fold_batch_norm
from ssd_edge.training.int8_graph import Int8Graph, Places
from ssd_edge.training.module import DetectorModule, ValidationBatch
from ssd_edge.training.recipe import Recipe
from ssd_edge.training.resuming import epochs_done
from ssd_edge.training.run import Trained, TrainingRun

Images = Iterator[npt.NDArray[np.float32]]
"""Preprocessed images, each (1, 3, H, W) float32."""

Place = Callable[[Path, Images, int], Places]
"""(exported FP32 heads, images, number of images) → where the Q/DQ pairs stand, and their first scales."""

RANGES = ("learned", "frozen")
"""Whether the scales of activations are trained with the weights, or stay as calibration finds them."""

OF_FLOAT_ALONE = ("ema", "frozen_blocks", "frozen_backbone")
"""Settings of a recipe that quantisation-aware training does not have."""

CALIBRATION_IMAGES = 128
"""Number of training images that the first scales are calibrated on."""


class QuantisedModule(DetectorModule):
    """Trains an ``SSD`` with every value rounded as in INT8.

    Args:
        network: with BatchNorm folded by ``fold_batch_norm``; trained in place.
        biases: result of ``fold_batch_norm``.
        places: the network's exported heads and their Q/DQ pairs.
        recipe: gives the optimiser and the schedule.
        learned: whether the scales of activations are trained too.
    """

    kind = "quantisation-aware training"
    starts_trained = True

    def __init__(
        self, network: SSD, biases: Mapping[str, nn.Parameter | None], places: Places, recipe: Recipe, learned: bool
    ) -> None:
        super().__init__(network, recipe)
        network.requires_grad_(False)
        self.int8 = Int8Graph(network, biases, places, learned)
        for parameter in self.int8.trained():
            parameter.requires_grad_(True)

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute loc and logits as the INT8 file does."""
        loc, logits = self.int8(images)
        return loc, logits

    def save(self, path: Path, spec: ModelSpec) -> None:
        """Write the network and its INT8 scales to a checkpoint."""
        save_checkpoint(path, self.network, spec, scales=self.int8.named_scales())

    def validation_step(self, batch: ValidationBatch, batch_idx: int) -> None:
        """Validate in float32 whatever the precision of training, as the INT8 file computes between its pairs."""
        with torch.autocast(self.device.type, enabled=False):
            super().validation_step(batch, batch_idx)


def fine_tune(run: TrainingRun, checkpoint: Path, place: Place, ranges: str = RANGES[0]) -> Trained:
    """Fine-tune a checkpoint as its network computes in INT8, and keep the best weights and scales.

    The checkpoint as it is counts as the first candidate: the result is never worse on the validation images.

    Args:
        run: data and settings; the first scales come from its training images, the model of its recipe must be the
            checkpoint's, and the ``model.pt`` that it writes carries the scales.
        checkpoint: the network to begin with, also where a training is resumed.
        place: finds the Q/DQ pairs of the exported network, and their first scales.
        ranges: one of ``RANGES``.

    Raises:
        DataError: too few usable images are left.
        ModelError: the checkpoint has other classes, another model, or operators that cannot be trained in INT8;
            there is nothing to resume from; the training diverged.
        KeyboardInterrupt: Ctrl-C; ``last.ckpt`` holds the last whole epoch.
    """
    if ranges not in RANGES:
        raise ModelError(f"ranges must be one of {', '.join(RANGES)}, but got {ranges!r}")
    for name in OF_FLOAT_ALONE:
        if getattr(run.recipe, name):
            raise ModelError(
                f"quantisation-aware training trains all weights and averages none: take {name} out of the recipe"
            )
    network = _network(run, checkpoint)
    spec = network.spec
    if run.resume:  # refuse before the calibration, not after it
        epochs_done(run.last, spec, QuantisedModule.kind)
    if run.recipe.precision == "auto":
        run = replace(run, recipe=replace(run.recipe, precision="32-true"))

    def begin(usable: Dataset) -> Beginning:
        network.spec = spec.with_provenance(int8_ranges=ranges)
        biases = fold_batch_norm(network)
        places = _places(network, usable, run.recipe.seed, place)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module = QuantisedModule(network, biases, places, run.recipe, ranges == "learned")
        return Beginning(module, {"fine_tuned": checkpoint})

    return fit(run, begin, spec)


def _network(run: TrainingRun, checkpoint: Path) -> SSD:
    """The network of a checkpoint; ModelError where it is not of the run's model and classes."""
    network = load_checkpoint(checkpoint)
    spec, training = network.spec, run.training
    if spec.architecture != run.recipe.model:
        raise ModelError(f"{checkpoint} is a {spec.architecture}, and not a {run.recipe.model}")
    if spec.labels != training.labels:
        raise ModelError(
            f"{checkpoint} knows the classes {', '.join(spec.labels)}, but {training.root} names "
            f"{', '.join(training.labels)}: fine-tune it on images of its own classes"
        )
    return network


def _places(network: SSD, usable: Dataset, seed: int, place: Place) -> Places:
    """The Q/DQ pairs of a network, their first scales from images that the seed chooses."""
    number = min(CALIBRATION_IMAGES, len(usable))
    chosen = np.random.default_rng(seed).permutation(len(usable))[:number]
    images = (preprocess(read_image(usable.samples[k].image), network.spec) for k in chosen)
    with tempfile.TemporaryDirectory() as temporary:
        heads = Path(temporary) / "heads.onnx"
        export_onnx(network, heads)
        return place(heads, images, number)

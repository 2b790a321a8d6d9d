"""Train a detector: two data sets → checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from ssd_edge.data.coverage import coverage, unmatched_sentence
from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import ModelError
from ssd_edge.models.networks import load_backbone
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.models.ssd import SSD
from ssd_edge.training.checkpoints import describe_taken, load_checkpoint, load_matching, read_torch_file
from ssd_edge.training.fit import Beginning, fit
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.run import Trained, TrainingRun


def train(run: TrainingRun, backbone_weights: Path | None = None, start_from: Path | None = None) -> Trained:
    """Train a detector, validate it, and keep the best checkpoint as ``run.folder/model.pt``.

    ``last.ckpt`` is written after each epoch. A resumed training draws the same images in the same order as one that
    was never interrupted.

    Args:
        run: data and settings.
        backbone_weights: a torchvision state_dict for the backbone.
        start_from: a checkpoint of ssd-edge to fine-tune; its weights are taken where name and shape match.

    Raises:
        DataError: too few usable images are left.
        ModelError: the weights do not fit; there is nothing to resume from; the training diverged.
        KeyboardInterrupt: Ctrl-C; ``last.ckpt`` holds the last whole epoch.
    """
    spec = make_spec(run.recipe.model, run.training.labels, run.recipe.box_sizes)  # refused before the data is checked
    source = None if start_from is None else load_checkpoint(start_from)
    if source is not None and source.spec.architecture != run.recipe.model:
        raise ModelError(
            f"{start_from} is a {source.spec.architecture}, and {run.recipe.model} is to be trained: "
            f"add --model {source.spec.architecture}"
        )
    given = {"backbone": backbone_weights, "start_from": start_from}
    parents = {name: path for name, path in given.items() if path is not None}

    def begin(training: Dataset) -> Beginning:
        network = make_network(spec)
        unmatched = unmatched_sentence(coverage(training, spec), run.recipe.model)
        if unmatched and not run.resume:  # it was said when the training began
            run.note(unmatched)
        if backbone_weights is not None:
            load_backbone(network, read_torch_file(backbone_weights))
        left_out = [] if start_from is None or source is None else _take_weights(network, source, start_from, run)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module = DetectorModule(network, run.recipe)
        return Beginning(module, parents, tuple(left_out))

    return fit(run, begin, source.spec if source else None)


def _take_weights(network: SSD, source: SSD, start_from: Path, run: TrainingRun) -> list[str]:
    """Load the matching tensors of a checkpoint, note what was taken, and return the names of those left out."""
    weights = source.state_dict()
    left_out = load_matching(network, weights, source.spec.labels)
    if not run.resume:  # a resumed training takes all its weights from last.ckpt
        run.note(describe_taken(start_from, network, weights, left_out))
    return left_out

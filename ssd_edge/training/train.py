"""Train a detector: two data sets → checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ssd_edge.data.box_fit import choose_boxes
from ssd_edge.data.box_picture import draw_boxes
from ssd_edge.data.coverage import coverage, unmatched_sentence
from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import ModelError
from ssd_edge.models.catalogue import FIT, parse_input
from ssd_edge.models.networks import load_backbone
from ssd_edge.models.registry import make_network, make_spec, with_input
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import ModelSpec
from ssd_edge.starts.convert import open_start
from ssd_edge.training.checkpoints import as_softmax, describe_taken, load_matching, read_torch_file
from ssd_edge.training.fit import Beginning, fit
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.run import Trained, TrainingRun


def train(run: TrainingRun, backbone_weights: Path | None = None, start_from: Path | None = None) -> Trained:
    """Train a detector, validate it, and keep the best checkpoint as ``run.folder/model.pt``.

    ``boxes.png`` there shows the default boxes beside the training objects, and ``last.ckpt`` is written after each
    epoch. A resumed training draws the same images in the same order as one that was never interrupted.

    Args:
        run: data and settings.
        backbone_weights: a torchvision state_dict for the backbone.
        start_from: a detector to fine-tune, see ``open_start``. Its weights are taken where name and shape match; the
            spec is its own, with the labels of the data, and with the input and default boxes that the recipe names.

    Raises:
        DataError: too few usable images are left.
        ModelError: the network does not take the input; the weights do not fit; there is nothing to resume from; the
            training diverged.
        KeyboardInterrupt: Ctrl-C; ``last.ckpt`` holds the last whole epoch.
    """
    recipe = run.recipe
    source = None if start_from is None else open_start(start_from)
    spec = _spec(run, source.spec if source else None)  # refused before the data is checked
    if source is not None and source.spec.architecture != recipe.model:
        raise ModelError(
            f"{start_from} is a {source.spec.architecture}, and {recipe.model} is to be trained: "
            f"add --model {source.spec.architecture}"
        )
    given = {"backbone": backbone_weights, "start_from": start_from}
    parents = {name: path for name, path in given.items() if path is not None}

    def begin(training: Dataset) -> Beginning:
        boxes = choose_boxes(spec, training, recipe.box_sizes == FIT)
        fitted = boxes.sentence() if boxes.fit else ""
        for sentence in (fitted, unmatched_sentence(coverage(training, boxes.spec), recipe.model)):
            if sentence and not run.resume:  # it was said when the training began
                run.note(sentence)
        draw_boxes(boxes, run.folder / "boxes.png")
        network = make_network(boxes.spec)
        if backbone_weights is not None:
            load_backbone(network, read_torch_file(backbone_weights))
        left_out = [] if start_from is None or source is None else _take_weights(network, source, start_from, run)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module = DetectorModule(network, recipe)
        return Beginning(module, parents, tuple(left_out))

    return fit(run, begin, source.spec if source else None)


def _spec(run: TrainingRun, parent: ModelSpec | None) -> ModelSpec:
    """Make the spec to train: a parent's own, for the labels of the data, except for what the recipe names."""
    recipe, size = run.recipe, parse_input(run.recipe.input)
    if parent is None or parent.architecture != recipe.model:
        return make_spec(recipe.model, run.training.labels, recipe.box_sizes, size)
    anew = make_spec(recipe.model, run.training.labels, recipe.box_sizes, size or parent.input_size)
    spec = replace(
        with_input(parent, anew.input_size),
        labels=anew.labels,
        score_function="softmax",
        # How many objects an image shows is a matter of the data: pedestrians' 100 would cut blood cells off.
        top_k=max(parent.top_k, anew.top_k),
        max_detections=max(parent.max_detections, anew.max_detections),
        operating_scores={},
        provenance={},
    )
    return replace(spec, levels=anew.levels, clip=anew.clip) if recipe.box_sizes else spec


def _take_weights(network: SSD, source: SSD, start_from: Path, run: TrainingRun) -> list[str]:
    """Load the matching tensors of a checkpoint, note what was taken, and return the names of those left out."""
    if source.spec.score_function == "sigmoid":
        as_softmax(source)
    weights = source.state_dict()
    left_out = load_matching(network, weights, source.spec.labels)
    if not run.resume:  # a resumed training takes all its weights from last.ckpt
        run.note(describe_taken(start_from, network, weights, left_out))
    return left_out

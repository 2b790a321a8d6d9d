"""Load samples in batches: decode each image once; augment, preprocess and match it each time it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from ssd_edge import boxes
from ssd_edge.data.augment.catalogue import DEFAULT_AUGMENTATION, make_augmentation
from ssd_edge.data.dataset import Dataset, Sample, Target
from ssd_edge.data.decoded import DecodedImages
from ssd_edge.errors import ModelError
from ssd_edge.machine.allocator import let_go_of_freed_memory
from ssd_edge.preprocess import preprocess
from ssd_edge.spec import ModelSpec
from ssd_edge.training.matching import training_target
from ssd_edge.training.module import Batch, ValidationBatch
from ssd_edge.training.processes import ALONE, Share
from ssd_edge.training.recipe import Recipe


class Shuffled(Sampler[tuple[int, int]]):
    """Draws (epoch, index) for every index once an epoch, in an order that depends on seed and epoch only.

    So a resumed training sees what an uninterrupted one would have seen.

    Args:
        number: number of samples.
        seed: random seed.
        epoch: the first epoch; Lightning calls ``set_epoch`` before each.
        share: the part of this process; all have the same number of samples.
    """

    def __init__(self, number: int, seed: int, epoch: int = 0, share: Share = ALONE) -> None:
        self.number = number
        self.seed = seed
        self.epoch = epoch
        self.share = share

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.number // self.share.of

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.number)
        return iter([(self.epoch, index) for index in self.share.take(order.tolist())[: len(self)]])


TrainingItem = tuple[torch.Tensor, torch.Tensor, torch.Tensor, str]
"""One image (3, H, W), its loc target (A, 4) and class target (A,), and its file."""


class TrainingSamples(TorchDataset[TrainingItem]):
    """Training images augmented, preprocessed and matched; the same seed and (epoch, index) give the same tensors.

    Args:
        images: usable images.
        spec: gives the input size and the default boxes.
        seed: random seed.
        augmentation: a key of ``AUGMENTATIONS``.
    """

    def __init__(
        self, images: DecodedImages, spec: ModelSpec, seed: int, augmentation: str = DEFAULT_AUGMENTATION
    ) -> None:
        self.images = images
        self.spec = spec
        self.defaults = boxes.default_boxes(spec)
        self.seed = seed
        self.augment = make_augmentation(augmentation, spec)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> TrainingItem:
        epoch, index = key
        sample, rng = self.images.samples[index], np.random.default_rng([self.seed, epoch, index])
        image, target = self.augment(self.images[index], sample.target, rng)
        loc, classes = training_target(target, image.shape[:2], self.defaults, self.spec.variances)
        inputs = torch.from_numpy(preprocess(image, self.spec)[0])
        return inputs, torch.from_numpy(loc), torch.from_numpy(classes), str(sample.image)


class ValidationSamples(TorchDataset[tuple[torch.Tensor, Target, tuple[int, int]]]):
    """Validation images preprocessed only, with their objects in pixels and their (height, width)."""

    def __init__(self, images: DecodedImages, spec: ModelSpec) -> None:
        self.images = images
        self.spec = spec

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target, tuple[int, int]]:
        image = self.images[index]
        inputs = torch.from_numpy(preprocess(image, self.spec)[0])
        return inputs, self.images.samples[index].target, (image.shape[0], image.shape[1])


def collate_training(items: list[TrainingItem]) -> Batch:
    """Stack images, loc targets and class targets to a batch; files stay a list."""
    images, loc, classes, files = zip(*items, strict=True)
    return torch.stack(images), torch.stack(loc), torch.stack(classes), list(files)


def collate_validation(items: list[tuple[torch.Tensor, Target, tuple[int, int]]]) -> ValidationBatch:
    """Stack the images to a batch; targets stay a list, since their lengths differ."""
    images, targets, sizes = zip(*items, strict=True)
    return torch.stack(images), list(targets), list(sizes)


def start_worker(_: int) -> None:
    """Turn off OpenCV's threads in a worker, and have it let memory go: cores and memory are for the network."""
    cv2.setNumThreads(0)
    let_go_of_freed_memory()


class Batches(NamedTuple):
    """Loaders of a training run.

    Attributes:
        training: yields a ``Batch``.
        validation: yields a ``ValidationBatch``.
    """

    training: DataLoader[Any]
    validation: DataLoader[Any]


def batches_of(
    training: Dataset,
    validation: Dataset,
    spec: ModelSpec,
    recipe: Recipe,
    epoch: int = 0,
    share: Share = ALONE,
    keep: Callable[[Sequence[Sample]], DecodedImages] = DecodedImages,
) -> Batches:
    """Load the images of a training run in batches.

    Args:
        training: usable images to learn from.
        validation: usable images to validate on.
        spec: gives the input size and the default boxes.
        recipe: gives batch size, workers, seed and augmentation.
        epoch: the first epoch; above 0 if the training is resumed.
        share: the part of this process.
        keep: makes the images of samples; by default they are decoded each time.

    Raises:
        ModelError: the batch or the validation images cannot be divided among the processes.
    """
    if 0 < len(validation) < share.of:
        raise ModelError(
            f"{share.of} processes cannot share {len(validation)} validation images: start fewer, or give more images"
        )
    workers: dict[str, Any] = {
        "num_workers": recipe.workers,
        "persistent_workers": recipe.workers > 0,
        "worker_init_fn": start_worker,
    }
    # With fewer images than a batch: all of them that can be divided.
    batch = share.batch(min(recipe.batch_size, len(training) // share.of * share.of))
    validated = ValidationSamples(keep(share.take(validation.samples)), spec)
    return Batches(
        # BatchNorm cannot learn from one image: an incomplete last batch is dropped.
        DataLoader(
            TrainingSamples(keep(training.samples), spec, recipe.seed, recipe.augmentation),
            batch,
            sampler=Shuffled(len(training), recipe.seed, epoch, share),
            drop_last=True,
            collate_fn=collate_training,
            **workers,
        ),
        DataLoader(validated, batch, collate_fn=collate_validation, **workers),
    )

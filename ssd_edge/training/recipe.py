"""Settings of a training run: their one definition, their defaults and their limits; needs no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ssd_edge.data.augment.catalogue import AUGMENTATIONS, DEFAULT_AUGMENTATION
from ssd_edge.errors import ModelError
from ssd_edge.models.catalogue import parse_input

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
SCHEDULES = ("cosine", "step")

_Checks = Iterable[tuple[bool, str]]


def _require(checks: _Checks) -> None:
    for holds, message in checks:
        if not holds:
            raise ModelError(message)


@dataclass(frozen=True)
class Optimiser:
    """Stochastic gradient descent with momentum.

    Attributes:
        lr: highest learning rate.
        momentum: share of the last step that is added to the next.
        weight_decay: decay of weights; biases never have any.
        decay_scales: whether the scales of BatchNorm and L2Norm have weight decay too.
        bias_lr: learning rate of biases, as a multiple of ``lr``.
        clip: largest norm of the gradient, which is scaled down to it; 0 for no limit.

    Raises:
        ModelError: a value is out of range.
    """

    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_scales: bool = False
    bias_lr: float = 1.0
    clip: float = 10.0

    def __post_init__(self) -> None:
        _require(
            (
                (0 < self.lr < math.inf, f"lr must be above 0, but got {self.lr}"),
                (0 <= self.momentum < 1, f"momentum must lie in 0 … 1, without 1, but got {self.momentum}"),
                (0 <= self.weight_decay < math.inf, f"weight_decay must be at least 0, but got {self.weight_decay}"),
                (0 < self.bias_lr < math.inf, f"bias_lr must be above 0, but got {self.bias_lr}"),
                (0 <= self.clip < math.inf, f"clip must be at least 0, but got {self.clip}"),
            )
        )


@dataclass(frozen=True)
class Schedule:
    """Course of the learning rate: a linear warm-up, then a cosine or steps down.

    Attributes:
        kind: ``cosine`` falls to a thousandth of ``lr`` at the end, ``step`` falls at each milestone.
        warmup: number of steps of the warm-up; never more than a tenth of the training.
        milestones: with ``step``, after how much training the learning rate falls, in the unit of the training's
            length: in iterations if that is given in iterations, else in epochs.
        factor: with ``step``, what the learning rate is multiplied by at each milestone.

    Raises:
        ModelError: a value is out of range.
    """

    kind: str = "cosine"
    warmup: int = 500
    milestones: tuple[int, ...] = ()
    factor: float = 0.1

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0, *self.milestones), self.milestones, strict=False))
        _require(
            (
                (self.kind in SCHEDULES, f"kind must be one of {', '.join(SCHEDULES)}, but got {self.kind!r}"),
                (self.warmup >= 0, f"warmup must be at least 0, but got {self.warmup}"),
                (rising, f"milestones must be above 0 and rise, but got {list(self.milestones)}"),
                (0 < self.factor < 1, f"factor must lie between 0 and 1, but got {self.factor}"),
                (
                    bool(self.milestones) == (self.kind == "step"),
                    f"milestones must be given with step alone, but got {list(self.milestones)} with {self.kind}",
                ),
            )
        )


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run; the defaults suit a few hundred images.

    Attributes:
        model: a key of ``ssd_edge.models.catalogue.MODELS``.
        box_sizes: name of the model's table of default-box sizes; empty for its usual one, ``fit`` for sizes fitted to
            the training objects.
        input: size of the network's input, ``WIDTHxHEIGHT`` in pixels; empty for the published one.
        classes: the classes to learn, of those in the data set; empty for all.
        frozen_blocks: number of the backbone's first blocks that are not trained.
        frozen_backbone: whether none of the backbone is trained, but extra feature layers and heads alone.
        epochs: passes over the training images; 0 if ``iterations`` says how long to train.
        iterations: training steps, each of ``batch_size`` images; 0 if ``epochs`` says how long to train.
        minutes: stop after this many minutes; 0 for no limit.
        batch_size: images in a step.
        augmentation: random changes of training images, a key of ``ssd_edge.data.augment.catalogue.AUGMENTATIONS``.
        optimiser: see ``Optimiser``.
        schedule: see ``Schedule``.
        ema: decay of the moving average of the weights, which is validated and kept in place of the weights
            themselves; 0 for none.
        validate_every: epochs between validations.
        patience: stop after this many validations without a better AP50; 0 never stops early.
        seed: random seed.
        workers: number of processes that prepare images.
        precision: ``32-true``, ``bf16-mixed``, ``16-mixed``, or ``auto``: bf16 where the processor has it.

    Raises:
        ModelError: a value is out of range.
    """

    model: str = "ssdlite300_mobilenet_v2"
    box_sizes: str = ""
    input: str = ""
    classes: tuple[str, ...] = ()
    frozen_blocks: int = 0
    frozen_backbone: bool = False
    epochs: int = 100
    iterations: int = 0
    minutes: float = 0
    batch_size: int = 16
    augmentation: str = DEFAULT_AUGMENTATION
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    ema: float = 0
    validate_every: int = 5
    patience: int = 0
    seed: int = 0
    workers: int = 1
    precision: str = "auto"

    @property
    def length(self) -> tuple[int, str]:
        """How long to train: a number, and ``epochs`` or ``iterations``."""
        return (self.iterations, "iterations") if self.iterations else (self.epochs, "epochs")

    def __post_init__(self) -> None:
        parse_input(self.input)
        length, unit = self.length
        last = max(self.schedule.milestones, default=0)
        repeated = len(set(self.classes)) < len(self.classes)
        _require(
            (
                (self.epochs >= 0, f"epochs must be at least 0, but got {self.epochs}"),
                (self.iterations >= 0, f"iterations must be at least 0, but got {self.iterations}"),
                (
                    (self.epochs > 0) != (self.iterations > 0),
                    f"epochs must be 0 with iterations and at least 1 else, but got {self.epochs}, {self.iterations}",
                ),
                (last < length, f"milestones must come before the end, {length} {unit}, but got {last}"),
                # BatchNorm cannot learn from one image.
                (self.batch_size >= 2, f"batch_size must be at least 2, but got {self.batch_size}"),
                (
                    self.augmentation in AUGMENTATIONS,
                    f"augmentation must be one of {', '.join(AUGMENTATIONS)}, but got {self.augmentation!r}",
                ),
                (0 <= self.ema < 1, f"ema must lie in 0 … 1, without 1, but got {self.ema}"),
                (0 <= self.seed < 2**32, f"seed must lie in 0 … 2³² − 1, but got {self.seed}"),
                (self.patience >= 0, f"patience must be at least 0, but got {self.patience}"),
                (self.validate_every >= 1, f"validate_every must be at least 1, but got {self.validate_every}"),
                (0 <= self.minutes < math.inf, f"minutes must be at least 0, but got {self.minutes}"),
                (self.workers >= 0, f"workers must be at least 0, but got {self.workers}"),
                (
                    self.precision in PRECISIONS,
                    f"precision must be one of {', '.join(PRECISIONS)}, but got {self.precision!r}",
                ),
                (self.frozen_blocks >= 0, f"frozen_blocks must be at least 0, but got {self.frozen_blocks}"),
                (
                    not (self.frozen_backbone and self.frozen_blocks),
                    f"frozen_blocks must be 0 with frozen_backbone, but got {self.frozen_blocks}",
                ),
                (not repeated, f"classes must differ from each other, but got {', '.join(self.classes)}"),
            )
        )


DEFAULTS = Recipe()

DEFAULTS_OF_QAT = Recipe(epochs=3, optimiser=Optimiser(lr=0.0005), validate_every=1)
"""Defaults of quantisation-aware training, which begins with a trained network and only has to adapt it."""

"""A moving average of the weights, which is validated and kept in place of the weights themselves."""

from __future__ import annotations

from collections.abc import Sequence

import pytorch_lightning as pl
from pytorch_lightning.callbacks.weight_averaging import WeightAveraging
from torch import Tensor

AVERAGE_KEY = "averaging_state"
"""Key in ``last.ckpt`` that only a training with a moving average writes."""


class MovingAverage(WeightAveraging):
    """Averages weights and BatchNorm's statistics exponentially after each step.

    Lightning keeps both the average and the weights in ``last.ckpt``; the average is its ``state_dict``.

    Args:
        decay: see ``average_``.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=lambda average, new, number: average_(average, new, int(number), decay))

    @property
    def state_key(self) -> str:
        """Key of this callback's state in ``last.ckpt``."""
        return "MovingAverage"

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in place until what was validated is saved."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the weights back; ``BestModel`` has to come before, since it saves the average."""
        super().on_validation_epoch_end(trainer, pl_module)


def average_(average: Sequence[Tensor], new: Sequence[Tensor], number: int, decay: float) -> None:
    """Take the next values into a moving average, in place.

    The share that is kept is min(decay, (1 + number) / (10 + number)), as in TensorFlow's
    ``ExponentialMovingAverage``, so that the first weights, which are random, are soon forgotten.

    Args:
        average: the averages so far.
        new: the values after the step; whole numbers, such as BatchNorm's count of batches, are taken as they are.
        number: number of values in the average.
        decay: highest share of the average that is kept.
    """
    kept = min(decay, (1 + number) / (10 + number))
    for old, value in zip(average, new, strict=True):
        if old.is_floating_point():
            old.lerp_(value, 1 - kept)
        else:
            old.copy_(value)

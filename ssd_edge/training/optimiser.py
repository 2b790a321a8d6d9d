"""The optimiser of a training, and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from ssd_edge.training.recipe import Optimiser, Recipe

_COSINE_END = 1e-3
"""What the cosine leaves of the learning rate at the end."""


def make_optimiser(module: nn.Module, settings: Optimiser) -> torch.optim.SGD:
    """Make SGD with momentum (SSD paper, section 3) over the parameters that are trained.

    Parameters are grouped by learning rate and decay, so that the groups of earlier checkpoints stay as they were.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        bias = name.endswith("bias")
        decays = parameter.ndim > 1 or (settings.decay_scales and not bias)
        key = (settings.bias_lr if bias else 1.0, settings.weight_decay if decays else 0.0)
        groups.setdefault(key, []).append(parameter)
    return torch.optim.SGD(
        [
            {"params": parameters, "lr": multiple * settings.lr, "weight_decay": decay}
            for (multiple, decay), parameters in groups.items()
        ],
        lr=settings.lr,
        momentum=settings.momentum,
    )


def course_of(recipe: Recipe, steps: int) -> Callable[[int], float]:
    """Return the share of the highest learning rate at each step, counted from 0.

    Args:
        recipe: gives the schedule.
        steps: number of steps of the whole training.
    """
    schedule = recipe.schedule
    warmup = max(1, min(schedule.warmup, steps // 10))
    steps_per_unit = steps / recipe.length[0]
    milestones = [round(milestone * steps_per_unit) for milestone in schedule.milestones]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if schedule.kind == "step":
            return float(schedule.factor ** sum(step >= milestone for milestone in milestones))
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 0.5 * (1 + math.cos(math.pi * done)) + _COSINE_END

    return factor

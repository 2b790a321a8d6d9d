"""Processes that train together: which one this is, and what they share.

The batch of a recipe is that of all processes together, and a loss is divided by the matched boxes of all of them, so
that a training takes the same steps with any number of processes. Only sums of floats differ, and the statistics of
BatchNorm on a CPU, where PyTorch takes them in each process alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ssd_edge.errors import ModelError

_Item = TypeVar("_Item")


class Share(NamedTuple):
    """The part of one process in a batch and in a set of images.

    Attributes:
        rank: number of the process, from 0.
        of: number of processes.
    """

    rank: int = 0
    of: int = 1

    def batch(self, size: int) -> int:
        """Number of images of this process in a batch of ``size``.

        Raises:
            ModelError: the batch cannot be divided, or leaves a process one image, from which BatchNorm cannot learn.
        """
        if size % self.of or size // self.of < 2:
            raise ModelError(
                f"a batch of {size} images cannot be divided among {self.of} processes, with two images or more each: "
                f"choose a batch size that is a multiple of {self.of}, and at least {2 * self.of}"
            )
        return size // self.of

    def take(self, items: Sequence[_Item]) -> list[_Item]:
        """Every ``of``-th item from ``rank`` on; one batch of each process makes one batch of the items."""
        return list(items[self.rank :: self.of])


ALONE = Share()
"""The share of a process that trains alone."""


def launched_with() -> int:
    """Number of processes that torchrun started on this machine; 0 if it did not start this one.

    Raises:
        ModelError: its variable holds no number.
    """
    given = os.environ.get("LOCAL_WORLD_SIZE", "0")
    if not given.isdigit():
        raise ModelError(f"LOCAL_WORLD_SIZE, which torchrun sets, must be a number, but is {given!r}")
    return int(given)


def speaks() -> bool:
    """Whether this process is the first, which writes and speaks for all."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK"))


def number_of_processes() -> int:
    """Number of processes that train together now: 1 outside such a training."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def mean_over_processes(value: Tensor) -> Tensor:
    """Average a tensor over the processes that train together; itself, without its gradient, if there is one alone."""
    value = value.detach()
    number = number_of_processes()
    if number == 1:
        return value
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total / number

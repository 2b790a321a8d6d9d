"""Run a PyTorch network as heads, so that the code that evaluates an engine evaluates a checkpoint too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from ssd_edge.detector import Engine, RawHeads
from ssd_edge.models.ssd import SSD


class TorchHeads(Engine):
    """Engine of a PyTorch network.

    Args:
        network: on the CPU; put into evaluation mode.
    """

    depth = 1
    backend = "pytorch"
    precision = "FP32"

    def __init__(self, network: SSD) -> None:
        self.spec = network.spec
        self._network = network.eval()

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """See ``Heads``."""
        with torch.no_grad():
            loc, logits = self._network(torch.from_numpy(images))
        heads = RawHeads(loc.numpy(), logits.numpy())
        return lambda: heads

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

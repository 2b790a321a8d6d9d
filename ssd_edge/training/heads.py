"""A PyTorch network as heads, so that a checkpoint is evaluated by the very code that evaluates an engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from ssd_edge.detector import HostDetector, RawHeads
from ssd_edge.models.ssd import SSD


class TorchHeads:
    """See ``ssd_edge.detector.Heads``; runs where the network's weights are."""

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

    def detector(self, min_score: float = 0.0) -> HostDetector:
        """See ``Heads``."""
        return HostDetector(self, min_score)

    def close(self) -> None:
        """Nothing is held."""

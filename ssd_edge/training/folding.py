"""BatchNorm folded into the convolution before it, in the network itself: then its weights are those that are deployed.

The BatchNorm stays as a module that changes nothing but adds the bias, so that the network keeps its architecture, and
its checkpoint and its ONNX file look like any other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import nn

from ssd_edge.errors import ModelError


def fold_batch_norm(network: nn.Module) -> Mapping[str, nn.Parameter | None]:
    """Fold all of a network's BatchNorms, by their statistics so far.

    Args:
        network: each BatchNorm directly behind a convolution in one ``nn.Sequential``; changed in place.

    Returns:
        Of every convolution, by its weight's name: the parameter that is its bias now.

    Raises:
        ModelError: a BatchNorm that stands elsewhere.
    """
    parameters = dict(network.named_parameters())
    convolutions = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    biases = {f"{name}.weight": parameters.get(f"{name}.bias") for name in convolutions}
    left = {name for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)}
    for name, part in network.named_modules():
        if not isinstance(part, nn.Sequential):
            continue
        for (one, layer), (other, norm) in pairwise(part.named_children()):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(layer, norm)
                prefix = f"{name}." if name else ""
                biases[f"{prefix}{one}.weight"] = norm.bias
                left.discard(f"{prefix}{other}")
    if left:
        raise ModelError(f"the BatchNorm {sorted(left)[0]} stands behind no convolution and cannot be folded")
    return biases


@torch.no_grad()
def _fold(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    before = 0.0 if layer.bias is None else layer.bias.double()
    norm.bias.copy_(norm.bias.double() + (before - norm.running_mean.double()) * factor)
    layer.weight.copy_(layer.weight.double() * factor.view(-1, 1, 1, 1))
    if layer.bias is not None:
        layer.bias.zero_()
    norm.weight.fill_(1)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)  # 1 with the eps, so that folding again multiplies by 1

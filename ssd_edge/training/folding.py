"""Fold BatchNorm into the convolution before it, in the network itself, so that it has the weights that are deployed.

The BatchNorm stays as a module that only adds the bias. So the network keeps its architecture, and its checkpoint and
ONNX file look like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import nn

from ssd_edge.errors import ModelError


def fold_batch_norm(network: nn.Module) -> Mapping[str, nn.Parameter | None]:
    """Fold every BatchNorm of a network, with the statistics it has now.

    Args:
        network: has each BatchNorm directly behind a convolution in one ``nn.Sequential``; changed in place.

    Returns:
        The parameter that now is the bias of each convolution, by the name of its weight; None if it has none.

    Raises:
        ModelError: a BatchNorm does not stand behind a convolution.
    """
    parameters = dict(network.named_parameters())
    convolutions = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    biases = {f"{name}.weight": parameters.get(f"{name}.bias") for name in convolutions}
    unfolded = {name for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)}
    for name, part in network.named_modules():
        if not isinstance(part, nn.Sequential):
            continue
        for (one, layer), (other, norm) in pairwise(part.named_children()):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(layer, norm)
                prefix = f"{name}." if name else ""
                biases[f"{prefix}{one}.weight"] = norm.bias
                unfolded.discard(f"{prefix}{other}")
    if unfolded:
        raise ModelError(f"the BatchNorm {sorted(unfolded)[0]} stands behind no convolution and cannot be folded")
    return biases


@torch.no_grad()
def _fold(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    old_bias = 0.0 if layer.bias is None else layer.bias.double()
    norm.bias.copy_(norm.bias.double() + (old_bias - norm.running_mean.double()) * factor)
    layer.weight.copy_(layer.weight.double() * factor.view(-1, 1, 1, 1))
    if layer.bias is not None:
        layer.bias.zero_()
    norm.weight.fill_(1)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)  # 1 once eps is added, so that folding again multiplies by 1

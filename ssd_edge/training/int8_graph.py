"""Run the deployed INT8 network in PyTorch: the exported graph with its Q/DQ pairs, on the weights of an ``SSD``.

The graph and the places of its pairs come in as plain data. So what is trained is what is deployed, whatever rules
place the pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from ssd_edge.errors import ModelError
from ssd_edge.training.fake_quantise import LEAST_STEP, quantised_activation, quantised_weight
from ssd_edge.training.operators import Operator, operator

Use = tuple[str, int]
"""One input of a node: (name of the node, position of the input)."""


@dataclass(frozen=True)
class Places:
    """An exported graph and its Q/DQ pairs.

    Attributes:
        model: FP32 heads for one image, BatchNorm folded; a convolution's weight has the name it has in the ``SSD``.
        readers: for each tensor that has a pair, the inputs that read it through the pair.
        scale_of: for each of these tensors, the tensor whose scale it shares; itself if it has its own.
        convolutions: names of the nodes whose weights are int8.
        scales: initial scale of each tensor that has a pair.
    """

    model: onnx.ModelProto
    readers: Mapping[str, Collection[Use]]
    scale_of: Mapping[str, str]
    convolutions: Collection[str]
    scales: Mapping[str, float]


class _Step(NamedTuple):
    """One node of the graph, ready to run.

    Attributes:
        run: function that computes it.
        inputs: names of the tensors it reads, without a convolution's weight and bias.
        through: for each input, whether it is read through a pair.
        output: name of the tensor it writes.
        weight: name of a convolution's weight; empty for other nodes.
        int8: whether that weight is int8.
        done: names of tensors that no later node reads.
    """

    run: Operator
    inputs: tuple[str, ...]
    through: tuple[bool, ...]
    output: str
    weight: str
    int8: bool
    done: tuple[str, ...]


class Int8Graph(nn.Module):
    """(B, 3, H, W) → loc (B, A, 4), logits (B, A, C), as the exported Q/DQ heads compute them.

    Args:
        network: gives the weights of the convolutions; other parameters stay as they are in the graph.
        biases: the bias of each convolution by the name of its weight, from ``fold_batch_norm``.
        places: the graph and its pairs.
        learned: whether the scales of activations are trained too.

    Raises:
        ModelError: the graph was exported from another network, or has operators that no published model needs.
    """

    def __init__(
        self, network: nn.Module, biases: Mapping[str, nn.Parameter | None], places: Places, learned: bool
    ) -> None:
        super().__init__()
        graph = places.model.graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        weights = dict(network.named_parameters())
        # A dict, not a ParameterDict: these parameters are registered in the network already.
        self._weights = {name: (weights[name], bias) for name, bias in biases.items()}
        self._input = graph.input[0].name
        self._outputs = tuple(value.name for value in graph.output)
        roots = list(dict.fromkeys(places.scale_of.values()))
        self._index = {tensor: roots.index(root) for tensor, root in places.scale_of.items()}
        start = torch.tensor([places.scales[root] for root in roots], dtype=torch.float32)
        self.scales = nn.Parameter(start, requires_grad=learned)
        self._constants: dict[str, str] = {}
        through = {use for uses in places.readers.values() for use in uses}
        last = {name: node.name for node in graph.node for name in node.input}
        self._steps = []
        for node in graph.node:
            run, taken = operator(node, constants)
            weight = ""
            if node.op_type == "Conv":
                weight, taken = node.input[1], taken[:1]
                self._require_same(weight, [constants.get(name) for name in node.input[1:]])
            inputs = tuple(node.input[k] for k in taken)
            for name in constants.keys() & set(inputs) - self._constants.keys():
                self._constants[name] = f"constant{len(self._constants)}"
                self.register_buffer(self._constants[name], torch.tensor(constants[name]), persistent=False)
            read_through = tuple((node.name, k) in through for k in taken)
            done = tuple(name for name in set(inputs) - set(self._outputs) if last[name] == node.name)
            int8 = node.name in places.convolutions
            self._steps.append(_Step(run, inputs, read_through, node.output[0], weight, int8, done))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute loc (B, A, 4) and logits (B, A, C) of images (B, 3, H, W)."""
        values = {name: getattr(self, buffer) for name, buffer in self._constants.items()} | {self._input: images}
        rounded: dict[str, Tensor] = {}
        for step in self._steps:
            taken = []
            for name, through in zip(step.inputs, step.through, strict=True):
                if through and name not in rounded:
                    rounded[name] = quantised_activation(values[name], self._scale(self._index[name]))
                taken.append((rounded if through else values)[name])
            if step.weight:
                weight, bias = self._weights[step.weight]
                taken.append(quantised_weight(weight) if step.int8 else weight)
                values[step.output] = step.run(*taken, bias)
            else:
                values[step.output] = step.run(*taken)
            for name in step.done:  # frees memory where no gradient needs them
                del values[name]
                rounded.pop(name, None)
        loc, logits = (values[name] for name in self._outputs)
        return loc, logits

    def trained(self) -> Iterator[nn.Parameter]:
        """Yield the parameters to train: weights, biases, and scales where they are learned."""
        for weight, bias in self._weights.values():
            yield weight
            if bias is not None:
                yield bias
        if self.scales.requires_grad:
            yield self.scales

    def named_scales(self) -> dict[str, float]:
        """Current scale of each tensor that has a pair, above zero."""
        return {tensor: float(self._scale(index)) for tensor, index in self._index.items()}

    def _scale(self, index: int) -> Tensor:
        return self.scales[index].clamp(min=LEAST_STEP)

    def _require_same(self, name: str, given: list[npt.NDArray[np.float32] | None]) -> None:
        """Raise ModelError if a convolution's weight and bias differ from the network's."""
        weight, bias = self._weights.get(name, (None, None))
        ours = [] if weight is None else [weight.detach(), *([] if bias is None else [bias.detach()])]
        if len(given) == len(ours) - 1 and not ours[-1].any():  # the exporter drops a bias of zeros
            ours.pop()
        same = 0 < len(ours) == len(given)
        for mine, theirs in zip(ours, given, strict=False):
            same &= theirs is not None and theirs.shape == mine.shape and np.allclose(theirs, mine, 1e-4, 1e-5)
        if not same:
            raise ModelError(f"the exported heads have a convolution {name!r} that is not the network's")

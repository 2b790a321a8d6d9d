"""The MobileNets' layers: TensorFlow's padding, and an activation that keeps nothing twice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssd_edge.models.layers import ReLU6, SameConv2d, conv_bn

AROUND_THE_EDGES = [-7.0, -1e-30, -0.0, 0.0, 1e-30, 3.0, 5.9999995, 6.0, 6.0000005, 9.0, float("inf"), -float("inf")]


def gradient(activation: nn.Module, of: Tensor) -> tuple[Tensor, Tensor]:
    leaf = of.clone().requires_grad_()
    result = activation(leaf * 1)  # a leaf cannot be changed in place
    (result * torch.arange(1.0, 1 + of.numel())).sum().backward()
    assert leaf.grad is not None
    return result.detach(), leaf.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_relu6_and_its_gradient_are_pytorchs_to_the_last_bit(dtype):
    x = torch.cat([torch.tensor(AROUND_THE_EDGES), torch.randn(1000, generator=torch.manual_seed(0)) * 5]).to(dtype)
    for ours, theirs in zip(gradient(ReLU6(), x), gradient(nn.ReLU6(), x), strict=True):
        assert torch.equal(ours, theirs)
    assert gradient(ReLU6(), torch.zeros(0))[1].shape == (0,)


def test_relu6_passes_on_what_is_not_a_number():
    result, back = gradient(ReLU6(), torch.tensor([float("nan"), 1.0]))
    assert result[0].isnan()
    assert back.tolist() == gradient(nn.ReLU6(), torch.tensor([float("nan"), 1.0]))[1].tolist()


def test_relu6_leaves_its_input_as_it_was_outside_training():
    x = torch.tensor([-1.0, 7.0])
    for activation in (ReLU6().eval(), ReLU6()):  # a frozen part's input needs no gradient in training either
        assert activation(x).tolist() == [0.0, 6.0]
        assert x.tolist() == [-1.0, 7.0]


def kept_for_the_gradient(layers: nn.Module, x: Tensor) -> int:
    """Count the feature maps, other than the input, that autograd holds after a step forward."""
    held: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.dim() == 4 and tensor.shape[0] == len(x) and tensor.data_ptr() != x.data_ptr():
            held[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layers(x).sum()
    return len(held)


def test_a_layer_keeps_two_feature_maps_for_the_gradient():
    """The convolution's result, for BatchNorm's gradient; the activation's, for its own and the next convolution's."""
    x = torch.randn(2, 3, 8, 8)
    follows = nn.Conv2d(4, 4, 1)
    assert kept_for_the_gradient(nn.Sequential(conv_bn(3, 4), follows), x) == 2
    assert kept_for_the_gradient(nn.Sequential(conv_bn(3, 4, activation=nn.ReLU6), follows), x) == 3  # PyTorch's own


@settings(deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.sampled_from([1, 2, 3, 5]),
    stride=st.integers(1, 3),
)
def test_same_padding_is_that_of_tensorflow(height, width, kernel, stride):
    """TensorFlow documents: as many outputs as ⌈size / stride⌉; of an odd number, one more zero below and right."""
    generator = torch.manual_seed(height * 1000 + width * 100 + kernel * 10 + stride)
    layer = SameConv2d(2, 3, kernel, stride, bias=False).double()
    x = torch.randn(1, 2, height, width, generator=generator, dtype=torch.float64)
    rows, columns = -(-height // stride), -(-width // stride)
    below = max(0, (rows - 1) * stride + kernel - height)
    right = max(0, (columns - 1) * stride + kernel - width)
    framed = torch.zeros(1, 2, height + below, width + right, dtype=torch.float64)
    framed[:, :, below // 2 : below // 2 + height, right // 2 : right // 2 + width] = x
    found = layer(x)
    assert found.shape == (1, 3, rows, columns)
    for i in range(rows):
        for j in range(columns):
            window = framed[0, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            torch.testing.assert_close(found[0, :, i, j], (layer.weight * window).sum(dim=(1, 2, 3)))

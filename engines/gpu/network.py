"""What ``engine.py`` asks of a library that runs a network on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ssd_edge.decode import for_reader
from ssd_edge.engines.kernels.launch import Buffer, Launch, decode_launches, heads_buffers, result_buffers
from ssd_edge.spec import ModelSpec


class DeviceContext(Protocol):
    """One execution of a network at a time, on addresses that stay the same."""

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Set the device addresses of the network's tensors, by name; there may be further names."""

    def enqueue(self, stream: int) -> None:
        """Start on a stream, given by its handle; after the first time, also while a graph is captured.

        Raises:
            BackendError: the library failed; while a graph is captured, that may be for this reason alone.
        """

    def close(self) -> None:
        """Release it. Nothing may be under way."""


class DeviceNetwork(Protocol):
    """A network whose inputs and outputs are on the device."""

    spec: ModelSpec
    precision: str
    bound: Mapping[str, Buffer]
    """Its tensors: ``image``, and either ``loc`` and ``logits`` or the results of decode. See ``launch.py``."""

    def context(self) -> DeviceContext:
        """A further execution, independent of the others."""

    def close(self) -> None:
        """Release the network and its contexts."""


def carrying_decode(spec: ModelSpec, half: bool) -> Mapping[str, Buffer]:
    """The tensors of a network that carries its decode: ``image``, FP16 or FP32, and the results for one image."""
    return {"image": heads_buffers(spec, 1, half)["image"], **result_buffers(spec, 1)}


def gives_heads(network: DeviceNetwork) -> bool:
    """Whether loc and logits come out of it."""
    return {"loc", "logits"} <= network.bound.keys()


def decode_after(network: DeviceNetwork, min_score: float = 0.0) -> tuple[Launch, ...]:
    """What makes results of what the network leaves: all of decode after heads, nothing where it carries that.

    Args:
        network: of the device.
        min_score: of the results that are read, see ``Heads.detector``.
    """
    if not gives_heads(network):
        return ()
    return decode_launches(for_reader(network.spec, min_score), 1, is_half(network.bound["loc"]))


def is_half(buffer: Buffer) -> bool:
    """Whether it holds FP16, else FP32."""
    return buffer.dtype == np.float16

"""The interface of a network on the GPU, which ``engine.py`` uses and each NVIDIA library implements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ssd_edge.decode import for_reader
from ssd_edge.engines.kernels.launch import Buffer, Launch, decode_launches, heads_buffers
from ssd_edge.engines.plugins.decode_graph import result_tensors
from ssd_edge.spec import ModelSpec


class DeviceContext(Protocol):
    """An execution of a network, for one run at a time, on fixed addresses."""

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Set the device addresses of the network's tensors, by name; other names are ignored.

        The images of a batch follow each other without a gap, and so do an output's values of each image.
        """

    def enqueue(self, stream: int) -> None:
        """Start a run on a stream, given by its handle; from the second run on, also while a graph is captured.

        Raises:
            BackendError: the library failed; during a capture, possibly only because of the capture.
        """

    def why_no_graph(self, stream: int) -> str | None:
        """Explain why a run on this stream cannot be captured into a CUDA graph; None if it may be tried."""

    def close(self) -> None:
        """Release the execution. No run may be under way."""


class DeviceNetwork(Protocol):
    """A network whose inputs and outputs are on the device."""

    spec: ModelSpec
    precision: str
    bound: Mapping[str, Buffer]
    """Its tensors for one image: ``image``, and either ``loc`` and ``logits`` or the results of decode. See
    ``launch.py``."""
    max_batch: int
    """Most images of one run."""
    memory: int
    """Bytes of device memory that ``context`` asks for; 0 if each execution brings its own."""

    def context(self, batch: int = 1, memory: int = 0) -> DeviceContext:
        """Make another execution, independent of the others.

        Args:
            batch: number of images of each of its runs, 1 … ``max_batch``.
            memory: address of device memory to work in, of ``memory`` bytes; executions that never run at the same
                time may share it.
        """

    def close(self) -> None:
        """Release the network and its executions."""


def carrying_decode(spec: ModelSpec, half: bool, batch: int = 1) -> Mapping[str, Buffer]:
    """List the tensors of a network that carries its decode: ``image`` (FP16 or FP32), then the results."""
    return {"image": heads_buffers(spec, batch, half)["image"], **result_tensors(spec, batch)}


def of_batch(bound: Mapping[str, Buffer], batch: int) -> Mapping[str, Buffer]:
    """Describe a network's tensors for several images, given those for one."""
    return {name: Buffer((batch, *buffer.shape[1:]), buffer.dtype) for name, buffer in bound.items()}


def gives_heads(network: DeviceNetwork) -> bool:
    """Whether the network's outputs are loc and logits."""
    return {"loc", "logits"} <= network.bound.keys()


def decode_after(network: DeviceNetwork, batch: int, min_score: float = 0.0) -> tuple[Launch, ...]:
    """List the launches that turn the network's outputs into results: all of decode, or none if the plan carries it.

    Args:
        network: the network.
        batch: number of images.
        min_score: least score that the caller reads, see ``Heads.detector``.
    """
    if not gives_heads(network):
        return ()
    return decode_launches(for_reader(network.spec, min_score), batch, is_half(network.bound["loc"]))


def is_half(buffer: Buffer) -> bool:
    """Whether a buffer holds FP16; otherwise it holds FP32."""
    return buffer.dtype == np.float16

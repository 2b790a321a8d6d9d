"""What an engine's slots share, and launches prepared once: of preprocess for each layout, of decode for each slot."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.driver import Argument, Prepared
from ssd_edge.engines.cuda.memory import DeviceBuffer
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.cuda.resource import Resource
from ssd_edge.engines.cuda.stream import Stream
from ssd_edge.engines.gpu.frames import FramePool, Held
from ssd_edge.engines.gpu.network import DeviceNetwork, decode_after, is_half
from ssd_edge.engines.kernels.launch import Launch, preprocess_launch, preprocess_taps, words
from ssd_edge.pixels import Layout

_KEPT = 4
"""Layouts whose launches stay prepared, or as many as a batch may have."""


@dataclass(frozen=True)
class Pipeline:
    """Resources that all slots of an engine share.

    Attributes:
        device: the GPU.
        module: the kernels.
        network: the network; each slot gets its own execution of it.
        defaults: address of the default boxes; 0 if no launch reads them.
        frames: memory for frames.
        min_score: least score that the caller reads, see ``Heads.detector``.
    """

    device: Device
    module: Module
    network: DeviceNetwork
    defaults: int
    frames: FramePool
    min_score: float = 0.0

    def launches(self, batch: int) -> tuple[Launch, ...]:
        """List the launches that turn the network's outputs into results for so many images."""
        return decode_after(self.network, batch, self.min_score)


def prepared(pipeline: Pipeline, launch: Launch, addresses: Mapping[str, int]) -> Prepared:
    """Prepare a launch on buffers, given by their addresses."""
    arguments: list[Argument] = [
        np.uint64(addresses[value]) if isinstance(value, str) else np.int32(value) for value in launch.arguments
    ]
    function = pipeline.module.function(launch.kernel)
    return pipeline.device.driver.prepare(function, launch.grid, launch.block, arguments)


class _OfLayout(Resource):
    """Preprocess of frames of one layout: its launch, and the tables that it reads."""

    def __init__(self, pipeline: Pipeline, layout: Layout) -> None:
        spec = pipeline.network.spec
        launch = preprocess_launch(spec, layout, is_half(pipeline.network.bound["image"]))
        self.frame, self.image = launch.arguments.index("frame"), launch.arguments.index("image")
        self.taps = preprocess_taps(spec, layout.size)
        self.is_uploaded = False
        with ExitStack() as stack:
            self.buffer = stack.enter_context(pipeline.device.buffer(self.taps.nbytes))
            self.launch = prepared(pipeline, launch, {"frame": 0, "taps": self.buffer.address, "image": 0})
            super().__init__(stack.pop_all().close)


class Preprocess(Resource):
    """A slot's preprocess, prepared for the layouts that its frames had last.

    Args:
        pipeline: the slot's.
        image: address of the network's input, with room for the largest batch.
    """

    def __init__(self, pipeline: Pipeline, image: int) -> None:
        self._pipeline, self._image = pipeline, image
        self._image_bytes = pipeline.network.bound["image"].nbytes
        self._layouts: dict[Layout, _OfLayout] = {}
        self._frame: DeviceBuffer | None = None
        super().__init__(self._release)

    def prepared(self, held: Held) -> _OfLayout:
        """Look up or prepare the launch for a frame's layout, and room for its copy.

        The slot must have no work under way: prepare all frames of a batch, then start them.
        """
        if held.data is not None:
            self._make_room(words(held.data.size))
        found = self._layouts.get(held.layout)
        if found is None:
            while len(self._layouts) >= max(_KEPT, self._pipeline.network.max_batch):
                self._layouts.pop(next(iter(self._layouts))).close()
            found = self._layouts[held.layout] = _OfLayout(self._pipeline, held.layout)
        elif found is not next(reversed(self._layouts.values())):
            # The last one now, since the first is the next to go; most frames have the layout of the one before.
            self._layouts[held.layout] = self._layouts.pop(held.layout)
        return found

    def start(self, layout: _OfLayout, held: Held, place: int, stream: Stream) -> None:
        """Start preprocess of a prepared frame, with the copies that it needs.

        Args:
            layout: from ``prepared``.
            held: the frame.
            place: its place in the batch, from 0.
            stream: the slot's.
        """
        if not layout.is_uploaded:
            stream.upload(layout.buffer, layout.taps)
            layout.is_uploaded = True
        address = held.address
        if held.data is not None and self._frame is not None:
            stream.upload(self._frame, held.data)  # after the kernel that reads the frame before it
            address = self._frame.address
        layout.launch.set_address(layout.frame, address)
        layout.launch.set_address(layout.image, self._image + place * self._image_bytes)
        layout.launch.launch(stream.handle)

    def _make_room(self, nbytes: int) -> None:
        if self._frame is None or self._frame.nbytes < nbytes:
            frame, self._frame = self._frame, None
            if frame is not None:
                frame.close()
            self._frame = self._pipeline.device.buffer(nbytes)

    def _release(self) -> None:
        with ExitStack() as stack:
            for one in (*self._layouts.values(), *([] if self._frame is None else [self._frame])):
                stack.enter_context(one)

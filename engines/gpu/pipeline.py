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
from ssd_edge.engines.gpu.network import DeviceNetwork, is_half
from ssd_edge.engines.kernels.launch import Launch, preprocess_launch, preprocess_taps, words
from ssd_edge.pixels import Layout

_KEPT = 4
"""Layouts whose launches stay prepared."""


@dataclass(frozen=True)
class Pipeline:
    """Resources that all slots of an engine share.

    Attributes:
        device: the GPU.
        module: the kernels.
        network: the network; each slot gets its own execution of it.
        launches: kernel launches that turn the network's outputs into results.
        defaults: address of the default boxes; 0 if no launch reads them.
        frames: memory for frames.
    """

    device: Device
    module: Module
    network: DeviceNetwork
    launches: tuple[Launch, ...]
    defaults: int
    frames: FramePool


def prepared(pipeline: Pipeline, launch: Launch, addresses: Mapping[str, int]) -> Prepared:
    """Prepare a launch on buffers, given by their addresses."""
    arguments: list[Argument] = [
        np.uint64(addresses[value]) if isinstance(value, str) else np.int32(value) for value in launch.arguments
    ]
    function = pipeline.module.function(launch.kernel)
    return pipeline.device.driver.prepare(function, launch.grid, launch.block, arguments)


class _OfLayout(Resource):
    """Preprocess of frames of one layout: its launch, and the tables that it reads."""

    def __init__(self, pipeline: Pipeline, layout: Layout, image: int) -> None:
        spec = pipeline.network.spec
        launch = preprocess_launch(spec, layout, is_half(pipeline.network.bound["image"]))
        self.frame = launch.arguments.index("frame")
        self.taps = preprocess_taps(spec, layout.size)
        self.is_uploaded = False
        with ExitStack() as stack:
            self.buffer = stack.enter_context(pipeline.device.buffer(self.taps.nbytes))
            self.launch = prepared(pipeline, launch, {"frame": 0, "taps": self.buffer.address, "image": image})
            super().__init__(stack.pop_all().close)


class Preprocess(Resource):
    """A slot's preprocess, prepared for the layouts that its frames had last.

    Args:
        pipeline: the slot's.
        image: address of the network's input.
    """

    def __init__(self, pipeline: Pipeline, image: int) -> None:
        self._pipeline, self._image = pipeline, image
        self._layouts: dict[Layout, _OfLayout] = {}
        self._frame: DeviceBuffer | None = None
        super().__init__(self._release)

    def prepared(self, layout: Layout) -> _OfLayout:
        """Look up or prepare the launch for a layout. The slot must have no work under way."""
        found = self._layouts.get(layout)
        if found is None:
            while len(self._layouts) >= _KEPT:
                self._layouts.pop(next(iter(self._layouts))).close()
            found = self._layouts[layout] = _OfLayout(self._pipeline, layout, self._image)
        return found

    def start(self, layout: _OfLayout, held: Held, stream: Stream) -> None:
        """Start preprocess of a frame, with the copies that it needs."""
        if not layout.is_uploaded:
            stream.upload(layout.buffer, layout.taps)
            layout.is_uploaded = True
        address = held.address
        if held.data is not None:
            buffer = self._copy_of(held.data.size)
            stream.upload(buffer, held.data)
            address = buffer.address
        layout.launch.set_address(layout.frame, address)
        layout.launch.launch(stream.handle)

    def _copy_of(self, nbytes: int) -> DeviceBuffer:
        if self._frame is None or self._frame.nbytes < words(nbytes):
            frame, self._frame = self._frame, None
            if frame is not None:
                frame.close()
            self._frame = self._pipeline.device.buffer(words(nbytes))
        return self._frame

    def _release(self) -> None:
        with ExitStack() as stack:
            for one in (*self._layouts.values(), *([] if self._frame is None else [self._frame])):
                stack.enter_context(one)

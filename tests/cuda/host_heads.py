"""Networks that run on the CPU in the order of a CUDA stream, to test the GPU pipeline on any machine.

The image is downloaded, the CPU works on it in a function that the driver calls (cuLaunchHostFunc), and the outputs are
uploaded; all of it on the stream, and part of a graph if one is captured. So the network's results are the CPU's to the
last bit, and any difference comes from the copies, their order or the kernels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import numpy as np
from cuda.bindings.driver import CUresult

from ssd_edge.boxes import default_boxes
from ssd_edge.detector import Heads
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.driver import refused
from ssd_edge.engines.cuda.memory import PinnedArray
from ssd_edge.engines.gpu.network import carrying_decode, of_batch
from ssd_edge.engines.kernels.launch import Buffer, heads_buffers
from ssd_edge.engines.plugins.decode_graph import node_attributes
from ssd_edge.spec import ModelSpec
from tests.engines.decoded import decoded

_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Image (1, 3, H, W) as it is on the device → the other tensors by name. A batch is run image by image, since a library
may add up in another order for several images."""


class HostNetwork:
    """See ``ssd_edge.engines.gpu.network.DeviceNetwork``.

    Args:
        spec: the model's spec.
        bound: the network's tensors.
        run: computes the network on the CPU.
        device: the device that images come from.
        max_batch: most images of a run.
    """

    precision = "FP32"
    memory = 0

    def __init__(
        self, spec: ModelSpec, bound: Mapping[str, Buffer], run: Run, device: Device, max_batch: int = 1
    ) -> None:
        self.spec, self.bound, self.run, self.device, self.max_batch = spec, bound, run, device, max_batch
        self.contexts: list[HostContext] = []
        self.closed = 0

    def context(self, batch: int = 1, memory: int = 0) -> HostContext:
        assert 1 <= batch <= self.max_batch
        self.contexts.append(HostContext(of_batch(self.bound, batch), self.run, self.device))
        return self.contexts[-1]

    def close(self) -> None:
        self.closed += 1
        with ExitStack() as stack:
            for context in self.contexts:
                stack.callback(context.close)


class HostHeads(HostNetwork):
    """A network that gives the heads of a CPU engine.

    Args:
        heads: the engine.
        device: the device that images come from.
        half: whether image, loc and logits are FP16 on the device.
        max_batch: most images of a run.
    """

    def __init__(self, heads: Heads, device: Device, half: bool = False, max_batch: int = 1) -> None:
        def run(image: np.ndarray) -> Mapping[str, np.ndarray]:
            return heads.submit(image.astype(np.float32))()._asdict()

        super().__init__(heads.spec, heads_buffers(heads.spec, 1, half), run, device, max_batch)
        self.precision = "FP16" if half else "FP32"


class HostDetections(HostNetwork):
    """A network with decode inside: its outputs are the results."""

    def __init__(self, heads: Heads, device: Device, half: bool = False, max_batch: int = 1) -> None:
        spec = heads.spec
        defaults, attributes = default_boxes(spec), node_attributes(spec)

        def run(image: np.ndarray) -> Mapping[str, np.ndarray]:
            return decoded(*heads.submit(image.astype(np.float32))(), defaults, attributes)

        super().__init__(spec, carrying_decode(spec, half), run, device, max_batch)


class HostContext:
    """See ``ssd_edge.engines.gpu.network.DeviceContext``."""

    def __init__(self, bound: Mapping[str, Buffer], run: Run, device: Device) -> None:
        self._run, self._device = run, device
        self._arrays: dict[str, PinnedArray] = {}
        with ExitStack() as stack:
            for name, buffer in bound.items():
                self._arrays[name] = stack.enter_context(device.pinned(buffer.shape, buffer.dtype))
            self._held = stack.pop_all()
        self._function = _HOST_FUNCTION(self._work)  # the driver has its address only
        self.runs = 0

    def bind(self, addresses: Mapping[str, int]) -> None:
        self._addresses = {name: addresses[name] for name in self._arrays}

    def enqueue(self, stream: int) -> None:
        driver = self._device.driver
        driver.download(self._arrays["image"].array, self._addresses["image"], stream)
        # Not through cuda-bindings: it frees its memory for such a call after the first run, and graphs run it again.
        status = ctypes.CDLL("libcuda.so.1").cuLaunchHostFunc(ctypes.c_void_p(stream), self._function, None)
        if status:
            raise refused(CUresult(status).name, "calling the CPU engine")
        for name, pinned in self._arrays.items():
            if name != "image":
                driver.upload(self._addresses[name], pinned.array, stream)

    def why_no_graph(self, stream: int) -> str | None:
        return None

    def _work(self, _: object) -> None:
        self.runs += 1
        for place, image in enumerate(self._arrays["image"].array):
            for name, value in self._run(image[None]).items():
                self._arrays[name].array[place] = value[0]

    def close(self) -> None:
        self._held.close()

"""Heads that run on the CPU, in the order of a CUDA stream: what the GPU pipeline is tested with, on any machine.

The image comes down, the CPU engine works on it in a function that the driver calls (cuLaunchHostFunc), and loc and
logits go up, all of it on the stream, and captured into a graph where one is. So these heads are the CPU engine's to
the last bit, and whatever differs then, the copies, their order or the kernels did.
"""

from __future__ import annotations

import ctypes
from contextlib import ExitStack

import numpy as np
from cuda.bindings.driver import CUresult

from ssd_edge.detector import Heads
from ssd_edge.engines.cuda import Device, PinnedArray, refused
from ssd_edge.engines.plugins.launch import heads_buffers

_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class HostHeads:
    """See ``ssd_edge.engines.gpu.DeviceHeads``.

    Args:
        heads: the CPU engine.
        device: where images come from.
        half: whether image, loc and logits are FP16 on the device.
    """

    def __init__(self, heads: Heads, device: Device, half: bool = False) -> None:
        self.spec, self.precision, self.half = heads.spec, "FP16" if half else "FP32", half
        self.heads, self.device = heads, device
        self.contexts: list[HostContext] = []
        self.closed = 0

    def context(self) -> HostContext:
        self.contexts.append(HostContext(self))
        return self.contexts[-1]

    def close(self) -> None:
        self.closed += 1
        with ExitStack() as stack:
            for context in self.contexts:
                stack.callback(context.close)


class HostContext:
    """See ``ssd_edge.engines.gpu.DeviceContext``."""

    def __init__(self, owner: HostHeads) -> None:
        self._owner = owner
        self._arrays: dict[str, PinnedArray] = {}
        with ExitStack() as stack:
            for name, buffer in heads_buffers(owner.spec, 1, owner.half).items():
                self._arrays[name] = stack.enter_context(owner.device.pinned(buffer.shape, buffer.dtype))
            self._held = stack.pop_all()
        self._function = _HOST_FUNCTION(self._work)  # the driver has its address only
        self.runs = 0

    def bind(self, image: int, loc: int, logits: int) -> None:
        self._addresses = {"image": image, "loc": loc, "logits": logits}

    def enqueue(self, stream: int) -> None:
        driver = self._owner.device.driver
        driver.download(self._arrays["image"].array, self._addresses["image"], stream)
        # Not by cuda-bindings: what it allocates for such a call is freed after the first run, and graphs run it again.
        status = ctypes.CDLL("libcuda.so.1").cuLaunchHostFunc(ctypes.c_void_p(stream), self._function, None)
        if status:
            raise refused(CUresult(status).name, "calling the CPU engine")
        for name in ("loc", "logits"):
            driver.upload(self._addresses[name], self._arrays[name].array, stream)

    def _work(self, _: object) -> None:
        self.runs += 1
        image = self._arrays["image"].array.astype(np.float32)
        for name, value in self._owner.heads.submit(image)()._asdict().items():
            self._arrays[name].array[:] = value

    def close(self) -> None:
        self._held.close()

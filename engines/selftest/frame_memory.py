"""Selftest section: measure which memory for frames is faster here, copied to the GPU or read by it in place."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np

from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.gpu.frames import FramePool
from ssd_edge.engines.gpu.pipeline import Pipeline, Preprocess
from ssd_edge.engines.kernels.launch import heads_buffers
from ssd_edge.engines.selftest.kernels import load_kernels, open_device
from ssd_edge.engines.selftest.sections import Setting
from ssd_edge.pixels import Layout, RawFrame, packed
from ssd_edge.spec import ModelSpec

SIZE = (1080, 1920)
FORMATS = ("BGR", "NV12")
KINDS = {"copied": False, "mapped": True}


def frame_memory(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Measure preprocess of large frames from both kinds of memory; see ``sections.Work``."""
    spec, rounds = setting.model()[1], 10 if setting.quick else 200
    with ExitStack() as stack:
        device = open_device(stack)
        module = load_kernels(stack, device)
        took = {
            pixel_format: {
                kind: _milliseconds(device, module, spec, packed(pixel_format, SIZE), mapped, rounds)
                for kind, mapped in KINDS.items()
            }
            for pixel_format in FORMATS
        }
        used = "mapped" if device.integrated else "copied"
    parts = []
    for pixel_format, each in took.items():
        times = ", ".join(f"{kind} {milliseconds:.2f} ms" for kind, milliseconds in each.items())
        parts.append(f"{pixel_format} {min(each, key=each.__getitem__)} ({times})")
    size = f"{SIZE[1]}×{SIZE[0]}"
    return f"memory for frames of {size} that is faster here: {'; '.join(parts)}; used: {used}", {
        "milliseconds": took,
        "used": used,
    }


def _milliseconds(device: Device, module: Module, spec: ModelSpec, layout: Layout, mapped: bool, rounds: int) -> float:
    """Median of a frame's way from the host's memory to the network's input."""
    pool = FramePool(device, mapped)
    with ExitStack() as stack:
        stack.callback(pool.close)
        bound = heads_buffers(spec, 1, half=False)
        network: Any = SimpleNamespace(spec=spec, bound=bound, max_batch=1)
        image = stack.enter_context(device.buffer(bound["image"].nbytes))
        pipeline = Pipeline(device, module, network, 0, pool)
        preprocess = stack.enter_context(Preprocess(pipeline, image.address))
        stream = stack.enter_context(device.stream())
        began, ended = (stack.enter_context(device.event()) for _ in range(2))
        took = []
        for number in range(rounds + 1):
            memory = pool.take(layout.nbytes)
            memory[:] = np.uint8(number & 255)  # as a source does, so that nothing is in a cache that a frame is not
            held = pool.hold(RawFrame(memory, layout))
            stream.record(began)
            preprocess.start(preprocess.prepared(held), held, 0, stream)
            stream.record(ended)
            ended.synchronize()
            took.append(ended.milliseconds_since(began))
    return median(took[1:])

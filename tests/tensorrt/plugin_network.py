"""Build and run a network whose decode nodes are TensorRT plugins, on the emulated GPU.

TensorRT itself is imitated: builder and runtime by the fake ones, and its registry, its parser, which makes plugins
from the graph's nodes, and a context that runs them. All else is real: the bindings' classes, the project's plugins,
the code that builds and runs plans, the kernels. The heads run on the CPU. There is one form of decode per process, as
in TensorRT.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import numpy_helper

from ssd_edge.detections import Detections
from ssd_edge.detector import Heads
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.kernels.launch import Buffer, heads_buffers
from ssd_edge.engines.plugins import forms
from ssd_edge.engines.tensorrt.compile import compile_plan
from ssd_edge.engines.tensorrt.request import Request
from ssd_edge.engines.tensorrt.runtime import open_engine
from tests.cuda.emulated import use_emulated_driver
from tests.cuda.host_heads import HostContext
from tests.engines.fake_tensorrt import FakeTensorRt
from tests.helpers import plan_entry
from tests.tensorrt.plugin_forms import FORMS, Form, Node, Registry, parsed


class BothTensorRts(FakeTensorRt):
    """The fake builder and runtime, whose networks call plugins, combined with the bindings' own plugin classes.

    Args:
        trt: the bindings.
        heads: engine that runs in place of the plan's heads.
    """

    def __init__(self, trt: Any, heads: Heads) -> None:
        super().__init__(self._execute, self._release, trt.__version__)
        self._trt, self._heads = trt, heads
        self.form: Form
        self.registry = Registry()
        self._nodes: dict[int, list[Node]] = {}  # by number of images
        self._working: dict[int, tuple[Device, PluginContext]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trt, name)

    def get_plugin_registry(self) -> Registry:
        return self.registry

    DimsExprs = list  # the native ones: see Number

    def _execute(self, context: Any, stream: int) -> None:
        spec, model = self._heads.spec, context.engine.model
        batch = context.buffers()["image"].shape[0]
        before = heads_buffers(spec, batch, False)
        if batch not in self._nodes:
            self._nodes[batch] = parsed(self, self.form, model, before)
        if id(context) not in self._working:
            device = Device()
            host = HostContext(before, lambda image: self._heads.submit(image)()._asdict(), device)
            made = PluginContext(self.form, self._nodes[batch], context.buffers(), host, device)
            made.fill({one.name: numpy_helper.to_array(one) for one in model.graph.initializer})
            self._working[id(context)] = device, made
        _, made = self._working[id(context)]
        made.bind(context.addresses)
        made.enqueue(stream)

    def _release(self, context: Any) -> None:
        if id(context) in self._working:
            device, made = self._working.pop(id(context))
            made.close()
            device.close()


class PluginContext:
    """See ``ssd_edge.engines.gpu.network.DeviceContext``."""

    def __init__(
        self, form: Form, nodes: list[Node], bound: Mapping[str, Buffer], heads: HostContext, device: Device
    ) -> None:
        self._heads, self._device, self._nodes, self._bound = heads, device, nodes, bound
        self._resources = ExitStack()
        self._resources.callback(heads.close)
        tensors = {t.name: t.buffer for node in nodes for t in (*node.inputs, *node.outputs)}
        self._own = {
            name: self._resources.enter_context(device.buffer(buffer.nbytes)) for name, buffer in tensors.items()
        }
        self._runs = [form.attached(node, device, self._resources) for node in nodes]

    def fill(self, constants: Mapping[str, np.ndarray]) -> None:
        with self._device.stream() as stream:
            for name, array in constants.items():
                if name in self._own:
                    stream.upload(self._own[name], array)
            stream.synchronize()

    def bind(self, addresses: Mapping[str, int]) -> None:
        given = {name: addresses[name] for name in self._bound}  # of further names, some are this network's own
        self._addresses = {**{name: buffer.address for name, buffer in self._own.items()}, **given}

    def enqueue(self, stream: int) -> None:
        self._heads.bind(self._addresses)
        self._heads.enqueue(stream)
        for run, node in zip(self._runs, self._nodes, strict=True):
            sides = ([self._addresses[tensor.name] for tensor in side] for side in (node.inputs, node.outputs))
            run(*sides, stream)

    def close(self) -> None:
        self._resources.close()


class Compared(NamedTuple):
    """Result of ``compare``."""

    frames: int
    equal: int
    boxes: int
    leaks: dict[str, int]


def compare(
    trt: Any, form: str, heads: Heads, source: Path, frames: Sequence[np.ndarray], folder: Path, batch: int = 1
) -> Compared:
    """Compare the detections of a CPU engine with those of its heads and plugins for decode, frame by frame.

    Args:
        trt: the bindings.
        form: form of decode, one of ``FORMS``.
        heads: the CPU engine.
        source: the heads as an ONNX file.
        frames: frames, BGR.
        folder: folder in which the plan is built.
        batch: largest batch of the plan, and frames that it gets at once.
    """
    library = BothTensorRts(trt, heads)
    sys.modules["tensorrt"] = trt
    trt.get_plugin_registry = library.get_plugin_registry
    library.form = FORMS[form](library)
    emulated = use_emulated_driver()
    files = {image.file_name: content for image, content in compile_kernels("sm_86").images.items()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    kernels = str(next(folder.glob("*.ptx")))
    request = Request(
        source=str(source),
        plan=str(folder / "model.plan"),
        timing=str(folder / "timing.cache"),
        layers=str(folder / "layers.json"),
        kernels=kernels,
        precision="FP32",
        form=form,
        max_batch=batch,
    )
    facts = compile_plan(request, lambda done, total: None, library)
    if form in forms.NEEDED_AT_RUN_TIME:  # what runs a plan is another process
        forms._known.clear()
        library.registry.creators.clear()
    entry = plan_entry(
        backend="tensorrt", files=("model.plan", *files), facts={**facts, "decode": form, "max_batch": str(batch)}
    )
    gpu = open_engine(folder, entry, heads.spec, library)
    on_cpu, on_gpu = heads.detector(), gpu.detector()
    count = equal = boxes = 0
    for first in range(0, len(frames), batch):
        together = list(frames[first : first + batch])
        for frame, result in zip(together, on_gpu.submit_batch(together)(), strict=True):
            wanted, got = on_cpu(frame), result.detections
            count, boxes, equal = count + 1, boxes + len(wanted), equal + _equal(got, wanted)
    gpu.close()
    gc.collect()  # contexts of the fake end with their last reference
    return Compared(count, equal, boxes, emulated.leaks())


def _equal(got: Detections, wanted: Detections) -> bool:
    pairs = ((got.boxes, wanted.boxes), (got.scores, wanted.scores), (got.labels, wanted.labels))
    return got.num_cut == wanted.num_cut and all(np.array_equal(first, second) for first, second in pairs)

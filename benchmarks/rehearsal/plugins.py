"""JetPack's TensorRT, imitated: plans are ONNX files, with the project's plugins as decode nodes on an emulated GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.kernels.launch import Buffer
from ssd_edge.engines.plugins import ahead_of_time, forms
from tests.cuda.host_heads import HostContext
from tests.engines.fake_tensorrt import FakeTensorRt, OnnxParser
from tests.tensorrt.plugin_forms import FORMS, Form, Node, Registry, parsed
from tests.tensorrt.plugin_network import PluginContext

if TYPE_CHECKING:
    from rehearsal.machines import Machine
    from rehearsal.setting import Fault

FORM = "rehearsal.form"
"""Key, in a plan's metadata, of the form of decode that it was built with."""


class JetPack(FakeTensorRt):
    """What ``import tensorrt`` gives on a recorded Jetson.

    Args:
        bindings: the real bindings, whose plugin classes are used.
        machine: the machine.
        fault: what is planted.
    """

    DimsExprs = list  # the native ones have no constructor

    def __init__(self, bindings: Any, machine: Machine, fault: Fault) -> None:
        super().__init__(self._execute, self._release, fault.tensorrt or machine.tensorrt)
        onnxruntime.set_default_logger_severity(3)  # it is not to be seen in the program's output
        self._bindings, self._machine = bindings, machine
        self.fails, self._changes = dict(fault.fails), fault.changed
        self.registry, self._in_plans = Registry(), Registry()
        self._working: dict[int, tuple[Device, Any]] = {}
        self._forms: dict[str, Form] = {"python": FORMS["python"](self)}
        bindings.get_plugin_registry = self.get_plugin_registry
        if hasattr(bindings, "QuickPluginCreationRequest"):
            self._forms["ahead-of-time"] = FORMS["ahead-of-time"](bindings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bindings, name)

    def get_plugin_registry(self) -> Registry:
        """Return the registry, one for the process as TensorRT's."""
        return self.registry

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802 - its name
        """See ``FakeTensorRt``; the plan says which form of decode it holds."""
        return Parser(network, self, logger)

    def Builder(self, logger: Any) -> Any:  # noqa: N802 - its name
        """See ``FakeTensorRt``; without memory, the bindings raise MemoryError."""
        if "memory" in self.fails:
            raise MemoryError
        return super().Builder(logger)

    def change(self, model: onnx.ModelProto) -> None:
        """Build the first convolution in FP16, if that is planted."""
        if self._changes:
            self.changed = {next(node.name for node in model.graph.node if node.op_type == "Conv"): "Half"}

    def _execute(self, context: Any, stream: int) -> None:
        if id(context) not in self._working:
            device = Device()
            self._working[id(context)] = device, self._started(context, device)
        _, work = self._working[id(context)]
        work.bind(context.addresses)
        work.enqueue(stream)

    def _started(self, context: Any, device: Device) -> Any:
        engine, buffers = context.engine, context.buffers()
        if not engine.attributes:  # decode is launched after the heads
            return HostContext(buffers, engine.outputs, device)
        before = {"image": buffers["image"], **_heads(engine)}
        host = HostContext(before, lambda image: dict(zip(("loc", "logits"), _run(engine, image), strict=True)), device)
        if not hasattr(engine, "nodes"):
            engine.nodes = self._parsed(engine.model, before)
        nodes: list[Node] = engine.nodes
        made = PluginContext(self._forms[_form(engine.model)], nodes, buffers, host, device)
        made.fill({one.name: numpy_helper.to_array(one) for one in engine.model.graph.initializer})
        return made

    def _parsed(self, model: onnx.ModelProto, heads: dict[str, Buffer]) -> list[Node]:
        """Make the plugins of a plan: those of ahead-of-time are inside it, the others are the process's."""
        form = _form(model)
        if form != "ahead-of-time":
            return parsed(self, self._forms[form], model, heads)
        self.registry, of_process = self._in_plans, self.registry
        try:
            if not self.registry.creators:
                images = compile_kernels(self._machine.architecture).images
                ahead_of_time.register(next(content for image, content in images.items() if image.kind == "ptx"))
            return parsed(self, self._forms[form], model, heads)
        finally:
            self.registry = of_process

    def _release(self, context: Any) -> None:
        if id(context) in self._working:
            device, work = self._working.pop(id(context))
            work.close()
            device.close()


class Parser(OnnxParser):
    """See ``JetPack.OnnxParser``."""

    def parse(self, model: bytes) -> bool:
        """See the parser of the fake."""
        content = onnx.load_from_string(model)
        content.metadata_props.add(key=FORM, value=next(iter(forms._known), ""))
        self.library.change(content)
        return bool(super().parse(content.SerializeToString()))


def _form(model: onnx.ModelProto) -> str:
    return next(one.value for one in model.metadata_props if one.key == FORM)


def _heads(engine: Any) -> dict[str, Buffer]:
    kinds = {"tensor(float)": np.dtype(np.float32), "tensor(float16)": np.dtype(np.float16)}
    return {one.name: Buffer(tuple(one.shape), kinds[one.type]) for one in engine.session.get_outputs()}


def _run(engine: Any, image: Any) -> Any:
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    (taken,) = engine.session.get_inputs()
    with np.errstate(all="ignore"):  # a network warms up on whatever memory holds
        return engine.session.run(["loc", "logits"], {"image": image.astype(kinds[taken.type])})

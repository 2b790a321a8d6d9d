"""TensorRT and TensorRT-RTX of a recorded machine, which need a GPU's driver: networks run on the emulated GPU.

Heads run by ONNX Runtime in the order of the stream. TensorRT's decode is the project's plugins, called through the
bindings' own classes; TensorRT-RTX's compiler is the real one.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rehearsal.machines import MACHINES
from rehearsal.process import emulated_driver, see_the_tests

if TYPE_CHECKING:
    from rehearsal.setting import Setting


def tensorrt() -> Any:
    """Return what ``import tensorrt`` gives; the real bindings lie in ``Setting.beside``."""
    setting = see_the_tests()
    emulated_driver()
    real = importlib.import_module("tensorrt_bindings")
    sys.modules["tensorrt"] = real  # its own modules import it by this name
    from rehearsal.plugins import JetPack

    return JetPack(real, MACHINES[setting.machine], setting.fault)


def tensorrt_rtx(here: Path) -> Any:
    """Return what ``import tensorrt_rtx`` gives: the real one where it compiles, else a runtime that is imitated.

    Args:
        here: folder of the module that is imported in its place.
    """
    setting = see_the_tests()
    if any(word.endswith("tensorrt_rtx.compile") for word in sys.orig_argv):
        if setting.fault.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        return _recording(_real_rtx(here), setting)
    emulated_driver()
    from tests.cuda.on_the_stream import OnTheStream

    return OnTheStream(lambda run, released: _runtime(run, released, setting)).library


def _real_rtx(here: Path) -> Any:
    del sys.modules["tensorrt_rtx"]
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    return importlib.import_module("tensorrt_rtx")


def _recording(trt: Any, setting: Setting) -> Any:
    """Make the real compiler keep the network of each plan, which the imitated runtime runs."""
    networks: list[bytes] = []

    class OnnxParser(trt.OnnxParser):  # type: ignore[misc,name-defined]
        def parse(self, model: bytes, *rest: Any) -> Any:
            networks.append(bytes(model))
            return super().parse(model, *rest)

    class Builder(trt.Builder):  # type: ignore[misc,name-defined]
        def build_serialized_network(self, *arguments: Any) -> Any:
            built = super().build_serialized_network(*arguments)
            if built is not None:
                setting.compiled.mkdir(parents=True, exist_ok=True)
                (setting.compiled / hashlib.sha256(bytes(built)).hexdigest()).write_bytes(networks[-1])
            return built

    trt.OnnxParser, trt.Builder = OnnxParser, Builder
    return trt


def _runtime(run: Any, released: Any, setting: Setting) -> Any:
    from tests.engines.fake_tensorrt_rtx import FakeTensorRtRtx, Runtime

    class OfPlans(Runtime):
        def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
            plan = hashlib.sha256(bytes(serialized_engine)).hexdigest()
            return super().deserialize_cuda_engine((setting.compiled / plan).read_bytes())

    class TensorRtRtx(FakeTensorRtRtx):
        def Runtime(self, logger: Any) -> Any:  # noqa: N802 - its name
            return OfPlans(self, logger)

    return TensorRtRtx(run, released)

"""Sessions of ONNX Runtime: the one place where they are opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ssd_edge.errors import ModelError
from ssd_edge.files import is_utf8

T = TypeVar("T")

EXACT: Mapping[str, str] = {"session.disable_quant_qdq": "1"}
"""Settings that keep Q/DQ pairs apart, so that each is computed as it stands, in float.

Fused into integer kernels, they would give another sum on a processor without VNNI than on one with."""

BASIC, NONE = "ORT_ENABLE_BASIC", "ORT_DISABLE_ALL"
"""Levels of graph optimisation below the default: operators of ONNX alone, and none at all."""

_QUIET = 4  # what matters is raised


def open_session(
    model: Path | bytes,
    *,
    settings: Mapping[str, str] | None = None,
    level: str = "",
    threads: int = 0,
    optimised: Path | None = None,
    left_out: Sequence[str] = (),
) -> Session:
    """Open a model on the CPU.

    Args:
        model: an ONNX file, or a serialised model.
        settings: entries of the session's configuration, by ONNX Runtime's names, such as ``EXACT``.
        level: a name of ``GraphOptimizationLevel``; all optimisations where empty.
        threads: how many threads compute a node; ONNX Runtime's own choice where 0.
        optimised: the file to write the optimised model to.
        left_out: names of optimisers to leave out.

    Raises:
        ModelError: ONNX Runtime refuses the model; the text is its reason alone.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    for key, value in (settings or {}).items():
        options.add_session_config_entry(key, value)
    if level:
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    source = (str(model) if is_utf8(model) else model.read_bytes()) if isinstance(model, Path) else model
    return Session(
        lambda: onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(left_out)
        )
    )


class Session:
    """A session of ONNX Runtime whose every error is a ModelError; its methods are those of ``InferenceSession``.

    Args:
        opened: opens the session.

    Raises:
        ModelError: ONNX Runtime refuses the model, or fails; the text is its reason alone.
    """

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._session = _guarded(opened)

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[Any]:
        """Compute outputs by name, all where None."""
        try:
            return list(_guarded(lambda: self._session.run(outputs, inputs)))
        except ModelError as error:
            raise ModelError(f"ONNX Runtime failed: {error}") from None

    def get_inputs(self) -> list[Any]:
        """List the inputs: each has ``name``, ``shape`` and ``type``."""
        return _guarded(lambda: [node for node in self._session.get_inputs() if (node.name, node.shape)])

    def get_outputs(self) -> list[Any]:
        """List the outputs: each has ``name``, ``shape`` and ``type``."""
        return _guarded(lambda: [node for node in self._session.get_outputs() if (node.name, node.shape)])

    def metadata(self) -> dict[str, str]:
        """Return the model's own texts by key."""
        return _guarded(lambda: dict(self._session.get_modelmeta().custom_metadata_map))


def _guarded(call: Callable[[], T]) -> T:
    try:
        return call()
    except UnicodeDecodeError:  # in a name, or in the metadata
        raise ModelError("it holds text that is not UTF-8") from None
    except Exception as error:  # its exception classes have no common base
        raise ModelError(reason(error)) from None


def reason(error: Exception) -> str:
    """The first line of an ONNX Runtime error, without "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : "."""
    lines = str(error).splitlines() or [type(error).__name__]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])

"""Sessions of ONNX Runtime: the one place where they are opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssd_edge.errors import ModelError

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
) -> Any:
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
    source = str(model) if isinstance(model, Path) else model
    try:
        return onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(left_out)
        )
    except Exception as error:  # its exception classes have no common base
        raise ModelError(reason(error)) from None


def reason(error: Exception) -> str:
    """The first line of an ONNX Runtime error, without "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : "."""
    lines = str(error).splitlines() or [type(error).__name__]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])

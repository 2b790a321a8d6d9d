"""Heads computed exactly, as ONNX defines them: provisional."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine, precision_of
from ssd_edge.spec import ModelSpec


def open_exact(path: Path, spec: ModelSpec) -> OnnxRuntimeEngine:
    """Heads in float arithmetic."""
    engine = OnnxRuntimeEngine(path, spec, precision_of(path))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    engine._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return engine

"""The decode nodes for ONNX's reference evaluator, so that a graph with them runs wherever ONNX does.

Use as ``ReferenceEvaluator(model, new_ops=OPERATORS)``. It is slow at convolutions: for a whole network, run the heads
in ONNX Runtime and only the decode nodes here.
"""

from __future__ import annotations

from typing import Any

from onnx.reference.op_run import OpRun

from ssd_edge.engines.plugins.decode_graph import DOMAIN
from tests.decode_nodes import in_numpy


class SsdDecode(OpRun):
    """See ``in_numpy.decode``."""

    op_domain = DOMAIN

    def _run(self, *inputs: Any, plugin_namespace: str, plugin_version: str, **attributes: Any) -> Any:
        return in_numpy.decode(*inputs, **attributes)


class SsdSelect(OpRun):
    """See ``in_numpy.select``."""

    op_domain = DOMAIN

    def _run(self, *inputs: Any, plugin_namespace: str, plugin_version: str, **attributes: Any) -> Any:
        return in_numpy.select(*inputs, **attributes)


class SsdMerge(OpRun):
    """See ``in_numpy.merge``."""

    op_domain = DOMAIN

    def _run(self, *inputs: Any, plugin_namespace: str, plugin_version: str, **attributes: Any) -> Any:
        return in_numpy.merge(*inputs, **attributes)


OPERATORS: list[type[OpRun]] = [SsdDecode, SsdSelect, SsdMerge]

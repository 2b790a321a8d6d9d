"""The decode nodes for ONNX's reference evaluator, so that a graph with them runs wherever ONNX does.

``ReferenceEvaluator(model, new_ops=OPERATORS)``. It is slow at convolutions: for a whole network, let ONNX Runtime run
the heads, and this the nodes behind them.
"""

from __future__ import annotations

from typing import Any

from onnx.reference.op_run import OpRun

from ssd_edge.engines.plugins import decode_ops
from ssd_edge.engines.plugins.decode_graph import DOMAIN


class SsdDecode(OpRun):
    """See ``decode_ops.decode``."""

    op_domain = DOMAIN

    def _run(self, *inputs: Any, plugin_namespace: str, plugin_version: str, **attributes: Any) -> Any:
        return decode_ops.decode(*inputs, **attributes)


class SsdSelect(OpRun):
    """See ``decode_ops.select``."""

    op_domain = DOMAIN

    def _run(self, *inputs: Any, plugin_namespace: str, plugin_version: str, **attributes: Any) -> Any:
        return decode_ops.select(*inputs, **attributes)


class SsdMerge(OpRun):
    """See ``decode_ops.merge``."""

    op_domain = DOMAIN

    def _run(self, *inputs: Any, plugin_namespace: str, plugin_version: str, **attributes: Any) -> Any:
        return decode_ops.merge(*inputs, **attributes)


OPERATORS: list[type[OpRun]] = [SsdDecode, SsdSelect, SsdMerge]

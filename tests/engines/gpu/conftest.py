"""A network on the CPU for the tests of GPU engines, and networks with and without decode that run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.graph.heads import read_spec
from tests.cuda.host_heads import HostDetections, HostHeads, HostNetwork


@pytest.fixture
def cpu(heads_onnx: Path) -> Iterator[OnnxRuntimeEngine]:
    engine = OnnxRuntimeEngine(heads_onnx, read_spec(heads_onnx), "FP32")
    yield engine
    engine.close()


@pytest.fixture(params=[HostHeads, HostDetections])
def network(request: pytest.FixtureRequest) -> Callable[..., HostNetwork]:
    made: Callable[..., HostNetwork] = request.param
    return made

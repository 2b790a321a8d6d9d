"""Benchmark of engines that give only detections, measured beside engines that also give heads."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from ssd_edge.cli.benchmark import _table
from ssd_edge.detector import HostDetector
from ssd_edge.errors import BackendError, NoHeadsError
from ssd_edge.loop.benchmark import benchmark
from ssd_edge.stream.sources import open_source
from tests.helpers import small_spec


class Network:
    """Heads without any detection."""

    backend, precision, graph = "tensorrt", "FP16", None

    depth, max_batch = 2, 1

    def __init__(self, error=None):
        self.spec, self.error, self.open = small_spec(), error, 0

    def _heads(self, images):
        shape = (1, self.spec.num_default_boxes)
        heads = np.zeros((*shape, 4), np.float32), np.full((*shape, self.spec.num_classes), -9, np.float32)
        return lambda: heads

    def submit(self, images):
        if self.error:
            raise self.error
        return self._heads(images)

    def detector(self, min_score=0.0):
        self.open += 1
        return Inside(self)


class Inside(HostDetector):
    """Engine that decodes by itself and does not give its heads."""

    def __init__(self, network):
        super().__init__(network)
        self.network = network
        self.heads = type("Heads", (), {"submit": staticmethod(network._heads), "max_batch": 1})

    def close(self):
        self.network.open -= 1


def measured(*networks, warmup=0):
    engines = {f"{place}.engine": network for place, network in enumerate(networks)}
    return benchmark(engines, open_source("synthetic", realtime=False), frames=10, warmup=warmup, rounds=2)


@pytest.mark.slow
@pytest.mark.parametrize("warmup", [0, 2])
def test_an_engine_that_gives_no_heads_is_measured_without(warmup):
    both, inside = measured(Network(), Network(NoHeadsError("it decodes by itself")), warmup=warmup)
    assert both.engine_fps > 0
    assert both.efficiency > 0
    assert (inside.engine_fps, inside.efficiency) == (None, None)
    assert inside.loop_fps > 0
    assert inside.end_to_end.p50 > 0
    assert json.loads(json.dumps(inside.to_json()))["engine_fps"] is None


@pytest.mark.slow
def test_the_table_says_whether_work_is_launched_as_graphs():
    plain, graphed, not_graphed = measured(Network(), Network(), Network())
    assert plain.graph is None
    table = _table([plain, replace(graphed, graph="yes"), replace(not_graphed, graph="no, for 2 of 4: it waits")])
    cells = [list(column.cells) for column in table.columns]
    row = cells[0].index("CUDA graph")
    assert [column[row] for column in cells[1:]] == ["–", "yes", "no"]
    assert "CUDA graph" not in list(_table([plain]).columns[0].cells)


@pytest.mark.slow
def test_the_table_shows_a_dash_without_heads():
    columns = _table(measured(Network(), Network(NoHeadsError("it decodes by itself")))).columns
    rows = dict(zip(columns[0].cells, zip(columns[1].cells, columns[2].cells, strict=True), strict=True))
    for name in ("FPS of the engine alone", "share that the loop keeps"):
        assert re.fullmatch(r"\d+\.\d+", rows[name][0])
        assert rows[name][1] == "–"


def test_another_failure_is_not_hidden():
    with pytest.raises(BackendError, match="the GPU is gone"):
        measured(Network(BackendError("the GPU is gone")))


@pytest.mark.slow
def test_detectors_are_closed():
    """Each round has its own detector, whose GPU memory would otherwise accumulate."""
    network = Network()
    measured(network)
    assert network.open == 0

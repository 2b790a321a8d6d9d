"""docs/architecture.md: its picture is the import contract, its paths exist, and what it says one adds can be added."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from ssd_edge.choices import Choice, help_of
from ssd_edge.engines.backends import BACKENDS
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.loop.run import run_loop
from ssd_edge.outputs.catalogue import SINKS, open_sink
from ssd_edge.stream.buffers import EVERY
from tests.additions import Grey, StillEngine
from tests.helpers import ROOT, small_spec

PAGE = (ROOT / "docs" / "architecture.md").read_text()


def generator() -> dict[str, object]:
    pytest.importorskip("tomllib")  # since Python 3.11
    return runpy.run_path(str(ROOT / "docs" / "generate_layers.py"))


def test_the_picture_is_that_of_the_contract():
    assert generator()["page"](PAGE) == PAGE, "run: make docs"


def test_the_picture_shows_every_layer_once(monkeypatch):
    module = generator()
    drawn = re.findall(r"[a-z]\w*", module["diagram"]())
    assert sorted(drawn) == sorted(re.findall(r"\w+", " ".join(module["layers"]())))
    assert len(drawn) == len(set(drawn))


def test_neighbours_that_may_not_meet_are_drawn_apart():
    row = next(line for line in generator()["diagram"]().splitlines() if "calibration" in line)
    assert re.fullmatch(r"\| calibration +\|   \| engines +\|", row)


def missing(item: str) -> list[str]:
    """The paths that an item of the page names and that are not there; a bare name lies in a folder that it names."""
    names = re.findall(r"`([\w./]+(?:\.py|\.cu|/))`", item)
    folders = {ROOT, *(ROOT / Path(name).parent for name in names), *(ROOT / name for name in names)}
    return [name for name in names if not any((folder / name).exists() for folder in folders)]


def test_every_path_exists():
    items = [item for part in PAGE.split("\n\n") for item in re.split(r"\n(?=\d\. |\| )", part)]
    assert sum(len(re.findall(r"\.py`", item)) for item in items) > 60
    assert [name for item in items for name in missing(item)] == []


def test_a_path_that_does_not_exist_is_seen():
    assert missing("`engines/base.py`, and `bundle/` beside it, and `gone.py`") == ["gone.py"]


def test_a_backend_is_added(heads_onnx, tmp_path, monkeypatch):
    monkeypatch.setitem(BACKENDS, "still", Choice("sees nothing", "tests.additions"))
    assert "still (sees nothing)" in help_of(BACKENDS)
    (plan,) = build_bundle(heads_onnx, tmp_path / "a.engine", "still").plans
    assert (plan.backend, plan.files) == ("still", ("still.onnx",))
    with load_bundle(tmp_path / "a.engine") as engine:
        assert isinstance(engine, StillEngine)
        assert len(engine.detector()(Grey().read().image)) == 0
    assert engine.closed


def test_a_model_is_added(monkeypatch):
    pytest.importorskip("torch")
    from ssd_edge.models.catalogue import MODELS
    from ssd_edge.models.registry import make_network, make_spec

    monkeypatch.setitem(MODELS, "tiny", Choice("for tests", "tests.training.tiny:TINY"))
    assert help_of(MODELS, "tiny").endswith("tiny (for tests; the default)")
    spec = make_spec("tiny", ("bolt", "nut"))
    assert spec.num_default_boxes == small_spec().num_default_boxes
    assert make_network(spec).spec == spec


def test_a_method_is_added(heads_onnx, tmp_path, monkeypatch):
    import numpy as np

    from ssd_edge.calibration.closest import calibrate_closest
    from ssd_edge.calibration.job import Job
    from ssd_edge.calibration.scales.methods import METHODS
    from ssd_edge.graph.heads import read_spec

    monkeypatch.setitem(METHODS, "half", Choice("half of the largest", "tests.additions:half_of_the_largest"))
    images = [np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)]
    job = Job(heads_onnx, lambda: iter(images), read_spec(heads_onnx), equalisation=False, bias_correction=False)
    halves = calibrate_closest(job, tmp_path / "a.onnx", method="half")
    whole = calibrate_closest(job, tmp_path / "b.onnx", method="min-max")
    assert halves.method == "half"
    assert halves.file.scales == {name: pytest.approx(scale / 2) for name, scale in whole.file.scales.items()}


def test_a_sink_and_a_source_are_added(tmp_path, monkeypatch):
    monkeypatch.setitem(SINKS, "count", Choice("Write the number of frames.", "tests.additions:Counter"))
    target = tmp_path / "count.txt"
    with StillEngine(small_spec()) as engine, open_sink("count", str(target), ("bolt", "nut"), None) as sink:
        report = run_loop(engine.detector(), Grey(), [sink], buffer=EVERY)
    assert report.processed == 3
    assert target.read_text() == "3"

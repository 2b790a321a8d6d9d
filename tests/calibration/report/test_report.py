"""The report: a page that loads nothing, and JSON with the same facts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job, OnThisMachine
from ssd_edge.calibration.recipe import Gain, Recipe, Sensitivity
from ssd_edge.calibration.report.charts import MOST_BARS, histogram, sensitivity, shortened
from ssd_edge.calibration.report.facts import (
    HISTOGRAMS,
    THUMBNAILS,
    Activation,
    Report,
    gather,
    pictures,
)
from ssd_edge.calibration.report.files import write_report
from ssd_edge.calibration.report.page import page, verdict
from ssd_edge.calibration.scales.calibrators import relative_error
from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.calibration.search import Search, Trial
from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation import Evaluation, evaluate
from ssd_edge.graph.heads import read_spec

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert('x')</script>&\""


class Page(HTMLParser):
    """Parser that collects text, tags and attributes, and fails if tags are not closed in order."""

    VOID = frozenset({"meta", "img", "br", "line", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def evaluation(shift: float, label: str = "bolt") -> Evaluation:
    boxes = np.array([[10, 10, 60, 60]], np.float32)
    detections = Detections(boxes + np.float32(shift), np.ones(1, np.float32), np.zeros(1, np.int64))
    return evaluate([detections], [Target.of(boxes, [0])], [label, "nut"])


@pytest.fixture(scope="module")
def report(heads_onnx: Path, tmp_path_factory) -> Report:
    """Report of the tiny network, with everything measured."""
    rng = np.random.default_rng(0)
    images = [rng.normal(0, 1, (1, 3, 32, 32)).astype(np.float32) for _ in range(6)]
    output = tmp_path_factory.mktemp("report") / "int8.onnx"
    outcome = calibrate_closest(Job(heads_onnx, lambda: iter(images), read_spec(heads_onnx)), output)
    outcome = replace(
        outcome, before=evaluation(0), after=evaluation(4), here=OnThisMachine(evaluation(5), (100.0, 150.0))
    )
    frames = [(f"{k}.png", rng.integers(0, 255, (48, 64, 3), np.uint8)) for k in range(6)]
    return gather(
        outcome,
        command="ssd-edge calibrate heads.onnx data",
        pictures=pictures(iter(frames), outcome.making.quantiser.seen.image_hashes),
        seed=7,
    )


def test_the_page_loads_nothing(report):
    text = page(report)
    tags = Page(text).tags
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in tags}
    loaded = [value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")]
    assert len(loaded) == 6
    assert all(value.startswith("data:image/jpeg;base64,") for value in loaded)
    assert not re.search(r"url\(|@import", text)


def test_the_page_shows_the_facts(report):
    text = Page(page(report)).text
    before, after = 100 * report.fp32.ap, 100 * report.int8_ap.ap
    assert f"AP goes from {before:.2f} to {after:.2f} points, with 8 of 8 convolutions in INT8." in text
    assert f"{after - before:+.2f} points of AP" in text
    assert f"{before:.2f} {after:.2f} {after - before:+.2f} – {100 * report.engine_ap.ap:.2f}" in text
    assert "1.50 × the speed of FP32 on this CPU" in text
    assert f"This file's distance is {report.distance:.4f}." in text
    gain = report.corrections.bias_correction
    assert f"bias correction {gain.without:.4f} {gain.applied:.4f}" in text
    for one in report.activations:
        assert f"clipped at {one.cut:.4g} of {one.amax:.4g}" in text
    for name, digest in ((report.heads, report.heads_sha256), (report.int8, report.int8_sha256)):
        assert f"{name} {digest}" in text
    assert all(f"{k}.png {report.pictures[k].sha256}" in text for k in range(6))
    assert "seed 7" in text
    assert "nut – – – – – no such object" in text


def test_json_holds_the_same_facts(report, tmp_path):
    beside = write_report(report, tmp_path / "page.html")
    assert beside == tmp_path / "page.json"
    facts = json.loads(beside.read_text())
    assert facts["num_int8"] == facts["num_convolutions"] == 8
    assert facts["fp32"]["ap"] == report.fp32.ap
    assert facts["corrections"]["bias_correction"]["applied"] == report.corrections.bias_correction.applied
    assert facts["sensitivities"].keys() == report.sensitivities.keys()
    assert [one["sha256"] for one in facts["pictures"]] == [one.sha256 for one in report.pictures]
    assert facts["activations"][0]["cuts"].keys() == {"mse", "percentile", "entropy", "min-max", "moving-average"}


def test_the_worst_comes_first(report):
    """Activations are ordered by the sensitivity of their readers; the cut is 127 times the scale."""
    worst = [max(report.sensitivities[name].alone for name in one.readers) for one in report.activations]
    assert worst == sorted(worst, reverse=True)
    assert 0 < len(worst) <= HISTOGRAMS
    assert report.activations[0].cut == pytest.approx(report.activations[0].cuts["mse"], rel=1e-6)
    assert set(report.sensitivities) == {name for name in report.sensitivities if report.sensitivities[name].alone > 0}


def test_hostile_names_are_escaped(report):
    spoilt = replace(
        report,
        heads=HOSTILE,
        command=HOSTILE,
        fp32=evaluation(0, HOSTILE),
        int8_ap=evaluation(1, HOSTILE),
        engine_ap=None,
        in_float={HOSTILE: HOSTILE},
        sensitivities={HOSTILE: Sensitivity(1.0, 0.5)},
        activations=tuple(replace(one, tensor=HOSTILE, readers=(HOSTILE,)) for one in report.activations),
        pictures=tuple(replace(one, name=HOSTILE) for one in report.pictures),
    )
    text = page(spoilt)
    assert "<script" not in text
    assert Page(text).text.count(HOSTILE) > 8


def test_the_page_says_what_was_not_measured(report):
    bare = replace(report, fp32=None, int8_ap=None, sensitivities={}, corrections=None, pictures=report.pictures[:1])
    text = Page(page(bare)).text
    assert verdict(bare) == ("AP was not measured; 8 of 8 convolutions in INT8.", "unknown")
    assert "give calibrate a data set with labels" in text
    assert "Sensitivity of convolutions Sensitivity was not measured." in text
    assert "No correction was asked for" in text
    assert "Left in float No convolution was left in float." in text


def test_a_search_shows_its_trials(report):
    trials = [Trial(Recipe("entropy", False), 39.0, 1.0, 8), Trial(Recipe("mse", True, False, ("a",)), 39.9, 0.1, 7)]
    search = Search(
        40.0, 0.2, {"mse": (0.02, 0.01)}, Gain(0.5, 0.4), None, {}, trials, "the budget of 0.2 points holds: so"
    )
    text = Page(page(replace(report, search=search, corrections=None))).text
    assert "The budget of 0.2 points is kept" in text
    assert "The budget of 0.2 points holds: so." in text
    assert "entropy as they are nearest 0 8 39.00 1.00 mse corrected nearest 1 7 39.90 0.10" in text
    assert "equalisation 0.5000 0.4000 -20 % yes bias correction 0.0200 0.0100 -50 % yes" in text


def test_verdicts(report):
    assert verdict(replace(report, fp32=evaluation(0), int8_ap=evaluation(0)))[1] == "fine"
    assert verdict(replace(report, fp32=evaluation(0), int8_ap=evaluation(9)))[1] == "worse"


def test_charts_stay_in_their_frame():
    one = Activation("t", ("c",), 5.0, 7.0, {"mse": 7.0, "min-max": 5.0}, 0.0, 0.0, tuple(range(0, 64000, 1000)))
    always_zero = replace(one, amax=0.0, cut=1.0, bars=(0,) * 64)
    many = {f"layer{k}/" + "x" * k: Sensitivity(k / 7, 0.0) for k in range(60)}
    for svg in (histogram(one), histogram(always_zero), sensitivity(many), sensitivity({"a": Sensitivity(0.0, 0.0)})):
        width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
        for tag, attributes in Page(svg).tags:
            numbers = {name: float(value) for name, value in attributes.items() if re.fullmatch(r"-?[\d.]+", value)}
            x = [numbers[name] for name in ("x", "x1", "x2") if name in numbers]
            y = [numbers[name] for name in ("y", "y1", "y2") if name in numbers]
            x += [numbers["x"] + numbers["width"]] if tag == "rect" else []
            y += [numbers["y"] + numbers["height"]] if tag == "rect" else []
            assert all(0 <= value <= width for value in x), (tag, attributes)
            assert all(0 <= value <= height for value in y), (tag, attributes)
    assert sensitivity(many).count("<rect") == MOST_BARS


def test_shortened_names_keep_their_ends():
    assert shortened("short") == "short"
    assert shortened("model/" + "x" * 90 + "/conv") == "model/xxxxxxxx…" + "x" * 24 + "/conv"
    assert len(shortened("y" * 200)) == 44


def test_the_page_stays_small(report):
    """The page is under a mebibyte for 500 images of noise, which compress worst."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (400, 400, 3), np.uint8)
    many = pictures(((f"{k}.png", noise) for k in range(500)), ["0" * 64] * 500)
    assert sum(bool(one.thumbnail) for one in many) == THUMBNAILS
    assert len(page(replace(report, pictures=tuple(many)))) < 2**20


def test_a_page_is_written_whole_or_not_at_all(report, tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("an older one")
    monkeypatch.setattr("ssd_edge.calibration.report.files.page", lambda report: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(report, target)
    assert target.read_text() == "an older one"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("cut", [0.5, 2.0, 4.0])
def test_relative_error_equals_that_of_the_values(cut):
    """The reference uses the values themselves; tolerance 3 %, since a histogram knows them only to a bin."""
    values = np.random.default_rng(0).normal(0, 1, 200_000).astype(np.float32)
    seen = Histogram()
    seen.add(values)
    step = cut / 127
    changed = np.clip(np.rint(values / step), -127, 127) * step - values
    wanted = np.sqrt((changed**2).mean() / (values**2).mean())
    assert relative_error(seen, cut) == pytest.approx(wanted, rel=0.03)


def test_relative_error_of_an_empty_histogram():
    assert relative_error(Histogram(), 1.0) == 0.0
    zeros = Histogram()
    zeros.add(np.zeros(5, np.float32))
    assert relative_error(zeros, 1.0) == 0.0

"""The text of metrics, as Prometheus' own parser reads it."""

from __future__ import annotations

import math

import pytest

from ssd_edge.service.exposition import Family, Sample, exposition, histogram

NASTY = 'a"b\\c\nd{e="f"} é \udcff'


def parsed(text):
    parser = pytest.importorskip("prometheus_client.parser", reason="pip install 'ssd-edge[dev]'")
    return list(parser.text_string_to_metric_families(text))


def test_names_values_and_labels_come_back():
    families = [
        Family("frames_total", "counter", 'All "frames"\nof \\ each.', (Sample(3, {"camera": NASTY}), Sample(0, {}))),
        Family("temperature", "gauge", "Heat.", (Sample(-0.1, {}), Sample(math.inf, {"a": ""}))),
        Family("nothing", "gauge", "Left out.", ()),
    ]
    frames, temperature = parsed(exposition(families))
    assert (frames.name, frames.type, frames.documentation) == ("frames", "counter", 'All "frames"\nof \\ each.')
    assert [(s.name, s.labels, s.value) for s in frames.samples] == [
        ("frames_total", {"camera": NASTY.replace("\udcff", "\\udcff")}, 3),
        ("frames_total", {}, 0),
    ]
    assert [s.value for s in temperature.samples] == [-0.1, math.inf]


def test_a_histogram_comes_back():
    samples = tuple(histogram([(0.1, 1), (1.0, 3)], 4.5, 4, camera="a"))
    (family,) = parsed(exposition([Family("age_seconds", "histogram", "Age.", samples)]))
    assert family.type == "histogram"
    assert [(s.name, s.labels.get("le"), s.value) for s in family.samples] == [
        ("age_seconds_bucket", "0.1", 1),
        ("age_seconds_bucket", "1", 3),
        ("age_seconds_bucket", "+Inf", 4),
        ("age_seconds_sum", None, 4.5),
        ("age_seconds_count", None, 4),
    ]


def test_large_counts_keep_each_digit():
    assert exposition([Family("n_total", "counter", "N.", (Sample(2**40 + 1, {}),))]).endswith(
        "\nn_total 1099511627777\n"
    )


def test_without_families_there_is_no_text():
    assert exposition([]) == ""

"""``run --watch`` as it is typed; without PyTorch."""

from __future__ import annotations

import json

import pytest

WATCH = """
classes: {bolt: 0.3, nut: 0.3}
tracking: {low: 0.2}
zones:
  - name: all
    points: [[0, 0], [1, 0], [1, 1], [0, 1]]
    min_time: 0
lines:
  - name: middle
    points: [[0.5, 0], [0.5, 1]]
"""


@pytest.fixture
def watch(tmp_path):
    file = tmp_path / "watch.yaml"
    file.write_text(WATCH)
    return file


def test_ids_events_and_counts_are_written_and_said(cli, bundle, watch, tmp_path):
    out = tmp_path / "out.jsonl"
    options = ("--frames", 12, "--every-frame", "--no-window", "--watch", watch)
    done = cli("run", bundle, "-c", "synthetic", *options, "--save-json", out, "--save-images", tmp_path / "images")
    assert done.code == 0, done
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    ids = [[one["id"] for one in line["detections"]] for line in lines]
    assert all(len(set(here)) == len(here) for here in ids)
    newest = max((number for here in ids for number in here), default=0)
    assert newest > 0
    counts = lines[-1]["counts"]
    assert sum(counts["all"]["entered"].values()) == sum(counts["all"]["dwelt"].values()) == newest
    told = [event["id"] for line in lines for event in line["events"] if event["event"] == "entered"]
    assert sorted(told) == list(range(1, newest + 1))
    assert f"{newest} object{'s' * (newest != 1)} followed" in done.err
    assert "all: " in done.err
    assert "middle: " in done.err


def test_the_report_has_the_counts(cli, bundle, watch):
    done = cli("run", bundle, "-c", "synthetic", "--frames", 3, "--no-window", "--watch", watch, "--json")
    report = json.loads(done.out)
    assert report["objects"] >= 0
    assert set(report["counts"]) == {"all", "middle"}


@pytest.mark.parametrize(
    ("was", "is_now", "words"),
    [
        ("zones:", "zonen:", ("line 4: there is no setting 'zonen'; did you mean zones?",)),
        ("bolt:", "blot:", ("line 2: the model has no class 'blot'; did you mean bolt?",)),
        ("[1, 1], ", "[1, 2], ", ("line 6: the zone 'all' has the point [1, 2] outside the frame",)),
        ("[1, 0], [1, 1]", "[1, 1], [1, 0]", ("line 6: the zone 'all' crosses itself",)),
        (", [1, 1], [0, 1]", "", ("has 2 points, but needs at least 3",)),
        ("middle", "all", ("line 9: another zone 'all' has that name already",)),
    ],
)
def test_a_mistake_is_a_sentence_before_a_file_is_made(cli, bundle, watch, tmp_path, was, is_now, words):
    watch.write_text(WATCH.replace(was, is_now))
    out = tmp_path / "out.jsonl"
    done = cli("run", bundle, "-c", "synthetic", "--no-window", "--watch", watch, "--save-json", out)
    done.sentence(watch, *words)
    assert not out.exists()

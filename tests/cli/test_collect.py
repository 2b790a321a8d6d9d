"""``run --collect`` and ``collect review``, alone and in a service's file, and what is refused before they start."""

from __future__ import annotations

import json

import pytest

from ssd_edge.data.check import check_dataset
from ssd_edge.data.readers import open_dataset

QUIET = ("--min-score", "1", "--collect-quiet", "100ms", "--collect-share", "100")
"""The tiny model never scores 1, so that it sees nothing."""


def test_frames_are_collected_reviewed_and_checked(cli, bundle, tmp_path):
    hard = tmp_path / "hard"
    done = cli("run", bundle, "-c", "door=synthetic", "--no-window", "--collect", hard, *QUIET, "--seconds", "3")
    assert done.code == 0, done.err
    assert f"written: {hard}" in done.err
    reviewed = json.loads(cli("collect", "review", hard, "--json").out)
    assert reviewed["page"] == str(hard / "review.html")
    assert reviewed["frames"]
    assert {frame["camera"] for frame in reviewed["frames"]} == {"door"}
    assert set(reviewed["by_reason"]) <= {"class", "quiet", "unsure", "flicker"}
    assert "quiet" in reviewed["by_reason"]
    report = check_dataset(open_dataset(hard))
    assert (len(report.clean), report.issues) == (len(reviewed["frames"]), ())
    done = cli("collect", "review", hard, "--report", tmp_path / "page.html")
    reasons = ", ".join(f"{kind} {number}" for kind, number in reviewed["by_reason"].items())
    assert f"{len(reviewed['frames'])} frames: {reasons}; " in done.err
    assert (tmp_path / "page.html").read_text().count("<figure>") == len(reviewed["frames"])


def test_a_second_engine_is_compared(cli, bundle, heads_onnx, tmp_path):
    arguments = ("--collect-against", heads_onnx, "--collect", tmp_path / "hard", "--seconds", "1")
    assert cli("run", bundle, "-c", "synthetic", "--no-window", *arguments).code == 0


def test_a_service_collects(cli, bundle, tmp_path):
    config = tmp_path / "service.yaml"
    outputs = {"collect": {"to": "hard-{camera}", "quiet": "100ms", "gap": "100ms", "share": 100, "frames": 2}}
    cameras = {"door": {"source": "synthetic:1", "size": "96x72", "fps": 20, "min_score": 1}}
    config.write_text(json.dumps({"model": str(bundle), "outputs": outputs, "cameras": cameras}))
    assert cli("run", "--config", config, "--check-config").code == 0
    done = cli("run", "--config", config, "--seconds", "4")
    assert done.code == 0, done.err
    assert len(open_dataset(tmp_path / "hard-door")) == 2
    assert done.err.count("a frame is collected only in place of an easier one") == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"frames": 0}, "frames"), ({"share": 0}, "share"), ({"size": "3"}, "such as 500MB"), ({"gap": "3"}, "100ms")],
)
def test_settings_of_a_service_that_cannot_be(cli, bundle, tmp_path, settings, words):
    config = tmp_path / "service.yaml"
    outputs = {"collect": {"to": "hard", **settings}}
    cameras = {"door": {"source": "synthetic:1", "outputs": outputs}}
    config.write_text(json.dumps({"model": str(bundle), "cameras": cameras}))
    cli("run", "--config", config, "--check-config").sentence(words)


def test_options_that_cannot_be(cli, bundle, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    start = ("run", bundle, "-c", "synthetic", "--no-window", "--seconds", "1")
    cli(*start, "--collect-against", bundle).sentence("--collect-against is for --collect")
    cli(*start, "--collect", tmp_path / "a", "--collect-against", bundle).sentence("is the engine that runs")
    cli(*start, "--collect", tmp_path / "a", "--collect-against", "gone").sentence("there is no model gone")
    cli(*start, "--collect", file).sentence("cannot write", file)
    cli(*start, "--collect", tmp_path / "a", "--collect-size", "3").sentence("--collect-size", "such as 500MB")
    cli(*start, "-c", "synthetic:2", "--collect", tmp_path / "a").sentence("--collect", "{camera}")
    cli("collect", "review", tmp_path).sentence("so it is no collection")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]

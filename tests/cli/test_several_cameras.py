"""``run`` with several cameras: names, outputs of each, and what is refused before anything starts."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from ssd_edge.cli.run_cameras import Given, read_cameras
from ssd_edge.engines import openvino
from ssd_edge.errors import SourceError


def test_each_camera_is_processed_and_named_in_the_lines(cli, bundle, pictures, tmp_path):
    number = len(list(pictures.iterdir()))
    done = cli(
        *("run", bundle, "-c", f"door={pictures}", "-c", f"gate={pictures}", "--no-window"),
        *("--save-json", tmp_path / "all.jsonl", "--save-images", tmp_path / "{camera}", "--json"),
    )
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert Counter(line["camera"] for line in lines) == {"door": number, "gate": number}
    for name in ("door", "gate"):
        indices = [line["index"] for line in lines if line["camera"] == name]
        assert indices == sorted(indices)
        assert len(list((tmp_path / name).iterdir())) == number
    report = json.loads(done.out)
    assert {name: one["processed"] for name, one in report["cameras"].items()} == {"door": number, "gate": number}
    assert report["backend"] == "openvino"
    assert set(report["shares"]) == {"door", "gate"}


def test_the_weights_are_loaded_once_for_all_cameras(cli, bundle, pictures, monkeypatch):
    loaded, load = [], openvino.OpenVinoEngine.__init__

    def counted(engine, *arguments):
        loaded.append(engine)
        load(engine, *arguments)

    monkeypatch.setattr(openvino.OpenVinoEngine, "__init__", counted)
    cameras = [word for name in "abcd" for word in ("-c", f"{name}={pictures}")]
    assert cli("run", bundle, *cameras, "--no-window").code == 0
    assert len(loaded) == 1


def test_one_camera_may_have_a_name_too(cli, bundle, pictures, tmp_path):
    done = cli("run", bundle, "-c", f"door={pictures}", "--no-window", "--save-json", tmp_path / "{camera}.jsonl")
    assert done.code == 0, done.err
    assert "camera" not in json.loads((tmp_path / "door.jsonl").read_text().splitlines()[0])
    assert f"written: {tmp_path / 'door.jsonl'}" in done.err


def test_the_table_shows_each_camera(cli, bundle, pictures):
    done = cli("run", bundle, "-c", f"door={pictures}", "-c", f"gate={pictures}", "--no-window")
    assert done.code == 0, done.err
    for word in ("door", "gate", "not shown", "FPS in all"):
        assert word in done.err


def test_lines_of_several_cameras_on_stdout(cli, bundle, pictures):
    done = cli("run", bundle, "-c", f"a={pictures}", "-c", f"b={pictures}", "--no-window", "--save-json", "-")
    assert {json.loads(line)["camera"] for line in done.out.splitlines()} == {"a", "b"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-c", "synthetic", "-c", "synthetic"), "two cameras are named synthetic: give each a name of its own"),
        (("-c", "a=synthetic", "-c", "a=synthetic:2"), "two cameras are named a"),
        (
            ("-c", "synthetic:1", "-c", "synthetic:2", "--save-video", "out.mp4"),
            "--save-video out.mp4 is one path for 2 cameras: write {camera} where the camera's name is to stand",
        ),
        (("-c", "synthetic:1", "-c", "synthetic:2", "--save-images", "out"), "as in out-{camera}"),
        (("-c", "synthetic", "--buffer", "oldest"), "a buffer must be newest, every, or drop-oldest with a length"),
        (("-c", "a=synthetic", "-c", "b=nowhere.mp4"), "there is no file or folder nowhere.mp4"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_starts(cli, tmp_path, options, words):
    """Before the model is opened, which here does not exist."""
    cli("run", tmp_path / "none.engine", *options).sentence(words)


def test_names_of_cameras(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.mp4").touch()
    assert read_cameras(["0"]) == [Given("camera", "0")]
    assert read_cameras(["door=rtsp://x/y?a=b"]) == [Given("door", "rtsp://x/y?a=b")]
    texts = ["0", "rtsp://user:pass=word@door.local:554/stream?key=1", "/dev/video1", "synthetic:7", "a=b.mp4"]
    texts += ["v4l2src device=/dev/video0 ! appsink"]
    names = [given.name for given in read_cameras(texts)]
    assert [given.address for given in read_cameras(texts)] == texts
    assert names[0] == "0"
    assert names[2:] == ["dev-video1", "synthetic-7", "a-b.mp4", "v4l2src-device-dev-video0-appsink"]
    assert "pass" not in names[1]
    assert "word" not in names[1]
    for given in read_cameras(["../../x.mp4", "..", "y" * 500]):
        assert "/" not in given.name
        assert 0 < len(given.name) <= 60
        assert not given.name.startswith(".")
    with pytest.raises(SourceError, match="two cameras are named 0"):
        read_cameras(["0", "0"])

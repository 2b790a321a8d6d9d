"""``run --config``, ``--log json`` and ``service`` as they are typed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from time import monotonic, sleep

import cv2
import pytest

from ssd_edge.service import check, systemd
from ssd_edge.service.service_file import EXAMPLE
from ssd_edge.service.web import Address, Pages

PROGRAM = "from ssd_edge.cli.main import main; main()"
SECONDS = 60


@pytest.fixture
def config(tmp_path, bundle):
    """Writes a service's file of the tiny model; what is given stands beside it or in the place of it."""

    def write(**settings):
        path = tmp_path / "service.yaml"
        cameras = {"a": {"source": "synthetic:1", "size": "96x72"}}
        path.write_text(json.dumps({"model": str(bundle), "cameras": cameras, **settings}))
        return path

    return write


def test_a_service_from_a_file(cli, config, tmp_path):
    path = config(outputs={"json": "{camera}.jsonl", "video": {"to": "{camera}.avi", "rotate_every": "1h"}})
    done = cli("run", "--config", path, "--frames", 5)
    assert (done.code, done.out) == (0, "")
    assert "a: synthetic:1" in done.err
    (lines,) = tmp_path.glob("a-00000001-*.jsonl")
    assert len(lines.read_text().splitlines()) == 5
    (video,) = tmp_path.glob("a-00000001-*.avi")
    assert cv2.VideoCapture(str(video)).read()[0]


def test_lines_and_report_as_json(cli, config):
    done = cli("run", "--config", config(log="json"), "--frames", 3, "--json")
    assert json.loads(done.out)["cameras"]["a"]["processed"] == 3
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert {line["event"] for line in lines} == {"model", "source", "service"}
    assert next(line["camera"] for line in lines if line["event"] == "source") == "a"


def test_a_run_without_a_file_has_lines_of_json_too(cli, bundle, tmp_path):
    target = tmp_path / "a.jsonl"
    done = cli("run", bundle, "-c", "synthetic", "--frames", 3, "--no-window", "--save-json", target, "--log", "json")
    lines = [json.loads(line) for line in done.err.splitlines()]
    messages = [line["message"] for line in lines]
    assert f"written: {target}" in messages
    assert any("3 frames of " in message for message in messages)


def test_errors_are_json_too(cli, config, bundle):
    for words in (
        ("run", bundle, "-c", "/no/such.mp4", "--log", "json"),
        ("run", "--config", config(log="json", cameras={"a": {"source": "/no/such.mp4"}})),
    ):
        done = cli(*words)
        (line,) = [json.loads(line) for line in done.err.splitlines()]
        assert (done.code, line["level"]) == (2, "error")
        assert "there is no file or folder /no/such.mp4" in line["message"]


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """A systemctl that tells of an active unit, whose file the test writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    told = "\\n".join(("LoadState=loaded", "ActiveState=active", "SubState=running", "NRestarts=2", ""))
    (folder / "systemctl").write_text(f'#!/bin/sh\n[ "$2" = show ] && printf "{told}"\nexit 0\n')
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(systemd, "_RUNNING", folder)
    monkeypatch.setattr(systemd, "_program", lambda: tmp_path / "ssd-edge")


@pytest.mark.parametrize("well", [True, False])
def test_the_status_of_a_service(cli, config, systemctl, well):
    camera = {"healthy": well, "state": "stalled", "fps": 3.5, **({} if well else {"reason": "no result for 9 s"})}
    told = {"healthy": well, "cameras": {"a": camera}}
    with Pages(Address("127.0.0.1", 0), str, lambda: (well, told)) as pages:
        assert cli("service", "install", config(metrics=pages.address.port), "--user").code == 0
        done = cli("service", "status", "--user")
        assert done.code == (0 if well else 1)
        assert "ssd-edge.service: active (running), not enabled, 2 restarts" in done.err
        assert ("a: well, stalled, 3.5 FPS" if well else "a: NOT WELL, stalled, no result for 9 s") in done.err
        assert json.loads(cli("service", "status", "--user", "--json").out)["health"] == told
    done = cli("service", "status", "--user")
    assert done.code == 1
    assert "no answer from http://127.0.0.1:" in done.err


def test_the_status_without_health(cli, config, systemctl):
    cli("service", "install", config(), "--user")
    done = cli("service", "status", "--user")
    assert done.code == 0
    assert "its file serves no /healthz: add metrics: 9090" in done.err
    assert cli("service", "uninstall", "--user").code == 0


def test_a_file_that_is_right_starts_nothing(cli, config, tmp_path):
    done = cli("run", "--config", config(outputs={"json": "{camera}.jsonl"}, metrics=9090), "--check-config")
    assert (done.code, done.out) == (0, "")
    assert "metrics and health on 127.0.0.1:9090" in done.err
    assert f"a: synthetic:1, 96×72, buffer newest, json to {tmp_path / 'a.jsonl'}" in done.err
    assert list(tmp_path.glob("a*")) == []


def test_metrics_for_other_machines_are_said(cli, config):
    assert (
        "which other machines can reach" in cli("run", "--config", config(metrics="0.0.0.0:9090"), "--check-config").err
    )


@pytest.mark.parametrize(
    ("page", "code", "sentence"),
    [
        (8080, 0, "no metrics, page on 127.0.0.1:8080\n"),
        ({"address": "0.0.0.0:8080", "token_file": "t"}, 0, "page on 0.0.0.0:8080, which other machines can reach"),
        ({"address": "192.0.2.1:8080", "token_file": "t"}, 1, "the page cannot be served on 192.0.2.1:8080: "),
        ({"token_file": "gone"}, 1, "cannot read the page's token in "),
        ({"token": "short"}, 1, "page.token of the service's file has 5 characters, but needs at least 16"),
        ("0.0.0.0:8080", 2, "0.0.0.0:8080 can be reached from other machines, so the page needs a token: token: "),
        ("here", 2, "the address of the page is a port or IP:PORT, such as 8080"),
    ],
)
def test_a_page_is_checked(cli, config, tmp_path, page, code, sentence):
    pytest.importorskip("uvicorn", reason="the extra page is not installed")
    (tmp_path / "t").write_text("0123456789abcdef")
    done = cli("run", "--config", config(page=page), "--check-config")
    assert (done.code, done.out) == (code, "")
    assert sentence in done.err
    assert len(done.err.splitlines()) == (2 if code == 0 else 1)


@pytest.mark.parametrize("against", ["gone.engine", None])
def test_the_second_engine_of_a_collection_is_checked(cli, config, bundle, tmp_path, against):
    path = config(outputs={"collect": {"to": "hard-{camera}", "against": against or str(bundle)}})
    done = cli("run", "--config", path, "--check-config")
    assert done.code == 1
    assert f"a, output collect: against {tmp_path / against if against else bundle}: " in done.err
    assert ("there is no such model" if against else "it is the engine that runs: name another one") in done.err


def test_all_that_is_wrong_is_listed(cli, config, tmp_path, monkeypatch):
    monkeypatch.setenv("PASSWORD", "s3cret")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        broker = f"mqtt://me:${{PASSWORD}}@127.0.0.1:{free.getsockname()[1]}/x"
    (tmp_path / "file").touch()
    cameras = {
        "lost": {"source": "/no/such.mp4"},
        "device": {"source": "/dev/video97"},
        "told": {"source": "synthetic:1", "outputs": {"mqtt": broker}},
        "full": {"source": "synthetic:2", "outputs": {"json": "/no/such/a.jsonl", "video": str(tmp_path)}},
        "under": {"source": "synthetic:3", "outputs": {"images": "file/images", "clips": "file"}},
        "seen": {"source": "synthetic:4", "watch": {"classes": {"cat": None}}},
    }
    done = cli("run", "--config", config(cameras=cameras), "--check-config", "--json")
    found = json.loads(done.out)["problems"]
    assert done.code == 1
    assert [line.partition(": ")[0] for line in found] == [
        "lost",
        "device",
        "told, output mqtt",
        "full, output video",
        "full, output json",
        "under, output images",
        "under, output clips",
        "seen",
    ]
    for line, words in zip(
        found,
        (
            "there is no file or folder /no/such.mp4",
            "there is no camera 97",
            "nobody answers at mqtt://127.0.0.1:",
            "it is a folder",
            "there is no folder /no/such: mkdir -p /no/such",
            f"{tmp_path / 'file'} is a file",
            "it is a file",
            "the model has no class 'cat'",
        ),
        strict=True,
    ):
        assert words in line
    assert "s3cret" not in done.out + done.err


def test_a_size_that_the_camera_does_not_have(cli, config, monkeypatch):
    from ssd_edge.machine.cameras import Sizes
    from ssd_edge.stream import cameras

    monkeypatch.setattr(cameras, "video_devices", lambda host: ["video3"])
    monkeypatch.setattr(cameras, "listed_formats", lambda host, device: {"YUYV": Sizes(((640, 640, 1, 480, 480, 1),))})
    path = config(cameras={"a": {"source": 3, "size": "1280x720"}})
    done = cli("run", "--config", path, "--check-config")
    assert done.code == 1
    assert "a: camera 3 gives no 1280×720: it has YUYV 640×480" in done.err


def test_a_model_that_is_not_there(cli, config):
    done = cli("run", "--config", config(model="gone.engine"), "--check-config")
    assert (done.code, done.out) == (1, "")
    assert "there is no model" in done.err


def test_a_start_stops_at_what_is_wrong(cli, config):
    cli("run", "--config", config(cameras={"a": {"source": "/no/such.mp4"}})).sentence("there is no file or folder")


@pytest.mark.parametrize(
    ("options", "word"),
    [(("-c", "0"), "--camera"), (("--save-json", "x"), "--save-json"), (("--verify",), "--verify")],
)
def test_options_and_file_are_not_mixed(cli, config, options, word):
    cli("run", "--config", config(), *options).sentence(f"--config and {word} do not go together: write it into")


def test_a_model_and_a_file_are_not_mixed(cli, config, bundle):
    cli("run", bundle, "--config", config()).sentence("--config and model do not go together")


@pytest.mark.parametrize("option", ["--check-config", "--wait"])
def test_options_that_need_a_file(cli, option):
    cli("run", option).sentence("need --config FILE.yaml; --example-config prints one")


def test_the_example_is_printed(cli):
    assert cli("run", "--example-config").out == EXAMPLE


def test_neither_model_nor_file(cli):
    done = cli("run")
    assert done.code == 2
    assert "name a model, such as NAME.engine, or --config FILE.yaml" in " ".join(done.err.replace("│", " ").split())


def test_a_unit_is_printed(cli, config, tmp_path):
    done = cli("service", "install", config(outputs={"json": "{camera}.jsonl"}), "--run-as", "edge", "--dry-run")
    assert done.code == 0
    assert f"run --config {tmp_path / 'service.yaml'} --wait\n" in done.out
    assert f"ReadWritePaths=-{tmp_path}\n" in done.out


def test_a_service_is_not_installed_with_a_bad_file(cli, config):
    cli("service", "install", config(fsp=3), "--run-as", "edge", "--dry-run").sentence("there is no setting 'fsp'")
    outputs = {"json": "no/{camera}.jsonl"}
    cli("service", "install", config(outputs=outputs), "--run-as", "edge").sentence("which is no folder: mkdir -p")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("install",), "install needs the service's file"), (("status", "x"), "status takes no file")],
)
def test_files_where_they_belong(cli, words, sentence):
    cli("service", *words).sentence(sentence)


class Started:
    """A service in a process of its own, told apart by what it says."""

    def __init__(self, path, before=""):
        words = [sys.executable, "-c", before + PROGRAM, "run", "--config", str(path)]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        self.said = ""

    def hear(self, words):
        while words not in self.said:
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line

    def end(self):
        self.said += self.process.communicate(timeout=SECONDS)[1]
        return self.process.returncode


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of another process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_service_and_closes_its_files(config, tmp_path, number):
    cameras = {"a": {"source": "synthetic:1", "size": "96x72", "outputs": {"video": "a.mp4", "json": "a.jsonl"}}}
    service = Started(config(cameras=cameras, log="json"))
    service.hear('"camera": "a"')
    deadline = monotonic() + SECONDS
    while not any(path.stat().st_size for path in tmp_path.glob("a-*.jsonl")):
        assert monotonic() < deadline
        sleep(0.05)
    service.process.send_signal(number)
    assert service.end() == 0, service.said
    assert '"message": "ending"' in service.said
    (lines,) = tmp_path.glob("a-*.jsonl")
    assert [json.loads(line)["index"] for line in lines.read_text().splitlines()]
    (video,) = tmp_path.glob("a-*.mp4")
    assert cv2.VideoCapture(str(video)).read()[0]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of another process")
def test_the_second_signal_ends_it_at_once(config):
    never_closes = (
        "import time\n"
        "from ssd_edge.loop.run import CameraLoop\n"
        "CameraLoop.close = lambda loop: (print('closing', file=sys.stderr, flush=True), time.sleep(60))\n"
    )
    service = Started(config(), f"import sys\n{never_closes}")
    service.hear("a: synthetic:1")
    service.process.send_signal(signal.SIGTERM)
    service.hear("closing")
    service.process.send_signal(signal.SIGTERM)
    assert service.end() in (-signal.SIGTERM, 130)  # 130 while it still starts


def test_a_path_that_this_user_may_not_write(tmp_path, monkeypatch):
    monkeypatch.setattr(check.os, "access", lambda path, mode: False)
    assert "this user may not write there" in check._problem_of_path(tmp_path / "a.jsonl", False)

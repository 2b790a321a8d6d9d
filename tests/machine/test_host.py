"""``Host``: files that cannot be read, and commands and children that hang, crash, or are missing."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from time import perf_counter

import pytest

from ssd_edge.machine import host as module
from ssd_edge.machine.host import NotInstalledError, UnansweredError, this_host
from tests.machine.machines import answers_eagain, machine


@pytest.fixture
def here():
    return this_host()


def test_a_text_without_the_blanks_around_it(tmp_path):
    host = machine(tmp_path, {"/proc/model": "NVIDIA Jetson\0\n", "/empty": ""})
    assert host.read("/proc/model") == "NVIDIA Jetson"
    assert host.read("/empty") == ""


def test_unreadable_files_are_none(tmp_path):
    host = machine(tmp_path, {"/folder/file": ""})
    assert host.read("/absent") is None
    assert host.read("/folder") is None
    assert host.read("/folder/file/below") is None


def test_a_sensor_that_is_off_is_none(tmp_path):
    """It gives EAGAIN, for which ``Path.read_text`` raises TypeError, or waits for ever."""
    host = machine(tmp_path)
    answers_eagain(tmp_path / "temp")
    assert host.read("/temp") is None
    assert host.number("/temp") is None


@pytest.mark.parametrize(("text", "number"), [("42\n", 42), ("-5", -5), ("", None), ("max", None), ("1.5", None)])
def test_numbers(tmp_path, text, number):
    assert machine(tmp_path, {"/value": text}).number("/value") == number


def test_names_in_the_order_of_their_numbers(tmp_path):
    host = machine(tmp_path, {f"/dev/video{k}": "" for k in (10, 2, 0)} | {"/dev/null": ""})
    assert host.names("/dev", "video[0-9]*") == ["video0", "video2", "video10"]
    assert host.names("/absent") == []


def test_a_command(here):
    ran = here.run((sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert ran == module.Ran(3, "out\n", "err\n")


def test_a_command_speaks_english(here):
    assert here.run(("sh", "-c", "echo $LC_ALL")).out == "C\n"


def test_a_command_is_run_once(here, tmp_path):
    log = tmp_path / "log"
    command = ("sh", "-c", f"sleep 0.1; echo x >> {log}; cat {log}")
    threads = [threading.Thread(target=here.run, args=(command,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert here.run(command).out == "x\n"


def test_a_command_that_is_not_there(here):
    for _ in range(2):  # errors are cached too
        with pytest.raises(NotInstalledError, match="no-such-command is not installed"):
            here.run(("no-such-command", "-q"))


def test_a_command_that_cannot_be_started(here, tmp_path):
    (tmp_path / "text").write_text("")
    with pytest.raises(UnansweredError, match="cannot be started: Permission denied"):
        here.run((str(tmp_path / "text"),))


@pytest.mark.parametrize("command", ["exec sleep 30", "sleep 30 & sleep 30", "trap '' TERM; while :; do sleep 1; done"])
def test_a_command_that_hangs(here, monkeypatch, command):
    """It is left behind, even if it has started a process that keeps its pipes open."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    began = perf_counter()
    with pytest.raises(UnansweredError, match=r"sh gave no answer within 0\.2 s"):
        here.run(("sh", "-c", command))
    assert perf_counter() - began < 5  # the command would take 30


def test_a_command_that_floods(here):
    assert len(here.run((sys.executable, "-c", "print('x' * 3_000_000)")).out) == 3_000_001


def test_children_answer(here):
    assert set(here.ask("v4l2")) == {path.name for path in Path("/dev").glob("video*")}


def test_a_child_that_fails(here):
    with pytest.raises(UnansweredError, match=r"nothing failed: .*No module named"):
        here.ask("nothing")


def test_a_child_that_crashes(here, monkeypatch, tmp_path):
    """A library crashes like this on a processor without the instructions that it was built for."""
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -ILL $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    with pytest.raises(UnansweredError, match=r"PyAV crashed \(Illegal instruction\)"):
        here.ask("pyav")


def slow_python(folder, monkeypatch, seconds):
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nsleep {seconds}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.mark.slow
def test_the_start_of_python_is_not_the_childs_time(here, monkeypatch, tmp_path):
    """Otherwise doctor would report on a slow machine without a driver that its driver gives no answer."""
    slow_python(tmp_path, monkeypatch, module.PATIENCE + 0.5)
    assert set(here.ask("v4l2")) == {path.name for path in Path("/dev").glob("video*")}


def test_a_python_that_does_not_start(here, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "START_UP", 0.2)
    slow_python(tmp_path, monkeypatch, 30)
    with pytest.raises(UnansweredError, match=r"Python, which was to ask PyAV, did not start within 0\.2 s"):
        here.ask("pyav")


def test_a_child_that_hangs(here, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho\nsleep 30\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(UnansweredError, match=r"PyAV gave no answer within 0\.2 s"):
        here.ask("pyav")


def test_a_file_in_the_users_folder_is_not_imported(here, monkeypatch, tmp_path):
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 has no PYTHONSAFEPATH")
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert "v4l2" not in here.ask("v4l2")


def test_space(here, tmp_path):
    there = here.space(tmp_path / "not" / "made" / "yet")
    assert 0 < there.free <= there.total
    assert there.writable
    assert not (tmp_path / "not").exists()


def test_packages(here):
    assert here.version("numpy")
    assert here.version("no-such-package") is None
    assert any(line.startswith("numpy") for line in here.requirements())
    assert here.has_module("numpy")
    assert not here.has_module("no_such_module")
    assert not here.has_module("no_such_module.below")

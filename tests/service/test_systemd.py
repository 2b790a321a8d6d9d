"""Units as systemd reads them, and what is asked of a systemctl that the test wrote itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ssd_edge.errors import ServiceError
from ssd_edge.service import systemd
from ssd_edge.service.systemd import Manager
from ssd_edge.service.unit import MARK, Unit, file_of


def unit(user=None, **changed):
    given = {
        "program": Path("/opt/ssd-edge/bin/ssd-edge"),
        "file": Path("/etc/ssd-edge/line 3 %x $HOME.yaml"),
        "writes": [Path("/var/lib/parts x")],
        "user": user,
        "secrets": Path("/etc/ssd-edge/ssd-edge.env"),
    }
    return Unit(**{**given, **changed})


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("user", [None, "root"])
def test_systemd_finds_nothing_wrong(user, tmp_path):
    path = tmp_path / "ssd-edge-test.service"
    program = tmp_path / "ssd-edge"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path.write_text(unit(user, program=program).text())
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    about = [line for line in done.stderr.splitlines() if path.name in line]
    assert (done.returncode, about) == (0, [])


def settings(text):
    pairs = [line.partition("=")[::2] for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {key: [value for name, value in pairs if name == key] for key, _ in pairs}


def test_what_the_unit_asks_for():
    said = settings(unit("edge").text())
    assert said["ExecStart"] == [
        '/opt/ssd-edge/bin/ssd-edge run --config "/etc/ssd-edge/line 3 %%x $$HOME.yaml" --wait'
    ]
    assert said["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert (said["Type"], said["Restart"], said["User"]) == (["notify"], ["on-failure"], ["edge"])
    assert said["ReadWritePaths"] == ["-/var/lib/parts\\ x"]
    assert int(said["WatchdogSec"][0]) > 0


def test_a_users_unit_asks_for_nothing_that_only_the_system_can_do():
    said = settings(unit().text())
    assert not said.keys() & {"User", "CapabilityBoundingSet", "ProtectSystem", "ReadWritePaths"}
    assert said["WantedBy"] == ["default.target"]


def test_the_file_is_found_again():
    assert file_of(unit().text()) == Path("/etc/ssd-edge/line 3 %x $HOME.yaml")
    assert file_of(unit().text().removeprefix(MARK)) is None


@pytest.mark.parametrize("changed", [{"file": Path("/etc/a\nExecStartPre=b")}, {"writes": [Path("/a\nb")]}])
def test_a_path_cannot_bring_lines_of_its_own(changed):
    with pytest.raises(ServiceError, match="without line breaks"):
        unit(**changed)


def test_a_user_cannot_bring_lines_of_its_own():
    with pytest.raises(ServiceError, match="a user's name has letters"):
        unit("edge\nExecStartPre=b")


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A systemctl that writes down how it was called; it fails where the file ``refuse`` is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        f'[ -e {tmp_path}/refuse ] && {{ echo "Access denied" >&2; exit 1; }}\n'
        '[ "$2" = show ] && printf "ActiveState=active\\nMainPID=7\\nOther=x\\nStatusText=a=b\\n"\nexit 0\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(systemd, "_RUNNING", folder)
    monkeypatch.setattr(systemd, "_program", lambda: Path("/opt/ssd-edge"))

    def read():
        path = tmp_path / "calls"
        return path.read_text().splitlines() if path.exists() else []

    return read


@pytest.fixture
def own(tmp_path, calls):
    return Manager("parts", True, tmp_path / "units")


def test_a_service_comes_and_goes(own, calls, tmp_path):
    own.install(own.unit(tmp_path / "a.yaml", [], None))
    assert own.path.read_text().startswith(MARK)
    assert own.path.stat().st_mode & 0o777 == 0o644
    assert own.file() == tmp_path / "a.yaml"
    own.install(own.unit(tmp_path / "b.yaml", [], None))
    assert own.file() == tmp_path / "b.yaml"
    own.uninstall()
    assert not own.path.exists()
    install = ["--user daemon-reload", "--user enable parts.service", "--user restart --no-block parts.service"]
    assert calls() == [*install, *install, "--user disable --now parts.service", "--user daemon-reload"]


@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_a_unit_of_someone_else_is_left_alone(own, calls, action, tmp_path):
    own.folder.mkdir()
    own.path.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(ServiceError, match=r"parts\.service was not written by ssd-edge: remove it, or choose another"):
        own.install(own.unit(tmp_path / "a.yaml", [], None)) if action == "install" else own.uninstall()
    assert (calls(), own.path.read_text()) == ([], "[Service]\nExecStart=/bin/true\n")


def test_what_is_not_there_cannot_be_removed(own):
    with pytest.raises(ServiceError, match="nothing to uninstall"):
        own.uninstall()


def test_what_systemctl_says(own):
    assert own.state() == {"ActiveState": "active", "MainPID": "7", "StatusText": "a=b"}


def test_a_refusal_of_systemctl_is_said(own, tmp_path):
    (tmp_path / "refuse").touch()
    with pytest.raises(ServiceError, match="systemctl show failed: Access denied"):
        own.state()


def test_the_system_needs_root(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ServiceError, match="needs root: sudo /opt/ssd-edge service uninstall …, or add --user"):
        Manager("parts", False, tmp_path).uninstall()


@pytest.mark.parametrize("lacking", ["systemctl", "systemd"])
def test_without_systemd_there_is_a_sentence(calls, tmp_path, monkeypatch, lacking):
    if lacking == "systemctl":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(systemd, "_RUNNING", tmp_path / "no")
    own = Manager("parts", True, tmp_path / "units")
    for act in (own.state, own.uninstall, lambda: own.install(own.unit(tmp_path / "a.yaml", [], None))):
        with pytest.raises(ServiceError, match="this system does not run systemd: start ssd-edge run --config FILE"):
            act()
    assert (calls(), own.path.exists()) == ([], False)


def test_root_runs_no_service_unasked(calls, tmp_path, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "root")
    of_system = Manager("parts", False, tmp_path)
    with pytest.raises(ServiceError, match="name its user with --run-as USER"):
        of_system.unit(tmp_path / "a.yaml", [], None)
    assert of_system.unit(tmp_path / "a.yaml", [], "root").user == "root"
    monkeypatch.setenv("SUDO_USER", "edge")
    assert of_system.unit(tmp_path / "a.yaml", [], None).user == "edge"


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a/b", "x" * 101])
def test_names_that_no_unit_has(name, tmp_path):
    with pytest.raises(ServiceError, match="a service's name has"):
        Manager(name, True, tmp_path)

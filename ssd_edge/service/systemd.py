"""Install, look at and remove a systemd unit."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssd_edge.errors import ServiceError
from ssd_edge.files import write_text_whole
from ssd_edge.service.unit import MARK, Unit, file_of

_RUNNING = Path("/run/systemd/system")  # exists where systemd runs: sd_booted(3)
_SHOWN = ("LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "NRestarts", "Result", "StatusText")


@dataclass(frozen=True)
class Manager:
    """The system's service manager, or a user's own.

    Attributes:
        name: name of the unit, without ``.service``.
        own: whether it is the user's own manager.
        folder: where its units lie.

    Raises:
        ServiceError: the name cannot be that of a unit.
    """

    name: str
    own: bool
    folder: Path

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", self.name):
            raise ServiceError(f"a service's name has letters, digits, _, . and -, but got {self.name!r}")

    @property
    def path(self) -> Path:
        """The unit's file."""
        return self.folder / f"{self.name}.service"

    @property
    def secrets(self) -> Path:
        """The file of environment variables that the unit reads."""
        base = Path.home() / ".config" if self.own else Path("/etc")
        return base / "ssd-edge" / f"{self.name}.env"

    def unit(self, file: Path, writes: Sequence[Path], run_as: str | None) -> Unit:
        """Make the unit for a service's file.

        Args:
            file: the service's file.
            writes: folders into which it writes.
            run_as: the user that it runs as; by default the one who called sudo.

        Raises:
            ServiceError: it is not known which user, or this program is not installed.
        """
        user = None if self.own else (run_as or _user_behind_sudo())
        return Unit(_program(), file.resolve(), writes, user, self.secrets)

    def install(self, unit: Unit) -> None:
        """Write the unit, and have it started now and at each start of the machine.

        Raises:
            ServiceError: it needs root, there is a unit of that name that ssd-edge did not write, or systemctl refuses.
        """
        self._may_change("install")
        self._refuse_others()
        try:
            write_text_whole(self.path, unit.text())
        except OSError as error:
            raise ServiceError(f"cannot write {self.path}: {error.strerror or error}") from None
        self.path.chmod(0o644)
        self._systemctl("daemon-reload")
        self._systemctl("enable", f"{self.name}.service")
        # Not waited for: a model may take minutes to load.
        self._systemctl("restart", "--no-block", f"{self.name}.service")

    def uninstall(self) -> None:
        """Stop the service and remove its unit.

        Raises:
            ServiceError: it needs root, there is no such unit, ssd-edge did not write it, or systemctl refuses.
        """
        self._may_change("uninstall")
        if not self.path.exists():
            raise ServiceError(f"there is no {self.path}: nothing to uninstall")
        self._refuse_others()
        self._systemctl("disable", "--now", f"{self.name}.service")
        self.path.unlink()
        self._systemctl("daemon-reload")

    def state(self) -> Mapping[str, str]:
        """Return what systemctl says of the unit, by its own names.

        Raises:
            ServiceError: there is no systemctl, or it refuses.
        """
        said = self._systemctl("show", f"{self.name}.service", "--property", ",".join(_SHOWN))
        pairs = (line.partition("=") for line in said.splitlines())
        return {key: value for key, _, value in pairs if key in _SHOWN}

    def file(self) -> Path | None:
        """Return the service's file that the unit names; None without a unit of ssd-edge's."""
        try:
            return file_of(self.path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            return None

    def _may_change(self, action: str) -> None:
        if shutil.which("systemctl") is None or not _RUNNING.is_dir():
            raise ServiceError(_NO_SYSTEMD)
        if not self.own and os.geteuid() != 0:
            raise ServiceError(
                f"a service of the system needs root: sudo {_program()} service {action} …, or add --user for one that "
                "runs as you"
            )

    def _refuse_others(self) -> None:
        try:
            text = self.path.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise ServiceError(f"cannot read {self.path}: {error.strerror or error}") from None
        if not text.startswith(MARK):
            raise ServiceError(f"{self.path} was not written by ssd-edge: remove it, or choose another --name")

    def _systemctl(self, *words: str) -> str:
        program = shutil.which("systemctl")
        if program is None or not _RUNNING.is_dir():
            raise ServiceError(_NO_SYSTEMD)
        command = [program, *(["--user"] if self.own else []), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, check=False)
        except subprocess.TimeoutExpired:
            raise ServiceError(f"systemctl {words[0]} gave no answer within 120 s") from None
        if done.returncode != 0:
            said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise ServiceError(f"systemctl {words[0]} failed: {said}")
        return done.stdout


_NO_SYSTEMD = (
    "this system does not run systemd: start ssd-edge run --config FILE by its own service manager; SIGTERM ends it, "
    "and SIGHUP has it read the file again"
)


def manager(name: str, own: bool) -> Manager:
    """Return the system's manager, or the user's own."""
    if own:
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return Manager(name, True, Path(config) / "systemd" / "user")
    return Manager(name, False, Path("/etc/systemd/system"))


def _program() -> Path:
    beside = Path(sys.executable).with_name("ssd-edge")
    found = beside if beside.exists() else Path(shutil.which("ssd-edge") or "")
    if found == Path():
        raise ServiceError(f"the program ssd-edge is not beside {sys.executable}: install it with pip install ssd-edge")
    return found.absolute()


def _user_behind_sudo() -> str:
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    if user == "root":
        raise ServiceError("a service should not run as root: name its user with --run-as USER (or --run-as root)")
    return user

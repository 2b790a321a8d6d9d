"""``Host``: the only access that probes have to a machine, so that tests can give them another one."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import IO, Any, TypeVar

from ssd_edge.errors import SsdEdgeError

PATIENCE = 2.0
"""Seconds that a command may take; for a child, seconds after its Python has started."""

START_UP = 30.0
"""Seconds that a child's Python may take to start; from a slow card or under emulation, one second is not enough."""

_CHILDREN = {"driver": "NVIDIA's driver", "v4l2": "a camera", "pyav": "PyAV", "opencv": "OpenCV"}
"""Name, for error sentences, of what each module of ``ssd_edge.machine.children`` asks."""

_LARGEST = 1 << 20  # bytes read of a file at most; files in /proc and /sys are far smaller

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class UnansweredError(SsdEdgeError):
    """A question to the machine got no answer; the sentence says why."""


class NotInstalledError(UnansweredError):
    """A command is not installed."""


@dataclass(frozen=True)
class Ran:
    """Result of a finished command.

    Attributes:
        code: exit code.
        out: stdout.
        err: stderr.
    """

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Space:
    """Space on the file system of a path, which need not exist yet.

    Attributes:
        total: size in bytes.
        free: bytes that this user may still use.
        writable: whether this user can create files there.
    """

    total: int
    free: int
    writable: bool


@dataclass(frozen=True)
class Host:
    """A machine, read-only.

    Attributes:
        root: root of the file system.
        system: ``Linux``, ``Darwin`` or ``Windows``.
        architecture: as ``platform.machine()``: ``x86_64``, ``aarch64``.
        environment: environment variables.
        folder: the working folder.
        home: the user's home folder.
        prefix: Python's prefix, which in a virtual environment is its folder.
        python: Python's version.
        threads: number of the processor's threads that this process may use.
        load: load average of the last minute; None if the system does not measure it.
        run: runs a command, for ``PATIENCE`` at most. Raises NotInstalledError, UnansweredError.
        ask: runs a module of ``ssd_edge.machine.children`` by name, and returns the JSON that it prints. Raises
            UnansweredError.
        start_up: returns the longest time in seconds that a child's Python took to start, or has been starting for.
        version: returns the version of a package; None if it is not installed.
        requirements: returns the requirements in ssd-edge's own metadata; none if it is not installed.
        has_module: tells whether a module could be imported, without importing it.
        space: returns the disk space at a path. Raises OSError.
    """

    root: Path
    system: str
    architecture: str
    environment: Mapping[str, str]
    folder: Path
    home: Path
    prefix: Path
    python: str
    threads: int
    load: float | None
    run: Callable[[tuple[str, ...]], Ran]
    ask: Callable[[str], Any]
    start_up: Callable[[], float]
    version: Callable[[str], str | None]
    requirements: Callable[[], Sequence[str]]
    has_module: Callable[[str], bool]
    space: Callable[[Path], Space]

    def path(self, name: str) -> Path:
        """Return the path of a file of the machine; ``name`` begins with /."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """Read a text file of /proc, /sys or /etc, and strip it; None if it cannot be read now.

        ``Path.read_text`` is not used because sensors that are switched off answer EAGAIN, on which Python's buffered
        files raise TypeError.
        """
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        content = b""
        try:
            descriptor = os.open(self.path(name), flags)
            try:
                while len(content) < _LARGEST and (part := os.read(descriptor, _LARGEST)):
                    content += part
            finally:
                os.close(descriptor)
        except OSError:
            return None
        return content.decode(errors="replace").strip("\0 \t\r\n")

    def number(self, name: str) -> int | None:
        """Read a file that holds one whole number; None for anything else."""
        with suppress(ValueError, TypeError):
            return int(self.read(name) or "")
        return None

    def has_content(self, name: str) -> bool:
        """Tell whether a file is there and not empty."""
        try:
            return self.path(name).stat().st_size > 0
        except OSError:
            return False

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """List the names in a folder, with 2 before 10; empty if it cannot be read."""
        try:
            names = [path.name for path in self.path(folder).glob(pattern)]
        except OSError:
            return []
        return sorted(names, key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]


def _home() -> Path:
    """Return the user's home folder; the root for a user without one, as in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def this_host() -> Host:
    """Return the machine on which this program runs; it asks each question only once and keeps the answer."""
    start_up = _StartUp()
    return Host(
        root=Path("/"),
        system=platform.system(),
        architecture=platform.machine(),
        environment=os.environ,
        folder=Path.cwd(),
        home=_home(),
        prefix=Path(sys.prefix),
        python=platform.python_version(),
        threads=usable_threads(),
        load=load(),
        run=_once(_run),
        ask=_once(partial(_ask, start_up)),
        start_up=start_up.seconds,
        version=package_version,
        requirements=_requirements,
        has_module=_has_module,
        space=_space,
    )


def usable_threads() -> int:
    """Count the processor's threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Return the load average of the last minute; None if the system does not measure it."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def package_version(package: str) -> str | None:
    """Return the version of a package without importing it; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> list[str]:
    try:
        return metadata.requires("ssd-edge") or []
    except metadata.PackageNotFoundError:
        return []


def _has_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _space(path: Path) -> Space:
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    usage = shutil.disk_usage(existing)
    return Space(usage.total, usage.free, os.access(existing, os.W_OK))


def _run(command: tuple[str, ...]) -> Ran:
    return _finished(command, {**os.environ, "LC_ALL": "C"}, command[0])


def _ask(start_up: _StartUp, child: str) -> Any:
    # A file in the user's working folder must not be imported instead of a library.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    command = (sys.executable, "-m", f"ssd_edge.machine.children.{child}")
    name = _CHILDREN.get(child, child)
    ran = _finished(command, environment, name, start_up)
    if ran.code < 0:
        raise UnansweredError(f"{name} crashed ({signal.strsignal(-ran.code)})")
    try:
        return json.loads(ran.out)
    except ValueError:
        last_line = (ran.err.strip().splitlines() or ["it said nothing"])[-1]
        raise UnansweredError(f"{name} failed: {last_line}") from None


class _StartUp:
    """Measures how long Python takes to start, see ``Host.start_up``."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._starting: list[float] = []
        self._longest = 0.0

    def seconds(self) -> float:
        """Return the longest time so far."""
        with self._lock:
            return max([self._longest, *(monotonic() - began for began in self._starting)])

    @contextmanager
    def of_one(self) -> Iterator[None]:
        """Time the start of one child, which lasts as long as the block."""
        began = monotonic()
        with self._lock:
            self._starting.append(began)
        try:
            yield
        finally:
            with self._lock:
                self._starting.remove(began)
                self._longest = max(self._longest, monotonic() - began)


class _Output(Thread):
    """Thread that reads a pipe to its end; ``began`` is set at the first byte, or at the end."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)  # a process that cannot be killed keeps its pipes open
        self.began = Event()
        self._pipe = pipe
        self._content = b""
        self.start()

    def run(self) -> None:
        """See ``Thread``."""
        with self._pipe:
            while part := os.read(self._pipe.fileno(), 1 << 16):
                self._content += part
                self.began.set()
        self.began.set()

    def text(self) -> str:
        """Return what was read so far."""
        return self._content.decode(errors="replace")


def _finished(
    command: Sequence[str], environment: Mapping[str, str], name: str, start_up: _StartUp | None = None
) -> Ran:
    """Run a command for ``PATIENCE`` at most; with ``start_up``, the time counts from the first byte it prints.

    Raises:
        NotInstalledError: there is no such command.
        UnansweredError: the command cannot be started, or takes too long.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C should reach only this program
        )
    except FileNotFoundError:
        raise NotInstalledError(f"{name} is not installed") from None
    except OSError as error:
        raise UnansweredError(f"{name} cannot be started: {error.strerror}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Output(process.stdout), _Output(process.stderr)
    late = f"{name} gave no answer within {PATIENCE:g} s"
    with start_up.of_one() if start_up else nullcontext():
        up = start_up is None or out.began.wait(START_UP)
    if not up:
        late = f"Python, which was to ask {name}, did not start within {START_UP:g} s"
    elif _ended(process, (out, err), PATIENCE):
        return Ran(process.returncode, out.text(), err.text())
    _kill(process)
    # A process that waits for a broken device cannot be killed, and is then left behind.
    _ended(process, (out, err), 0.1)
    raise UnansweredError(late)


def _ended(process: subprocess.Popen[bytes], outputs: Sequence[_Output], seconds: float) -> bool:
    """Wait for the end of a process and its outputs; return whether they ended in time."""
    end = monotonic() + seconds
    for output in outputs:
        output.join(max(0.0, end - monotonic()))
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, end - monotonic()))
    return process.returncode is not None and not any(output.is_alive() for output in outputs)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it has started, which might keep its pipes open."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _once(function: Callable[[_Key], _Value]) -> Callable[[_Key], _Value]:
    """Cache a function's answers and errors; concurrent calls with one argument wait for the first of them."""
    lock = Lock()
    answers: dict[_Key, Future[_Value]] = {}

    def cached(key: _Key) -> _Value:
        with lock:
            future, first = answers.get(key), False
            if future is None:
                future, first = answers.setdefault(key, Future()), True
        if first:
            try:
                future.set_result(function(key))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    return cached

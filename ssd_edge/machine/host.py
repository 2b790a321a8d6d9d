"""All that probes see of a machine, so that tests can hand them another one."""

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
"""Seconds that a command may take, and a child from when its Python is up."""

START_UP = 30.0
"""Seconds that a child's Python may take to start, which from a slow card or under emulation is no matter of one."""

_CHILDREN = {"driver": "NVIDIA's driver", "v4l2": "a camera", "pyav": "PyAV", "opencv": "OpenCV"}
"""What each of ``ssd_edge.machine.children`` asks."""

_LARGEST = 1 << 20  # bytes of a file that are read; those of /proc and /sys are far smaller

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class UnansweredError(SsdEdgeError):
    """A question to the machine had no answer: the sentence says why."""


class NotInstalledError(UnansweredError):
    """There is no such command."""


@dataclass(frozen=True)
class Ran:
    """What a command left.

    Attributes:
        code: its exit code.
        out: stdout.
        err: stderr.
    """

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Space:
    """The file system under a path, or where the path would be made.

    Attributes:
        total: bytes.
        free: bytes that this user may fill.
        writable: whether files can be made there.
    """

    total: int
    free: int
    writable: bool


@dataclass(frozen=True)
class Host:
    """A machine, read-only.

    Attributes:
        root: of its file system.
        system: ``Linux``, ``Darwin`` or ``Windows``.
        architecture: as ``platform.machine()``: ``x86_64``, ``aarch64``.
        environment: variables.
        folder: the working folder.
        home: the user's.
        prefix: of Python; that of a virtual environment where there is one.
        python: its version.
        threads: of the processor, those that this process may use.
        load: of the last minute; None where the system does not count it.
        run: a command to its end, for ``PATIENCE`` at most. Raises NotInstalledError, UnansweredError.
        ask: one of ``ssd_edge.machine.children`` by name: what it prints. Raises UnansweredError.
        start_up: seconds that Python takes to start: the longest of the children so far, those that now start included.
        version: of an installed package; None where it is not installed.
        requirements: of ssd-edge itself, as its metadata has them; none where it is not installed.
        has_module: whether a module could be imported, found out without importing it.
        space: of the disk under a path. Raises OSError.
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
        """Where a file of the machine lies; ``name`` begins with /."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """A text of /proc, /sys or /etc without blanks around it; None where it cannot be read now.

        Not by ``Path.read_text``: sensors that are switched off answer EAGAIN, which Python's buffered files take for
        something else and raise TypeError.
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
        """A file that holds one whole number; None for anything else."""
        with suppress(ValueError, TypeError):
            return int(self.read(name) or "")
        return None

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """What lies in a folder, 2 before 10; nothing where it cannot be read."""
        try:
            found = [path.name for path in self.path(folder).glob(pattern)]
        except OSError:
            return []
        return sorted(found, key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]


def this_host() -> Host:
    """The machine on which this runs; what it was asked once it is not asked again."""
    start_up = _StartUp()
    return Host(
        root=Path("/"),
        system=platform.system(),
        architecture=platform.machine(),
        environment=os.environ,
        folder=Path.cwd(),
        home=Path.home(),
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
    """Of the processor, those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Processes that wanted to run in the last minute, on average; None where the system does not count them."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def package_version(package: str) -> str | None:
    """Of an installed package, without importing it; None where it is not installed."""
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
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    usage = shutil.disk_usage(there)
    return Space(usage.total, usage.free, os.access(there, os.W_OK))


def _run(command: tuple[str, ...]) -> Ran:
    return _finished(command, {**os.environ, "LC_ALL": "C"}, command[0])


def _ask(start_up: _StartUp, child: str) -> Any:
    # A file in the folder where the user happens to be must not pass for a library.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    command = (sys.executable, "-m", f"ssd_edge.machine.children.{child}")
    name = _CHILDREN.get(child, child)
    ran = _finished(command, environment, name, start_up)
    if ran.code < 0:
        raise UnansweredError(f"{name} crashed ({signal.strsignal(-ran.code)})")
    try:
        return json.loads(ran.out)
    except ValueError:
        said = (ran.err.strip().splitlines() or ["it said nothing"])[-1]
        raise UnansweredError(f"{name} failed: {said}") from None


class _StartUp:
    """How long Python takes to start, see ``Host.start_up``."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: list[float] = []
        self._longest = 0.0

    def seconds(self) -> float:
        """The longest so far."""
        with self._lock:
            return max([self._longest, *(monotonic() - began for began in self._under_way)])

    @contextmanager
    def of_one(self) -> Iterator[None]:
        """While one starts."""
        began = monotonic()
        with self._lock:
            self._under_way.append(began)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.remove(began)
                self._longest = max(self._longest, monotonic() - began)


class _Output(Thread):
    """Reads a pipe to its end; ``began`` is set by the first byte, or the end."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)  # a process that may not even be killed holds its pipes open
        self.began = Event()
        self._pipe = pipe
        self._content = b""
        self.start()

    def run(self) -> None:
        """Read."""
        with self._pipe:
            while part := os.read(self._pipe.fileno(), 1 << 16):
                self._content += part
                self.began.set()
        self.began.set()

    def text(self) -> str:
        """What was read."""
        return self._content.decode(errors="replace")


def _finished(
    command: Sequence[str], environment: Mapping[str, str], name: str, start_up: _StartUp | None = None
) -> Ran:
    """Run a command to its end, for ``PATIENCE`` at most; if it is a child, counted from the first that it prints.

    Raises:
        NotInstalledError, UnansweredError.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the one who asked
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
    # One that waits for a broken device may not even be killed, and is left behind then.
    _ended(process, (out, err), 0.1)
    raise UnansweredError(late)


def _ended(process: subprocess.Popen[bytes], outputs: Sequence[_Output], seconds: float) -> bool:
    """Whether a process and its outputs come to their end in time."""
    end = monotonic() + seconds
    for output in outputs:
        output.join(max(0.0, end - monotonic()))
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, end - monotonic()))
    return process.returncode is not None and not any(output.is_alive() for output in outputs)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With what it has started, which may hold its pipes open."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _once(function: Callable[[_Key], _Value]) -> Callable[[_Key], _Value]:
    """The same function, called once for each argument; others who ask meanwhile wait for its answer, or its error."""
    lock = Lock()
    answers: dict[_Key, Future[_Value]] = {}

    def asked(key: _Key) -> _Value:
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

    return asked

"""Play the commands of a page on a recorded machine, in one folder, so that each finds what the earlier ones left."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rehearsal import system
from rehearsal.environments import CACHE, uv
from rehearsal.machines import RTX, Machine
from rehearsal.process import ROOT
from rehearsal.setting import Fault, Setting
from ssd_edge.machine.host import NotInstalledError

if TYPE_CHECKING:
    from ssd_edge.machine.host import Host

HERE = Path(__file__).resolve().parent
PATIENCE = 240.0
"""Seconds for one command."""
COMPILER = os.environ.get("CXX", "g++")
ON_PATH = ("lsmod",)
"""Commands that the program looks for on its PATH."""
SHORTER = {"selftest": ["--quick", "--only", "proof", "--only", "cpu", "--only", "kernels"]}
SHORTER["benchmark"] = ["--frames", "10", "--warmup", "1", "--rounds", "1"]
"""Options for ``Player.short``."""
_NOISE = re.compile(r"^\[[^\]]*\] \[TRT\].*\n?", re.MULTILINE)  # the real bindings', which users see too
_START = "import sys; sys.path.append({folder!r}); from rehearsal.process import main; main()"


class Ran(NamedTuple):
    """A command that was played.

    Attributes:
        how: ``run``, or ``answered`` by the recorded machine.
        code: exit code.
        out: what it printed, on stdout and then on stderr.
        unverified: what of it no record shows.
    """

    how: str
    code: int
    out: str
    unverified: str = ""


@dataclass
class Player:
    """A recorded machine with a user in front of it.

    Attributes:
        name: key of ``machines.MACHINES``.
        machine: the machine.
        folder: the working folder; parts.onnx, parts.int8.onnx and photos/ lie in it.
        system_python: the Python that the system has.
        beside: folder of what the emulations need: pytest, and TensorRT's real bindings.
        libraries: folder of the libraries that the bindings load.
        given: an environment in place of the one that the page makes, whose pip lines are then not run.
        fault: what is planted.
        sees_system: whether the environment sees the system's packages; the venv line decides it.
        short: whether to measure shortly, by options that are added to the page's commands.
        system_site: folders of further packages of the system, such as its OpenCV.
    """

    name: str
    machine: Machine
    folder: Path
    system_python: Path
    beside: Path
    libraries: Path | None = None
    given: Path | None = None
    fault: Fault = field(default_factory=Fault)
    sees_system: bool = False
    short: bool = False
    system_site: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        root = Path(tempfile.mkdtemp(dir=self.folder, prefix=".machine."))
        self.host = _closed(self.machine, root)
        self.bin = root / ".bin"
        self.bin.mkdir()
        for name in {*ON_PATH} - {*self.fault.missing}:
            with suppress(NotInstalledError):
                out = self.host.run((name,)).out
                (self.bin / name).write_text(f"#!/bin/sh\ncat <<'END'\n{out}END\n")
                (self.bin / name).chmod(0o755)
        for name in (COMPILER, "as", "ld"):  # the emulated driver is compiled by the first process that needs it
            if (found := shutil.which(name)) is not None:
                (self.bin / Path(name).name).symlink_to(found)
        if self.given is not None:
            self.sees_system = True

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self.given or self.folder / ".venv" / "bin" / "python"

    def with_fault(self, fault: Fault, sees_system: bool | None = None) -> Player:
        """Return the same machine and folder with something planted."""
        seen = self.sees_system if sees_system is None else sees_system
        planted = replace(self, fault=fault)
        planted.sees_system = seen
        return planted

    def play(self, command: str) -> Ran:
        """Play one command, without ``&&``."""
        answered = system.answer(command, self.machine, self.host)
        if answered is not None:
            return Ran("answered", answered.code, answered.out, answered.unverified)
        words = shlex.split(command)
        if words[0] == "ssd-edge":
            return self.program(words[1:] + (SHORTER.get(words[1], []) if self.short else []))
        if words[:3] == ["python3", "-m", "venv"]:
            return self._venv(words[3:])
        if words[0] == ".":
            return self._activate(command)
        if words[0] == "pip":
            return self._pip(words[1:])
        return Ran("run", 127, f"{words[0]}: command not found")

    def program(self, words: Sequence[str]) -> Ran:
        """Run ssd-edge in the environment, as on the machine."""
        photos = str(self.folder / "photos")
        setting = Setting(self.name, str(self.folder), photos, str(self.beside), self.sees_system, self.fault)
        code = _START.format(folder=str(HERE.parent))
        return self._run([str(self.python), "-c", code, *words], {**setting.variables(), **self._paths()})

    def _paths(self) -> dict[str, str]:
        """Variables by which the environment finds the imitated libraries."""
        rtx = self.machine.page == RTX
        seen = [HERE / "rtx"] if rtx else [HERE / "jetpack", *self.system_site] if self.sees_system else []
        variables = {"PYTHONPATH": os.pathsep.join(map(str, seen))}
        if self.libraries is not None:
            variables["LD_LIBRARY_PATH"] = str(self.libraries)
        return variables

    def _run(self, command: list[str], variables: dict[str, str]) -> Ran:
        environment = {
            "PATH": os.pathsep.join((str(self.bin), str(self.python.parent))),
            "HOME": os.environ.get("HOME", "/"),
            "CXX": COMPILER,
            "XDG_CACHE_HOME": str(ROOT / "build" / "cache"),
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
            **variables,
        }
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return Ran("run", 124, f"it did not end within {PATIENCE:g} s")
        return Ran("run", done.returncode, done.stdout + _NOISE.sub("", done.stderr))

    def _venv(self, options: list[str]) -> Ran:
        if self.given is not None:
            return Ran("not run", 0, "")
        ran = self._run([str(self.system_python), "-m", "venv", *options], {})
        text = self.python.parents[1].joinpath("pyvenv.cfg").read_text() if ran.code == 0 else ""
        self.sees_system = "include-system-site-packages = true" in text
        return ran

    def _activate(self, command: str) -> Ran:
        if self.given is not None:
            return Ran("not run", 0, "")
        ran = self._run(["/bin/sh", "-c", f"{command} && command -v python3"], {"PATH": "/usr/bin:/bin"})
        here = str(self.python.with_name("python3"))
        return ran if ran.out.strip() == here else ran._replace(code=ran.code or 1)

    def _pip(self, words: list[str]) -> Ran:
        """Run pip's line by uv, which does the same in a tenth of the time."""
        if self.given is not None:
            return Ran("not run", 0, "")
        words = [word.replace("/path/to/ssd-edge", str(ROOT)) for word in words]
        options = ["--quiet", "--no-config", "--cache-dir", str(CACHE), "--python", str(self.python)]
        return self._run([uv(), "pip", *words, *options], dict(os.environ))


def _closed(machine: Machine, root: Path) -> Host:
    """Make a machine, and close the files that keep its sensors silent: only the program reads those."""
    from tests.machine.machines import HELD

    before = len(HELD)
    host = machine.host(root)
    for descriptor in HELD[before:]:
        os.close(descriptor)
    del HELD[before:]
    return host

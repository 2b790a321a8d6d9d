"""``make test-pythons``: the quick tests on each supported Python that this machine has: ``python -m tests.pythons``.

Each gets an environment of its own: the base install, the extras calibrate, cuda and dev, and NVRTC, in the versions of
constraints.txt. PyTorch would be gigabytes for each: tests that need it are skipped. So are those in tests/tensorrt,
whose bindings are for one Python. A Python is looked for on PATH and among those of pyenv; one that is missing is
named, and is no failure.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
"""The Pythons that are supported."""

DEBIAN = "/usr/lib/python3/dist-packages"
"""Where Debian and Ubuntu keep the packages of the system's Python."""

SOURCE = ("ssd_edge", "calibration", "engines", "cli", "benchmarks", "docs", "tests")


def candidates(version: str) -> Iterator[str]:
    """Where a Python may be: on PATH, then pyenv's, the newest release first."""
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    releases = (pyenv / "versions").glob(f"{version}.*/bin/python{version}")
    yield from map(str, sorted(releases, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parts[-3])])[::-1])


def interpreter(version: str) -> str | None:
    """A Python of this version that starts; None if there is none. What pyenv puts on PATH need not start."""
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates(version):
        done = subprocess.run([candidate, "-c", program], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return None


def environment(python: str, folder: Path) -> Path:
    """The Python of an environment in a folder, made where it is absent or older than what it is to hold.

    Raises:
        subprocess.CalledProcessError: a package could not be installed.
    """
    made, inside = folder / ".installed", folder / "bin" / "python"
    wanted = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "constraints.txt"))
    if not made.is_file() or made.stat().st_mtime < wanted:
        print(f"installing into {folder}: a minute or two", flush=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        install = [str(inside), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*install, "-e", ".[calibrate,cuda,dev]", "nvidia-cuda-nvrtc"], cwd=ROOT, check=True)
        made.touch()
    return inside


def run(python: Path, tests: list[str], plugin: str = "tests.without_torch") -> bool:
    """Whether all source compiles and the quick tests pass there; a plugin of pytest skips what cannot run."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    quick = ["-m", "not slow and not sanitize", "--ignore", "tests/tensorrt"]
    commands = (
        ["-m", "compileall", "-q", *SOURCE],
        ["-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", *quick, *tests],
    )
    return all(
        subprocess.run([str(python), *command], cwd=ROOT, env=variables, check=False).returncode == 0
        for command in commands
    )


def main() -> int:
    """Run the tests on each Python and print which passed, which failed and which are missing; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help="these tests only")
    parser.add_argument("--only", choices=VERSIONS, action="append", help="this Python; may be repeated")
    parser.add_argument("--into", type=Path, default=ROOT / ".venv", help="folder of the environments")
    arguments = parser.parse_args()
    results = {}
    for version in arguments.only or VERSIONS:
        python = interpreter(version)
        if python is None:
            results[version] = "missing: neither on PATH nor among pyenv's"
            continue
        print(f"Python {version}: {python}", flush=True)
        try:
            passed = run(environment(python, arguments.into / f"python{version}"), arguments.tests)
            results[version] = "passed" if passed else "FAILED"
        except subprocess.CalledProcessError as error:
            results[version] = f"FAILED: could not be installed ({' '.join(error.cmd[1:4])})"
    print("\n".join(f"Python {version}: {result}" for version, result in results.items()))
    return int(any(result.startswith("FAILED") for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())

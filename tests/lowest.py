"""``make test-lowest``: the quick tests with the lowest versions of the base install: ``python -m tests.lowest``.

uv takes the lowest version that pyproject.toml allows of each direct dependency, and the newest of what those need.
They get an environment of their own, with the oldest Python that is supported. The extra calibrate is installed too, in
its lowest versions: tests make their models with ONNX. Tests that need PyTorch or what else is absent are skipped.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.pythons import ROOT, VERSIONS, interpreter, run

OLDEST = VERSIONS[0]
EXTRA = "calibrate"
TOOLS = ("pytest", "hypothesis")
"""What the tests need beside it, in the newest versions that fit."""
PINNED = ("cuda-bindings", "nvidia-cuda-nvrtc")
"""What they need in the version of constraints.txt."""


def find_uv() -> str | None:
    """Return the path of uv, which ``make`` installs; None if there is none."""
    return shutil.which("uv", path=str(ROOT / ".venv" / "uv" / "bin")) or shutil.which("uv")


def lowest(uv: str, project: Path = ROOT / "pyproject.toml") -> list[str]:
    """Return the lowest versions of the base install and the extra, such as ``numpy==1.26.0``, with what they need.

    Raises:
        subprocess.CalledProcessError: they cannot be installed together.
    """
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config", "--no-python-downloads"]
    command += ["--resolution", "lowest-direct", "--python-version", OLDEST, "--only-binary", ":all:", "--extra", EXTRA]
    return subprocess.run([*command, str(project)], capture_output=True, text=True, check=True).stdout.splitlines()


def environment(
    uv: str, python: str, folder: Path, choose: Callable[[], Sequence[str]], beside: Sequence[str] = TOOLS
) -> Path:
    """Return the Python of an environment, which is made if it is absent or older than pyproject.toml.

    Args:
        uv: path of uv.
        python: the Python to make it of.
        folder: where to make it.
        choose: gives the packages to install, such as ``numpy==1.26.0``; they are listed in its file ``.installed``.
        beside: what else to install.

    Raises:
        subprocess.CalledProcessError: a package could not be installed.
    """
    made, inside = folder / ".installed", folder / "bin" / "python"
    if not made.is_file() or made.stat().st_mtime < (ROOT / "pyproject.toml").stat().st_mtime:
        packages = choose()
        print(f"installing into {folder}: a minute or two", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--no-config", "--python", str(inside)]
        subprocess.run([*install, *packages, *beside], check=True)
        subprocess.run([*install, "--no-deps", "--editable", str(ROOT)], check=True)
        made.write_text("\n".join(packages))
    return inside


def pinned() -> list[str]:
    """Return what ``constraints.txt`` asks for of ``PINNED``."""
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in constraints if line.partition("==")[0] in PINNED]


def direct(packages: list[str], project: Path = ROOT / "pyproject.toml") -> list[str]:
    """Return those packages that pyproject.toml names itself."""
    text = project.read_text()
    (base,) = re.findall(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    (extra,) = re.findall(rf"^{EXTRA} = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    names = set(re.findall(r'"([\w-]+)', base + extra))
    return [package for package in packages if package.partition("==")[0] in names]


def main() -> int:
    """Run the tests, and print the versions that they ran with; exit code 1 if one failed, 2 if none could run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help="these tests only")
    parser.add_argument("--into", type=Path, default=ROOT / ".venv" / f"lowest-{OLDEST}", help="folder to install into")
    arguments = parser.parse_args()
    uv, python = find_uv(), interpreter(OLDEST)
    if uv is None or python is None:
        print(f"missing: {'uv, which make installs into .venv/uv' if uv is None else f'Python {OLDEST}'}")
        return 2
    try:
        inside = environment(uv, python, arguments.into, lambda: lowest(uv), (*TOOLS, *pinned()))
    except subprocess.CalledProcessError as error:
        print(f"the lowest versions could not be installed ({' '.join(error.cmd[1:3])})")
        print(error.stderr or "", end="", file=sys.stderr)
        return 1
    passed = run(inside, arguments.tests, plugin="tests.without_extras")
    versions = ", ".join(direct((arguments.into / ".installed").read_text().split()))
    print(f"lowest versions: {'passed' if passed else 'FAILED'}: Python {OLDEST}, {versions}")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())

"""A fresh install of every extra resolves on each Python and processor; uv resolves for other machines.

It reads each package's metadata from the index, and installs nothing. All extras are resolved together: if they resolve
together, each also resolves alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers import ROOT
from tests.pythons import VERSIONS

pytestmark = pytest.mark.slow

# NVIDIA's packages, which fetch their libraries when they are installed; all others must have a wheel.
SOURCES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu13-libs", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13")
UNREACHABLE = r"Failed to fetch|error sending request|dns error|[Cc]onnect"


class Target(NamedTuple):
    """A machine: its Python, its processor, and whether versions are constrained by constraints.txt."""

    python: str
    machine: str
    pinned: bool


TARGETS = [Target(*each) for each in product(VERSIONS, ("x86_64", "aarch64"), (False, True))]


@pytest.fixture(scope="module")
def uv() -> str:
    executable = shutil.which("uv", path=str(ROOT / ".venv" / "uv" / "bin")) or shutil.which("uv")
    if executable is None:
        pytest.skip("uv is not installed: make test installs it into .venv/uv")
    return executable


def resolve(uv: str, target: Target, project: Path = ROOT / "pyproject.toml") -> subprocess.CompletedProcess[str]:
    """Resolve an install with all extras on a system with glibc 2.35, as Ubuntu 22.04 and JetPack 6 have."""
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config", "--all-extras"]
    command += ["--python", sys.executable, "--no-python-downloads"]  # builds source packages, whatever the target is
    command += ["--cache-dir", str(ROOT / "build" / "cache" / "uv"), "--only-binary", ":all:"]
    command += [word for package in SOURCES for word in ("--no-binary", package)]
    command += ["--python-version", target.python, "--python-platform", f"{target.machine}-manylinux_2_35"]
    command += ["--constraint", str(ROOT / "constraints.txt")] if target.pinned else []
    done = subprocess.run([*command, str(project)], capture_output=True, text=True, check=False)
    if done.returncode and re.search(UNREACHABLE, done.stderr):
        pytest.skip(f"no package index is reachable: {done.stderr.strip().splitlines()[0]}")
    return done


@pytest.fixture(scope="module")
def resolved(uv):
    """Resolve all targets at once, since most of the time is waiting for the index."""
    resolve(uv, TARGETS[0])  # skips if the index cannot be reached
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(TARGETS, pool.map(lambda target: resolve(uv, target), TARGETS), strict=True))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: "-".join(map(str, target)))
def test_all_extras_can_be_installed(resolved, target):
    done = resolved[target]
    assert done.returncode == 0, done.stderr
    packages = set(re.findall(r"^([\w.-]+)==", done.stdout, re.MULTILINE))
    cuda = {"x86_64": "cu12", "aarch64": "cu13"}[target.machine]
    assert {name for name in packages if re.fullmatch(r"tensorrt-rtx-cu\d+", name)} == {f"tensorrt-rtx-{cuda}"}
    assert {"openvino", "onnxruntime", "torch", "cuda-bindings", "tensorrt-cu13", "pytest"} <= packages


def test_a_package_without_wheels_for_a_processor_is_seen(uv, tmp_path):
    text = (ROOT / "pyproject.toml").read_text()
    faulty = text.replace(" and platform_machine != 'aarch64'", "")
    assert faulty != text
    (tmp_path / "pyproject.toml").write_text(faulty)
    done = resolve(uv, Target("3.12", "aarch64", pinned=True), tmp_path / "pyproject.toml")
    assert done.returncode == 1
    assert "tensorrt-rtx-cu12" in done.stderr

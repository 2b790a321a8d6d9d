"""The C++ plugin library: how it is found and checked, and how CMake builds it or says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssd_edge.engines.kernels.launch import source_digest
from ssd_edge.engines.plugins import forms, library_plugin
from ssd_edge.engines.plugins.forms import make_known
from ssd_edge.engines.plugins.library_plugin import NAME, PROJECT, VARIABLE
from ssd_edge.errors import BackendError
from tests.helpers import COMPILER
from tests.tensorrt.native import headers, small_tensorrt

TENSORRT = SimpleNamespace(__version__="10.3.0")


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_known", {})
    monkeypatch.setattr(library_plugin, "_loaded", [])
    monkeypatch.delenv(VARIABLE, raising=False)


def library(path: Path, code: str) -> Path:
    """Build a library whose functions are those of ``code``."""
    if shutil.which(COMPILER) is None:
        pytest.skip(f"no {COMPILER} for a library")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=code, text=True, check=True)
    return path


def said(kernels: str, major: int) -> str:
    return (
        f'const char *ssd_edge_plugin_kernels(void) {{ return "{kernels}"; }}\n'
        f"int ssd_edge_plugin_tensorrt(void) {{ return {major}; }}"
    )


def test_beside_the_bundle(tmp_path: Path) -> None:
    library(tmp_path / NAME, said(source_digest(), 10))
    make_known("library", b"", TENSORRT, tmp_path)
    make_known("library", b"", TENSORRT, tmp_path)
    assert len(library_plugin._loaded) == 1


def test_by_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(library(tmp_path / "mine.so", said(source_digest(), 10))))
    make_known("library", b"", TENSORRT)
    assert library_plugin._loaded[0]._name == str(tmp_path / "mine.so")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (said("0" * 64, 10), "was built from other kernels than this release"),
        (said(source_digest(), 11), "was built for TensorRT 11, and 10 is running"),
        ("int nothing;", "is no plugin library of ssd-edge"),
        ("int absent(void); int here(void) { return absent(); } int (*at)(void) = absent;", "cannot be loaded"),
    ],
    ids=["kernels", "tensorrt", "other", "broken"],
)
def test_another_library(tmp_path: Path, code: str, sentence: str) -> None:
    library(tmp_path / NAME, code)
    with pytest.raises(BackendError, match=f"{sentence}.*: cmake -S {PROJECT} -B build && cmake --build build"):
        make_known("library", b"", TENSORRT, tmp_path)
    assert forms._known == {}


def test_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match=f"needs {NAME}, which cannot be loaded.*: cmake -S "):
        make_known("library", b"", TENSORRT, tmp_path)
    monkeypatch.setenv(VARIABLE, "/nowhere/at/all.so")
    with pytest.raises(BackendError, match=f"{VARIABLE} is /nowhere/at/all.so, which is no file: cmake -S "):
        make_known("library", b"", TENSORRT, tmp_path)


def cmake(folder: Path, *options: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("cmake")
    if program is None:
        pytest.skip("cmake is not installed")
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    if path:
        environment.pop("CUDACXX", None)
    command = [program, *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_cmake_says_that_tensorrt_is_missing(tmp_path: Path) -> None:
    nowhere = "-DCMAKE_FIND_ROOT_PATH=/nowhere", "-DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY"
    done = cmake(tmp_path, "-S", str(PROJECT), "-B", "build", *nowhere)
    assert done.returncode == 1
    assert "NvInfer.h was not found: sudo apt install libnvinfer-dev" in " ".join(done.stderr.split())


def root(release: str, folder: Path) -> Path:
    """Make a folder laid out like NVIDIA's archive."""
    (folder / "lib").mkdir()
    (folder / "include").symlink_to(headers(release))
    nvinfer = small_tensorrt(release)
    (folder / "lib" / "libnvinfer.so").symlink_to(nvinfer)
    return folder


def test_cmake_says_that_cuda_is_missing(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in {COMPILER, "g++", "gcc", "c++", "cc", "make", "ld", "as", "ar", "ranlib", "nm", "uname"}:
        if path := shutil.which(name):
            (tools / Path(name).name).symlink_to(path)
    given = f"-DTENSORRT_ROOT={root('10.3', tmp_path)}", "-DCMAKE_CUDA_COMPILER=NOTFOUND"
    done = cmake(tmp_path, "-S", str(PROJECT), "-B", "build", *given, path=str(tools))
    assert done.returncode == 1
    assert "nvcc was not found: sudo apt install cuda-toolkit" in " ".join(done.stderr.split())


def test_cmake_builds_it(tmp_path: Path) -> None:
    """Built with nvcc for one GPU; the library tells what it was built from, and exports nothing else."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")
    given = f"-DTENSORRT_ROOT={root('10.3', tmp_path)}", "-DCMAKE_CUDA_ARCHITECTURES=87", "-DCMAKE_BUILD_TYPE=Release"
    configured = cmake(tmp_path, "-S", str(PROJECT), "-B", "build", *given)
    assert configured.returncode == 0, configured.stderr
    built = cmake(tmp_path, "--build", "build")
    assert built.returncode == 0, built.stdout + built.stderr
    assert "warning" not in built.stdout + built.stderr
    names = subprocess.run(
        ["nm", "-D", "--defined-only", tmp_path / "build" / NAME], capture_output=True, text=True, check=True
    ).stdout
    assert sorted(line.split()[2] for line in names.splitlines() if " T " in line) == [
        "ssd_edge_plugin_kernels",
        "ssd_edge_plugin_tensorrt",
    ]
    assert source_digest().encode() in (tmp_path / "build" / NAME).read_bytes()

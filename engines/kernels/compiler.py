"""Compile the kernels for every supported GPU on any machine, and choose the image that suits a device.

An architecture is a compute capability as the compiler writes it: ``sm_87`` is 8.7. For each, NVRTC makes a cubin,
which runs on that compute capability only, and PTX, which a driver compiles for it or any later one. A driver takes
neither from a CUDA release newer than its own, so JetPack 6 needs those of CUDA 12.6: see ``JETPACK_6``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ssd_edge
from ssd_edge.engines.kernels import nvrtc
from ssd_edge.engines.kernels.launch import SOURCE
from ssd_edge.errors import BackendError, BundleCompatibilityError, MissingDependencyError
from ssd_edge.files import written_whole

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_110", "sm_120")
"""Architectures that CUDA 13 compiles for: Turing, Ampere, Orin, Ada, Hopper, Thor, Blackwell."""

JETPACK_6 = ("cuda-bindings==12.8.0", "nvidia-cuda-nvrtc-cu12==12.6.85")
"""Packages of a toolchain for JetPack 6, whose drivers support CUDA 12.6: ``pip install --no-deps --target FOLDER``."""

# -fmad=false: a fused multiply-add rounds once, and results would differ from the reference's.
OPTIONS = ("--std=c++17", "-fmad=false", "--ptxas-options=-v")


@dataclass(frozen=True)
class KernelReport:
    """Resources of one kernel, as the compiler reports them.

    Attributes:
        name: the kernel's name.
        registers: 32-bit registers per thread.
        shared: bytes of shared memory per block.
        stack: bytes of stack frame per thread.
        spills: bytes stored and loaded per thread because registers ran out.
    """

    name: str
    registers: int
    shared: int
    stack: int
    spills: int


@dataclass(frozen=True)
class Image:
    """An image that a driver can load, described by its file's name: ``kernels.sm_87.cuda12.6.cubin``.

    Attributes:
        architecture: the architecture that it was compiled for.
        cuda: CUDA release of the compiler, ``(12, 6)``.
        kind: ``cubin`` or ``ptx``.
    """

    architecture: str
    cuda: tuple[int, int]
    kind: str

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Compute capability of the architecture: ``sm_120`` is (12, 0)."""
        major, minor = divmod(int(self.architecture.removeprefix("sm_")), 10)
        return major, minor

    @property
    def file_name(self) -> str:
        """Name of the image's file, from which ``of_file`` recovers the image."""
        return f"kernels.{self.architecture}.cuda{self.cuda[0]}.{self.cuda[1]}.{self.kind}"

    @staticmethod
    def of_file(name: str) -> Image | None:
        """Parse a file's name; None if it is not the name of an image."""
        match = re.fullmatch(r"kernels\.(sm_\d+)\.cuda(\d+)\.(\d+)\.(cubin|ptx)", name)
        return Image(match[1], (int(match[2]), int(match[3])), match[4]) if match else None

    @staticmethod
    def among(names: Iterable[str]) -> list[Image]:
        """Find the images among a plan's files."""
        return [image for name in names if (image := Image.of_file(name)) is not None]


@dataclass(frozen=True)
class CompiledKernels:
    """Result of compiling one source for one architecture.

    Attributes:
        images: a cubin and PTX (its text, with one NUL at the end).
        reports: one report per kernel, in the order of their names.
    """

    images: dict[Image, bytes]
    reports: tuple[KernelReport, ...]


def compile_kernels(architecture: str, toolchain: Path | None = None, source: Path = SOURCE) -> CompiledKernels:
    """Compile kernels, or take the same compiler's result for the same source from the cache.

    Args:
        architecture: for example ``sm_87``.
        toolchain: a folder made as for ``JETPACK_6``; None for the installed compiler.
        source: a CUDA C++ file that includes no other.

    Raises:
        MissingDependencyError: NVRTC is not installed.
        BackendError: NVRTC does not know the architecture, or refused the source.
    """
    compiler = _compiler_in(toolchain)
    cuda = compiler["version"][0], compiler["version"][1]
    known = [f"sm_{number}" for number in compiler["architectures"]]
    if architecture not in known:
        raise BackendError(f"NVRTC {cuda[0]}.{cuda[1]} does not know {architecture}; it knows {', '.join(known)}")
    options = [f"--gpu-architecture={architecture}", *OPTIONS]
    request = {"source": source.read_text(), "name": source.name, "options": options}

    cached = _cache_folder() / f"{_digest({**request, 'version': cuda})}.json"
    answer = _from_cache(cached)
    if answer is None:
        answer = _ask(request, toolchain)
        if "cubin" not in answer:
            raise BackendError(f"NVRTC {cuda[0]}.{cuda[1]} refused {source.name}: {_first_error(answer['log'])}")
        _into_cache(cached, answer)
    images = {Image(architecture, cuda, kind): base64.b64decode(answer[kind]) for kind in ("cubin", "ptx")}
    return CompiledKernels(images, read_reports(answer["log"]))


def choose_image(images: Iterable[Image], compute_capability: tuple[int, int], cuda: tuple[int, int]) -> Image:
    """Choose the image for a device: a cubin for it, else the PTX of the nearest lower compute capability.

    A driver takes a cubin of its major CUDA release or an older one, and PTX of its release or an older one; of several
    that it takes, the one by the newest compiler is chosen. https://docs.nvidia.com/deploy/cuda-compatibility/

    Args:
        images: the images to choose from.
        compute_capability: compute capability of the device, (8, 7).
        cuda: latest CUDA release that the driver supports, (12, 6).

    Raises:
        BundleCompatibilityError: none of the images suits.
    """
    images = list(images)
    cubins = [i for i in images if i.kind == "cubin" and i.compute_capability == compute_capability]
    ptxs = [i for i in images if i.kind == "ptx" and i.compute_capability <= compute_capability]
    suitable = [i for i in cubins if i.cuda[0] <= cuda[0]] or [i for i in ptxs if i.cuda <= cuda]
    if suitable:
        return max(suitable, key=lambda image: (image.compute_capability, image.cuda))
    device = f"compute capability {compute_capability[0]}.{compute_capability[1]}"
    if cubins or ptxs:
        oldest = min(image.cuda for image in (*cubins, *ptxs))
        raise BundleCompatibilityError(
            f"the kernels for {device} were compiled by CUDA {oldest[0]}.{oldest[1]}, and this driver knows no release "
            f"after {cuda[0]}.{cuda[1]}: install a newer driver, or compile them by CUDA {cuda[0]}.{cuda[1]}"
        )
    present = sorted({image.architecture for image in images}, key=lambda name: int(name[3:]))
    raise BundleCompatibilityError(f"no kernels for {device} or below: there are {', '.join(present) or 'none'}")


def read_reports(log: str) -> tuple[KernelReport, ...]:
    """Parse the reports in a log of ``ptxas -v``, sorted by the kernels' names.

    Raises:
        BackendError: the log holds no reports.
    """
    reports = []
    for part in re.split(r"Compiling entry function ", log)[1:]:
        name = re.match(r"'(\w+)'", part)
        used = re.search(r"Used (\d+) registers", part)
        if name is None or used is None:
            raise BackendError(f"the compiler's report has an unknown form: {part.splitlines()[0]}")
        reports.append(
            KernelReport(
                name[1],
                registers=int(used[1]),
                shared=_bytes(part, "smem"),
                stack=_bytes(part, "stack frame"),
                spills=_bytes(part, "spill stores") + _bytes(part, "spill loads"),
            )
        )
    if not reports:
        raise BackendError("the compiler reported no kernels")
    return tuple(sorted(reports, key=lambda report: report.name))


def _bytes(report: str, what: str) -> int:
    match = re.search(rf"(\d+) bytes {what}", report)
    return int(match[1]) if match else 0


def _first_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["it gave no reason"]
    return next((line for line in lines if "error" in line), lines[0])


# The compiler: the installed one in this process, or another toolchain's in a child process.


@cache
def _compiler_in(toolchain: Path | None) -> dict[str, Any]:
    if toolchain is not None and not toolchain.is_dir():
        raise _no_toolchain(toolchain, "there is no such folder")
    compiler = _ask({}, toolchain)
    if "missing" in compiler:
        if toolchain is not None:
            raise _no_toolchain(toolchain, compiler["missing"])
        raise MissingDependencyError("NVRTC", "rtx", "compiling CUDA kernels")
    if toolchain is not None and not Path(compiler["bindings"]).is_relative_to(toolchain.resolve()):
        raise _no_toolchain(toolchain, "cuda-bindings is not in it")
    return compiler


def _no_toolchain(toolchain: Path, reason: str) -> BackendError:
    command = f"pip install --no-deps --target {toolchain} {' '.join(JETPACK_6)}"
    return BackendError(f"{toolchain} holds no CUDA toolchain ({reason}); one for JetPack 6: {command}")


def _ask(request: dict[str, Any], toolchain: Path | None) -> dict[str, Any]:
    if toolchain is None:
        return nvrtc.answer(request)
    here = Path(ssd_edge.__file__).resolve().parents[1]
    path = os.pathsep.join((str(toolchain.resolve()), str(here)))
    child = subprocess.run(
        [sys.executable, "-m", nvrtc.__name__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        cwd=toolchain,  # with -m the current folder comes first on the path, before PYTHONPATH
        env={**os.environ, "PYTHONPATH": path},
    )
    if child.returncode:
        raise BackendError(f"the compiler in {toolchain} failed: {(child.stderr.splitlines() or ['no reason'])[-1]}")
    answer: dict[str, Any] = json.loads(child.stdout)
    return answer


# The cache: one file per answer, whose first line is the SHA-256 of the rest.


def _cache_folder() -> Path:
    """Folder ``ssd-edge/kernels`` in the user's caches: ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssd-edge" / "kernels"


def _digest(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _from_cache(path: Path) -> dict[str, Any] | None:
    """Read an answer from the cache; None if the file is missing or damaged."""
    try:
        checksum, _, text = path.read_text().partition("\n")
        if hashlib.sha256(text.encode()).hexdigest() != checksum:
            return None
        answer: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return None
    return answer


def _into_cache(path: Path, answer: dict[str, Any]) -> None:
    text = json.dumps(answer)
    try:
        with written_whole(path) as partial:
            partial.write_text(hashlib.sha256(text.encode()).hexdigest() + "\n" + text)
    except OSError:
        pass  # without a writable cache the next call compiles again, for about a second

"""The kernels compiled for every GPU they are meant for, on any machine, and the image that suits a device.

An architecture is a compute capability as the compiler writes it: ``sm_87`` is 8.7. For each, NVRTC makes a cubin,
which runs on that compute capability alone, and PTX, which a driver compiles for it or any later one. A driver takes
neither from a CUDA release that it does not know, so that JetPack 6 needs those of CUDA 12.6: see ``JETPACK_6``.
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
"""What CUDA 13 compiles for: Turing, Ampere, Orin, Ada, Hopper, Thor, Blackwell."""

JETPACK_6 = ("cuda-bindings==12.8.0", "nvidia-cuda-nvrtc-cu12==12.6.85")
"""A toolchain for JetPack 6, whose drivers know CUDA 12.6: ``pip install --no-deps --target FOLDER`` these."""

# A multiplication and an addition contracted into one rounding would tell the GPU's results from the reference's.
OPTIONS = ("--std=c++17", "-fmad=false", "--ptxas-options=-v")


@dataclass(frozen=True)
class KernelReport:
    """What one kernel takes, as the compiler reports it.

    Attributes:
        name: of the kernel.
        registers: of 32 bits, per thread.
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
    """What a driver can load, known by its file's name: ``kernels.sm_87.cuda12.6.cubin``.

    Attributes:
        architecture: compiled for.
        cuda: release of the compiler, ``(12, 6)``.
        kind: ``cubin`` or ``ptx``.
    """

    architecture: str
    cuda: tuple[int, int]
    kind: str

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Of the architecture: ``sm_120`` is (12, 0)."""
        major, minor = divmod(int(self.architecture.removeprefix("sm_")), 10)
        return major, minor

    @property
    def file_name(self) -> str:
        """Says all that ``of_file`` has to know."""
        return f"kernels.{self.architecture}.cuda{self.cuda[0]}.{self.cuda[1]}.{self.kind}"

    @staticmethod
    def of_file(name: str) -> Image | None:
        """The image that a file holds; None for another file."""
        match = re.fullmatch(r"kernels\.(sm_\d+)\.cuda(\d+)\.(\d+)\.(cubin|ptx)", name)
        return Image(match[1], (int(match[2]), int(match[3])), match[4]) if match else None

    @staticmethod
    def among(names: Iterable[str]) -> list[Image]:
        """The images among a plan's files."""
        return [image for name in names if (image := Image.of_file(name)) is not None]


@dataclass(frozen=True)
class CompiledKernels:
    """One source for one architecture.

    Attributes:
        images: a cubin and PTX (its text, one NUL at the end).
        reports: one per kernel, in the order of their names.
    """

    images: dict[Image, bytes]
    reports: tuple[KernelReport, ...]


def compile_kernels(architecture: str, toolchain: Path | None = None, source: Path = SOURCE) -> CompiledKernels:
    """Compile, or take from the cache what the same compiler made of the same source.

    Args:
        architecture: for example ``sm_87``.
        toolchain: a folder as ``JETPACK_6`` says; None for what is installed.
        source: a CUDA C++ file that includes no other.

    Raises:
        MissingDependencyError: NVRTC is not installed.
        BackendError: it does not know the architecture, or refuses the source.
    """
    there = _compiler_in(toolchain)
    cuda, known = (there["version"][0], there["version"][1]), [f"sm_{number}" for number in there["architectures"]]
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
    """The image that a device takes: its own cubin, else the PTX that lies nearest below it.

    A driver takes a cubin of its major CUDA release or an older one, and PTX of its release or an older one; of two
    that it takes, the one by the newer compiler is chosen. https://docs.nvidia.com/deploy/cuda-compatibility/

    Args:
        images: what there is.
        compute_capability: of the device, (8, 7).
        cuda: the latest release that the driver knows, (12, 6).

    Raises:
        BundleCompatibilityError: none suits.
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
    there = sorted({image.architecture for image in images}, key=lambda name: int(name[3:]))
    raise BundleCompatibilityError(f"no kernels for {device} or below: there are {', '.join(there) or 'none'}")


def read_reports(log: str) -> tuple[KernelReport, ...]:
    """The reports in a log of ``ptxas -v``, by name.

    Raises:
        BackendError: there are none.
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


# The compiler: in this process, or another toolchain's in a child process.


@cache
def _compiler_in(toolchain: Path | None) -> dict[str, Any]:
    if toolchain is not None and not toolchain.is_dir():
        raise _no_toolchain(toolchain, "there is no such folder")
    there = _ask({}, toolchain)
    if "missing" in there:
        if toolchain is not None:
            raise _no_toolchain(toolchain, there["missing"])
        raise MissingDependencyError("NVRTC", "rtx", "compiling CUDA kernels")
    if toolchain is not None and not Path(there["bindings"]).is_relative_to(toolchain.resolve()):
        raise _no_toolchain(toolchain, "cuda-bindings is not in it")
    return there


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
        cwd=toolchain,  # it comes first on the path, before PYTHONPATH
        env={**os.environ, "PYTHONPATH": path},
    )
    if child.returncode:
        raise BackendError(f"the compiler in {toolchain} failed: {(child.stderr.splitlines() or ['no reason'])[-1]}")
    answer: dict[str, Any] = json.loads(child.stdout)
    return answer


# The cache: one file an answer, after a line with its SHA-256.


def _cache_folder() -> Path:
    """``ssd-edge/kernels`` where the user's caches are: ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssd-edge" / "kernels"


def _digest(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _from_cache(path: Path) -> dict[str, Any] | None:
    """The answer in a file; None where there is no file, or a damaged one."""
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
        pass  # a folder that can't be written to costs the next call a second, not this one its result

"""Compile the kernels for every supported GPU, on any machine.

An architecture is a compute capability as the compiler writes it: ``sm_87`` is 8.7. For each, NVRTC makes a cubin,
which runs on that compute capability only, and PTX, which a driver compiles for it or any later one. A driver takes
neither from a CUDA release newer than its own, so JetPack 6 needs those of CUDA 12.6: see ``toolchain.JETPACK_6``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssd_edge.engines.kernels.images import KernelImage
from ssd_edge.engines.kernels.launch import SOURCE, headers_of
from ssd_edge.engines.kernels.toolchain import ask, compiler_in
from ssd_edge.errors import BackendError
from ssd_edge.files import user_cache, written_whole

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_110", "sm_120")
"""Architectures that CUDA 13 compiles for: Turing, Ampere, Orin, Ada, Hopper, Thor, Blackwell."""

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
class CompiledKernels:
    """Result of compiling one source for one architecture.

    Attributes:
        images: a cubin and PTX (its text, with one NUL at the end).
        reports: one report per kernel, in the order of their names.
    """

    images: dict[KernelImage, bytes]
    reports: tuple[KernelReport, ...]


def compile_kernels(architecture: str, toolchain: Path | None = None, source: Path = SOURCE) -> CompiledKernels:
    """Compile kernels, or take the same compiler's result for the same source from the cache.

    Args:
        architecture: for example ``sm_87``.
        toolchain: a folder made as for ``toolchain.JETPACK_6``; None for the installed compiler.
        source: a CUDA C++ file; it may include the ``.cuh`` files beside it.

    Raises:
        MissingDependencyError: NVRTC is not installed.
        BackendError: NVRTC does not know the architecture, or refused the source.
    """
    compiler = compiler_in(toolchain)
    cuda = compiler["version"][0], compiler["version"][1]
    known = [f"sm_{number}" for number in compiler["architectures"]]
    if architecture not in known:
        raise BackendError(f"NVRTC {cuda[0]}.{cuda[1]} does not know {architecture}; it knows {', '.join(known)}")
    options = [f"--gpu-architecture={architecture}", *OPTIONS]
    headers = {header.name: header.read_text() for header in headers_of(source)}
    request = {"source": source.read_text(), "name": source.name, "options": options, "headers": headers}

    cached = _cache_folder() / f"{_digest({**request, 'version': cuda})}.json"
    answer = _from_cache(cached)
    if answer is None:
        answer = ask(request, toolchain)
        if "cubin" not in answer:
            raise BackendError(f"NVRTC {cuda[0]}.{cuda[1]} refused {source.name}: {_first_error(answer['log'])}")
        _into_cache(cached, answer)
    images = {KernelImage(architecture, cuda, kind): base64.b64decode(answer[kind]) for kind in ("cubin", "ptx")}
    return CompiledKernels(images, read_reports(answer["log"]))


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


# The cache: one file per answer, whose first line is the SHA-256 of the rest.


def _cache_folder() -> Path:
    """Folder ``ssd-edge/kernels`` in the user's caches: ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    return user_cache() / "kernels"


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

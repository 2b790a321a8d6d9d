"""The CUDA compiler: the installed one, or another toolchain's in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import ssd_edge
from ssd_edge.engines.kernels import nvrtc
from ssd_edge.errors import BackendError
from ssd_edge.machine.cuda_releases import TOOLCHAIN_FOR_JETPACK_6 as JETPACK_6
from ssd_edge.machine.gpu_packages import missing

__all__ = ["JETPACK_6", "ask", "compiler_in"]


@cache
def compiler_in(toolchain: Path | None) -> dict[str, Any]:
    """Describe the compiler of a toolchain, see ``nvrtc.answer``.

    Args:
        toolchain: a folder made as for ``JETPACK_6``; None for the installed compiler.

    Raises:
        MissingDependencyError: NVRTC is not installed.
        BackendError: the folder holds no toolchain.
    """
    if toolchain is not None and not toolchain.is_dir():
        raise _no_toolchain(toolchain, "there is no such folder")
    compiler = ask({}, toolchain)
    if "missing" in compiler:
        if toolchain is not None:
            raise _no_toolchain(toolchain, compiler["missing"])
        raise missing("NVRTC", "compiling CUDA kernels")
    if toolchain is not None and not Path(compiler["bindings"]).is_relative_to(toolchain.resolve()):
        raise _no_toolchain(toolchain, "cuda-bindings is not in it")
    return compiler


def _no_toolchain(toolchain: Path, reason: str) -> BackendError:
    command = f"pip install --no-deps --target {toolchain} {' '.join(JETPACK_6)}"
    return BackendError(f"{toolchain} holds no CUDA toolchain ({reason}); one for JetPack 6: {command}")


def ask(request: dict[str, Any], toolchain: Path | None) -> dict[str, Any]:
    """Ask a compiler, see ``nvrtc.answer``: the installed one in this process, another one in a child process.

    Raises:
        BackendError: the child process failed.
    """
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

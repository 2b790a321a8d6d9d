"""Selftest sections that use tools on the device (compute-sanitizer, trtexec) or the project's own tests in a clone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.engines.selftest import available
from ssd_edge.engines.selftest.sections import FailedError, NotRunError, Setting

_MINUTES = 10
_ON_A_CPU = ("kernels/test_kernels.py", "gpu/test_gpu.py")  # chosen because they do not need PyTorch
_COMMAND = "from ssd_edge.cli.main import main; main()"


def emulated(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Run the tests of the kernels on a CPU and of the GPU engine over an emulated driver; they need a clone."""
    root = Path(__file__).resolve().parents[2]
    tests = [root / "tests" / "engines" / name for name in _ON_A_CPU]
    if not all(test.is_file() for test in tests):
        raise NotRunError("it needs a clone of the project with its tests")
    compiler = os.environ.get("CXX", "g++")
    missing = [package for package in ("pytest", "hypothesis", "onnx") if find_spec(package) is None]
    missing += [compiler] if shutil.which(compiler) is None else []
    if missing:
        raise NotRunError(f"its tests need {', '.join(missing)}, not installed here")
    done = _run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *map(str, tests)], root)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode:
        raise FailedError(f"tests of the kernels on a CPU: {last}")
    return f"kernels on a CPU, and the GPU engine over an emulated driver: {last}", {}


def sanitizer(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Run the kernels under each check of compute-sanitizer."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(tool).is_file():
        raise NotRunError("compute-sanitizer is not installed: it comes with the CUDA toolkit")
    heads, _ = setting.model()
    summaries: dict[str, str] = {}
    for check in ("memcheck", "racecheck", "initcheck", "synccheck"):
        folder = (setting.folder / f"sanitizer-{check}").resolve()
        command = [tool, "--tool", check, "--error-exitcode", "9", sys.executable, "-c", _COMMAND, "selftest"]
        done = _run([*command, str(heads.resolve()), "--only", "kernels", "--output", str(folder)], setting.folder)
        lines = re.findall(r"ERROR SUMMARY: .*|RACECHECK SUMMARY: .*", done.stdout + done.stderr)
        summaries[check] = lines[-1] if lines else "it printed no summary"
        _must_have_run_kernels(folder / "selftest.json", check)
        if done.returncode:
            raise FailedError(f"compute-sanitizer {check}: {summaries[check]}")
    return "compute-sanitizer finds nothing in the kernels", summaries


def trtexec(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Time a plan with trtexec, NVIDIA's own tool."""
    tool = shutil.which("trtexec") or "/usr/src/tensorrt/bin/trtexec"
    if not Path(tool).is_file():
        raise NotRunError("trtexec is not installed: sudo apt install libnvinfer-bin")
    heads, _ = setting.model()
    available.must_run("tensorrt")
    setting.engine("trtexec", heads, "tensorrt", BuildOptions(decode="host-launch")).close()
    folder = (setting.folder / "trtexec.engine").resolve()
    plan = next(one for one in read_manifest(folder).plans if one.backend == "tensorrt")
    command = [tool, f"--loadEngine={folder / plan.files[0]}", "--useCudaGraph", "--noDataTransfers", "--duration=3"]
    done = _run(command, setting.folder)
    median = gpu_milliseconds(done.stdout)
    if done.returncode or median is None:
        raise FailedError(
            f"trtexec failed on {plan.files[0]}: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}"
        )
    return f"trtexec runs the plan: {median:.2f} ms a frame on the GPU", {"GPU compute, median ms": median}


def gpu_milliseconds(text: str) -> float | None:
    """Parse the median of "GPU Compute Time" from trtexec's output; None if it is missing."""
    match = re.search(r"GPU Compute Time:.*?median = ([\d.]+) ms", text)
    return float(match[1]) if match else None


def _must_have_run_kernels(results: Path, check: str) -> None:
    """Check that the child ran the kernels: if it launched none, the tool had nothing to check."""
    if not results.is_file():
        raise FailedError(f"compute-sanitizer {check}: the kernels did not run under it")
    (kernels,) = json.loads(results.read_text(encoding="utf-8"))["sections"]
    if kernels["status"] == "not run":
        raise NotRunError(f"the kernels did not run under it: {kernels['sentence']}")
    if kernels["status"] == "failed":
        raise FailedError(f"compute-sanitizer {check}: under it, {kernels['sentence']}")


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60 * _MINUTES, check=False)
    except subprocess.TimeoutExpired:
        raise FailedError(f"{Path(command[0]).name} did not end within {_MINUTES} minutes") from None

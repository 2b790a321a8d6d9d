"""Build a small TensorRT and the plugin library on a CPU for the tests, from TensorRT's public headers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssd_edge.engines.kernels.launch import source_digest
from tests.cuda.build import COMMON, _built
from tests.helpers import COMPILER, ROOT

HERE = Path(__file__).parent
LIBRARY = ROOT / "engines" / "plugins" / "library"


def headers(release: str) -> Path:
    """Find a release's headers (NvInfer.h and others); the test is skipped if they are missing."""
    folder = ROOT / ".venv" / "tensorrt-headers" / release
    if not (folder / "NvInfer.h").is_file():
        pytest.skip(f"the headers of TensorRT {release} are absent: make test brings them")
    return folder


def cuda_headers() -> Path:
    """Find a CUDA toolkit's headers, which TensorRT's include; the test is skipped if they are missing."""
    for root in (os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"):
        if root and (Path(root) / "include" / "cuda_runtime_api.h").is_file():
            return Path(root) / "include"
    pytest.skip("TensorRT's headers include those of a CUDA toolkit, and /usr/local/cuda has none: set CUDA_HOME")


def small_tensorrt(release: str) -> Path:
    """Build a libnvinfer from small_tensorrt.cpp."""
    name = f"libnvinfer.so.{release.partition('.')[0]}"
    options = (*COMMON, "-Wno-deprecated-declarations", *_includes(release), f"-Wl,-soname,{name}")
    return _built(name, COMPILER, *options, "-shared", HERE / "small_tensorrt.cpp")


def plugin_on_cpu(release: str) -> Path:
    """Build the plugin library with launch_on_cpu.cpp for its launches."""
    nvinfer = small_tensorrt(release)
    defines = (f"-I{LIBRARY}", f'-DSSD_EDGE_KERNELS="{source_digest()}"')
    options = (*COMMON, *_includes(release), *defines, "-include", LIBRARY / "launch.h")
    sources = (LIBRARY / "plugin.cpp", HERE / "launch_on_cpu.cpp")
    return _built("libssd_edge_plugin.so", COMPILER, *options, "-shared", *sources, nvinfer, "-ldl")


def _includes(release: str) -> tuple[str, ...]:
    return ("-isystem", str(headers(release)), "-isystem", str(cuda_headers()))

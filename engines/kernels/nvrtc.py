"""NVRTC, the CUDA compiler as a library: needs no driver, no GPU and no nvcc.

``python -m ssd_edge.engines.kernels.nvrtc`` answers one request, JSON from stdin to stdout. Run with another
toolchain's folder first on its path, it compiles with that toolchain. Requests and answers are those of ``answer``.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request to describe the compiler or to compile.

    Args:
        request: ``{}`` asks about the compiler; ``{"source", "name", "options", "headers"}`` asks to compile as
            well; ``headers`` are texts by the names that the source includes.

    Returns:
        ``version`` [major, minor], ``architectures`` (75 is sm_75) and ``bindings``, the file that was imported. If a
        source was given, also ``log``, and ``ptx`` and ``cubin`` in base64 unless the source was refused. Without
        NVRTC, only ``missing``: the reason.
    """
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        return {"missing": str(error)}
    try:
        version = _value(nvrtc.nvrtcVersion())
    except Exception as error:  # without a library the exception's type differs from release to release
        return {"missing": (str(error).splitlines() or [type(error).__name__])[0]}
    architectures = _value(nvrtc.nvrtcGetSupportedArchs())
    compiler = {"version": list(version), "architectures": list(architectures), "bindings": nvrtc.__file__}
    return {**compiler, **_compile(nvrtc, **request)} if request else compiler


def _compile(nvrtc: Any, source: str, name: str, options: list[str], headers: dict[str, str]) -> dict[str, str]:
    texts, names = [text.encode() for text in headers.values()], [name.encode() for name in headers]
    program = _value(nvrtc.nvrtcCreateProgram(source.encode(), name.encode(), len(headers), texts, names))
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        log = _read(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
        compiled = {"log": log.rstrip(b"\0").decode(errors="replace")}
        if status == nvrtc.nvrtcResult.NVRTC_SUCCESS:
            ptx = _read(program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
            cubin = _read(program, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
            # The driver reads PTX up to its first NUL, so exactly one is kept.
            compiled["ptx"] = base64.b64encode(ptx.rstrip(b"\0") + b"\0").decode()
            compiled["cubin"] = base64.b64encode(cubin).decode()
        return compiled
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _read(program: Any, size_of: Any, copy: Any) -> bytes:
    buffer = bytes(_value(size_of(program)))
    _value(copy(program, buffer))
    return buffer


def _value(result: Any) -> Any:
    status, *values = result
    if status != type(status).NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC failed: {status.name}")
    return values[0] if len(values) == 1 else values


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)

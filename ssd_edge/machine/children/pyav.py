"""PyAV's codecs: those of the FFmpeg in it, and whether the libraries are there that NVIDIA's need."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

from ssd_edge.machine.children import tell

_NVIDIA = {"decode": "libnvcuvid.so.1", "encode": "libnvidia-encode.so.1"}
"""Of the driver, or of a container that was given ``video``: without them FFmpeg's codecs do not work."""


def answer() -> dict[str, Any]:
    """What PyAV can do.

    Returns:
        ``version``; ``decoders`` and ``encoders``, names; ``nvidia``: which of ``decode`` and ``encode`` the driver
        has. Or ``missing``: why it cannot be imported.
    """
    try:
        import av
        from av.codec import Codec
    except ImportError as error:
        return {"missing": str(error)}
    found: dict[str, list[str]] = {"r": [], "w": []}
    for name in sorted(av.codecs_available):
        for mode in found:
            with suppress(ValueError):  # it has no such side
                codec = Codec(name, mode)  # type: ignore[arg-type]
                if codec.type == "video" and codec.name == name:  # or it is another one that does the same
                    found[mode].append(name)
    nvidia = [side for side, library in _NVIDIA.items() if _loads(library)]
    return {"version": av.__version__, "decoders": found["r"], "encoders": found["w"], "nvidia": nvidia}


def _loads(library: str) -> bool:
    with suppress(OSError):
        return bool(ctypes.CDLL(library))
    return False


if __name__ == "__main__":
    tell(answer)

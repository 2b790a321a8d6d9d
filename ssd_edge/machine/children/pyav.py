"""List the codecs of PyAV's FFmpeg, and find out whether NVIDIA's codecs have the libraries that they need."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

from ssd_edge.machine.children import tell

_NVIDIA = {"decode": "libnvcuvid.so.1", "encode": "libnvidia-encode.so.1"}
"""Libraries of the driver, which a container has only with the capability ``video``; FFmpeg's codecs need them."""


def answer() -> dict[str, Any]:
    """Describe PyAV's abilities.

    Returns:
        ``version``; names of ``decoders`` and ``encoders``; ``nvidia``: which of ``decode`` and ``encode`` the driver
        supports. Or ``missing``: why it cannot be imported.
    """
    try:
        import av
        from av.codec import Codec
    except ImportError as error:
        return {"missing": str(error)}
    codecs: dict[str, list[str]] = {"r": [], "w": []}
    for name in sorted(av.codecs_available):
        for mode in codecs:
            with suppress(ValueError):  # the codec cannot decode, or cannot encode
                codec = Codec(name, mode)  # type: ignore[arg-type]
                if codec.type == "video" and codec.name == name:  # PyAV may give another codec of the same kind
                    codecs[mode].append(name)
    nvidia = [side for side, library in _NVIDIA.items() if _loads(library)]
    return {"version": av.__version__, "decoders": codecs["r"], "encoders": codecs["w"], "nvidia": nvidia}


def _loads(library: str) -> bool:
    with suppress(OSError):
        return bool(ctypes.CDLL(library))
    return False


if __name__ == "__main__":
    tell(answer)

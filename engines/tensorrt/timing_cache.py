"""The timing cache: the builder's measurements of kernels, kept in the bundle so that the next build is quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssd_edge.files import written_whole

if TYPE_CHECKING:
    import tensorrt


def begin_timing(config: tensorrt.IBuilderConfig, path: Path) -> dict[str, str]:
    """Give the builder an earlier cache if it fits, and return the fact for the manifest.

    TensorRT itself refuses a cache of another release or GPU; then it measures again.
    """
    content = path.read_bytes() if path.exists() else b""
    if content:
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return {"timing": "taken from the bundle's cache"}
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return {"timing": "measured anew: the bundle's cache is of another TensorRT or GPU" if content else "measured"}


def end_timing(config: tensorrt.IBuilderConfig, path: Path) -> dict[str, str]:
    """Write the builder's cache, and return its size for the manifest."""
    cache = config.get_timing_cache()
    memory = None if cache is None else cache.serialize()
    content = b"" if memory is None else bytes(memory)
    with written_whole(path) as partial:
        partial.write_bytes(content)
    return {"timing_cache_bytes": str(len(content))}

"""Cache of the code that TensorRT-RTX compiles from a plan at its first start on a GPU, so that later starts are quick.

The cache is the file ``jit.sm_89.cache`` in the bundle's folder, one for each kind of GPU; if the folder is not
writable, it is in ``ssd-edge/jit`` of the user's caches. It is not part of the bundle: the manifest does not list it,
it may be deleted at any time, a bundle that is built again starts without one, and the library refuses a cache from
another release, driver or GPU.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from ssd_edge.files import user_cache, written_whole


class JitCache:
    """The cache file of one plan on one kind of GPU.

    Args:
        plan: path of the plan in its bundle.
        compute_capability: compute capability of the GPU, (8, 9).
    """

    def __init__(self, plan: Path, compute_capability: tuple[int, int]) -> None:
        name = f"jit.sm_{compute_capability[0]}{compute_capability[1]}.cache"
        user = user_cache() / "jit"
        where = hashlib.sha256(str(plan.resolve()).encode()).hexdigest()[:16]
        self.places = (plan.with_name(name), user / where / name)

    def read(self) -> bytes:
        """Read the cache; empty if there is none."""
        for place in self.places:
            with suppress(OSError):
                return place.read_bytes()
        return b""

    def write(self, content: bytes) -> None:
        """Write the cache, complete or not at all; if no place is writable, the next start compiles again."""
        for place in self.places:
            with suppress(OSError), written_whole(place) as partial:
                partial.write_bytes(content)
                return

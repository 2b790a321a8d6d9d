"""Where TensorRT-RTX keeps what it compiled of a plan on a GPU: the first start there compiles, the next ones need not.

The cache lies in the bundle's folder, ``jit.sm_89.cache``, one for each kind of GPU; where that cannot be written to,
in ``ssd-edge/jit`` of the user's caches. It is no part of the bundle: the manifest does not name it, it may be deleted
at any time, a bundle that is built anew begins without one, and the library refuses one that is not of its own release,
driver and GPU.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from ssd_edge.files import user_cache, written_whole


class JitCache:
    """The file of one plan on one kind of GPU.

    Args:
        plan: in its bundle.
        compute_capability: of the GPU, (8, 9).
    """

    def __init__(self, plan: Path, compute_capability: tuple[int, int]) -> None:
        name = f"jit.sm_{compute_capability[0]}{compute_capability[1]}.cache"
        user = user_cache() / "jit"
        where = hashlib.sha256(str(plan.resolve()).encode()).hexdigest()[:16]
        self.places = (plan.with_name(name), user / where / name)

    def read(self) -> bytes:
        """What was kept; empty where nothing was."""
        for place in self.places:
            with suppress(OSError):
                return place.read_bytes()
        return b""

    def write(self, content: bytes) -> None:
        """Keep it, whole; where no place can be written to, the next start compiles again."""
        for place in self.places:
            with suppress(OSError), written_whole(place) as partial:
                partial.write_bytes(content)
                return

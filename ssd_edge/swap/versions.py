"""Engines by version in one folder: which is the newest that is whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from ssd_edge.engines.bundle.manifest import MANIFEST, read_manifest
from ssd_edge.errors import BundleError, ModelError
from ssd_edge.files import stamp
from ssd_edge.swap.journal import Journal, identity

_NUMBER = re.compile(r"(\d+)")
STABLE = 2.0
"""Seconds for which the files of a new engine must not have changed."""


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that orders names as people do: ``v9`` before ``v10``."""
    parts = _NUMBER.split(name.removesuffix(".engine"))
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part.lower()) for part in parts if part)


def is_folder_of_models(path: Path) -> bool:
    """Whether a path is a folder that is no bundle itself, and so may hold several."""
    return path.is_dir() and not (path / MANIFEST).exists()


def versions(folder: Path) -> list[Path]:
    """Return what looks like a bundle in a folder, the newest first; hidden ones are still being copied."""
    found = [one for one in folder.iterdir() if not one.name.startswith(".") and (one / MANIFEST).is_file()]
    return sorted(found, key=lambda one: natural(one.name), reverse=True)


def newest(folder: Path, unfit: Mapping[str, str]) -> Path | None:
    """Return the newest bundle that is whole and not unfit; None if there is none.

    Args:
        folder: holds bundles.
        unfit: see ``Journal.unfit``.
    """
    return next((one for one in versions(folder) if identity(one) not in unfit and is_whole(one)), None)


def start_model(model: Path, journal: Journal) -> Path:
    """Return what a service starts with: the file's model itself, or the newest of a folder of them.

    Raises:
        ModelError: the folder holds none that may run.
    """
    if not is_folder_of_models(model):
        return model
    path = newest(model, journal.unfit())
    if path is None:
        raise ModelError(
            f"{model} is no engine, and holds none that is whole and was not refused: copy one into it, as "
            f"{model / 'v1.engine'}"
        )
    return path


class Watched:
    """Notices a newer engine in a folder once all of its files are there, and no longer change.

    Args:
        journal: knows which are not to be tried again.
        clock: monotonic seconds.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float] = monotonic) -> None:
        self._journal, self._clock = journal, clock
        self._reached: tuple[tuple[int, int, str], ...] = ()  # the newest of the folder that has worked
        self._seen: tuple[Path, object, float] | None = None
        self._broken: object = None

    def look(self, folder: Path, working: Path) -> Path | None:
        """Return an engine that is to be tried now; None if there is none; to be called every second or so.

        Args:
            folder: holds bundles.
            working: the one that works; only those count that are newer than each of the folder that has worked, so
                that nobody's exchange for an older one, or one from elsewhere, is undone.
        """
        try:
            found = self._newer(folder, working)
            stamp = None if found is None else (found, _stamp(found))
        except OSError:  # it is being copied, or removed
            return None
        if found is None or stamp == self._broken:
            return None
        if self._seen is None or self._seen[:2] != (found, stamp):
            self._seen = found, stamp, self._clock()
        elif self._clock() - self._seen[2] >= STABLE:
            self._seen = None
            if is_whole(found):
                return found
            self._broken = stamp  # until its files change: reading them all each time would take the disk's time
        return None

    def _newer(self, folder: Path, working: Path) -> Path | None:
        if working.parent == folder:
            self._reached = max(self._reached, natural(working.name))
        newer = [one for one in versions(folder) if natural(one.name) > self._reached]
        unfit = self._journal.unfit() if newer else {}
        return next((one for one in newer if identity(one) not in unfit), None)


def is_whole(path: Path) -> bool:
    """Whether all files of a bundle are there, and have their content."""
    try:
        read_manifest(path)
    except BundleError:
        return False
    return True


def _stamp(path: Path) -> object:
    return sorted((file.name, *stamp(file)) for file in path.iterdir())

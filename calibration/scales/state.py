"""The file that an interrupted calibration leaves beside its output, so that the next run goes on from there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from zipfile import ZipFile

import numpy as np

from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.calibration.scales.observe import Observations
from ssd_edge.errors import CalibrationError
from ssd_edge.files import written_whole

SECONDS_BETWEEN = 5.0
"""The most seconds of work that an interruption costs."""


@dataclass
class StateFile:
    """Observations saved on disk every few seconds, each time whole or not at all.

    Attributes:
        path: the file.
        images_key: hash that identifies the images to come and their order.
        seconds_between: the least seconds between two writes of ``save``.
        stale: whether the file that ``begin`` read belongs to another network, or to other tensors or images.
        resumed: number of images in the observations that ``begin`` read.
    """

    path: Path
    images_key: str
    seconds_between: float = field(default_factory=lambda: SECONDS_BETWEEN)
    stale: bool = field(init=False, default=False)
    resumed: int = field(init=False, default=0)
    _key: str = field(init=False, default="")
    _due: float = field(init=False, default=0.0)

    def begin(self, network: bytes, tensors: Sequence[str]) -> Observations:
        """Return the observations saved before an interruption; empty ones if there are none that fit."""
        digest = hashlib.sha256(hashlib.sha256(network).digest())
        digest.update("\0".join([*tensors, "", self.images_key]).encode())
        self._key = digest.hexdigest()
        self._due = monotonic() + self.seconds_between
        saved = self._read()
        self.stale = saved is None and self.path.exists()
        self.resumed = saved.num_images if saved else 0
        return saved or Observations.of(tensors)

    def save(self, seen: Observations) -> None:
        """Write the observations, unless the last write was less than ``seconds_between`` ago.

        Raises:
            CalibrationError: the file cannot be written.
        """
        if monotonic() >= self._due:
            self.write(seen)

    def write(self, seen: Observations) -> None:
        """Write the observations now.

        Raises:
            CalibrationError: the file cannot be written.
        """
        histograms = seen.histograms.values()
        try:
            with written_whole(self.path) as partial, partial.open("wb") as file:
                np.savez_compressed(
                    file,
                    key=self._key,
                    names=np.array(list(seen.histograms)),
                    counts=np.stack([h.counts for h in histograms]),
                    exponents=np.array([h.exponent for h in histograms]),
                    zeros=np.array([h.zeros for h in histograms]),
                    amax=np.array([h.amax for h in histograms]),
                    images=np.array([h.images for h in histograms]),
                    lows=np.array([h.lows for h in histograms]),
                    highs=np.array([h.highs for h in histograms]),
                    image_hashes=np.array(seen.image_hashes),
                )
        except OSError as error:
            raise CalibrationError(f"cannot write {self.path}: {error.strerror}") from None
        self._due = monotonic() + self.seconds_between

    def remove(self) -> None:
        """Delete the file when the calibration is complete."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> Observations | None:
        try:
            # numpy reads no further than a damaged header says, and so not to the checksum.
            with ZipFile(self.path) as archive:
                if archive.testzip() is not None:
                    return None
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                if str(content["key"]) != self._key:
                    return None
                rows = zip(
                    content["names"].tolist(),
                    content["counts"],
                    *(content[name].tolist() for name in ("exponents", "zeros", "amax", "images", "lows", "highs")),
                    strict=True,
                )
                return Observations(
                    {name: Histogram(np.array(counts), *rest) for name, counts, *rest in rows},
                    content["image_hashes"].tolist(),
                )
        except Exception:  # zipfile, zlib and numpy raise anything on a damaged file, which counts as no file
            return None

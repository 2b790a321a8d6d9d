"""The facts about a calibration and its cost, for the report's page and its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge import __version__
from ssd_edge.calibration.network.policy import in_float
from ssd_edge.calibration.outcome import Making, Outcome
from ssd_edge.calibration.recipe import Corrections, Sensitivity
from ssd_edge.calibration.scales.calibrators import LARGEST, relative_error
from ssd_edge.calibration.scales.histograms import NUM_BINS, Histogram
from ssd_edge.calibration.scales.methods import METHODS
from ssd_edge.calibration.search import Search
from ssd_edge.data.images import jpeg_thumbnail
from ssd_edge.errors import CalibrationError
from ssd_edge.evaluation import Evaluation
from ssd_edge.files import sha256
from ssd_edge.progress import Progress, no_progress

HISTOGRAMS = 8
"""Number of activations whose histograms are shown: the inputs of the most sensitive convolutions."""

THUMBNAILS = 24

SENSITIVITY_IMAGES = 8
"""Number of images for sensitivities: few, since each convolution takes two passes over them."""

_BARS = 64
_EVALUATIONS = ("fp32", "int8_ap", "engine_ap")


@dataclass(frozen=True)
class Activation:
    """A tensor with a scale, and how it was clipped.

    Attributes:
        tensor: its name.
        readers: names of the convolutions that read it in INT8.
        amax: the largest |x| observed.
        cut: the largest |x| that INT8 holds.
        cuts: the cut that each method would have chosen.
        clipped: share of the values above the cut.
        error: RMS error of INT8, divided by the RMS of the values.
        bars: number of values in each of 64 equal stretches of 0 … amax.
    """

    tensor: str
    readers: tuple[str, ...]
    amax: float
    cut: float
    cuts: dict[str, float]
    clipped: float
    error: float
    bars: tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """A calibration image.

    Attributes:
        name: name of the file, or of the video and the frame.
        sha256: hash of the network's input for this image.
        thumbnail: JPEG data; empty for images without a thumbnail, which are most.
    """

    name: str
    sha256: str
    thumbnail: bytes = b""


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        heads, heads_sha256: name and hash of the FP32 file.
        int8, int8_sha256: name and hash of the INT8 file.
        command: the command that makes the INT8 file again.
        made: when the report was made, in UTC.
        version: version of ssd-edge.
        method: calibration method of the scales.
        fp32, int8_ap: AP of the two files on the validation images, computed exactly; None if it was not measured.
        engine_ap: AP of the INT8 engine on the machine that calibrated; None if it was not measured.
        fps: images/s of FP32 and INT8 on OpenVINO on this machine; None if it was not measured.
        corrections: the corrections that were tried, and their gains; None after a search.
        search: the search for a contract; None without one.
        sensitivities: sensitivity of each INT8 convolution, by name.
        distance: distance of the INT8 file from FP32.
        num_int8, num_convolutions: number of INT8 convolutions, and of all convolutions.
        in_float: the reason for each convolution that stays in float, by name.
        activations: the activations with the most sensitive readers.
        pictures: the calibration images.
        seed: random seed for choosing them.
    """

    heads: str
    heads_sha256: str
    int8: str
    int8_sha256: str
    command: str
    made: str
    version: str
    method: str
    fp32: Evaluation | None
    int8_ap: Evaluation | None
    engine_ap: Evaluation | None
    fps: tuple[float, float] | None
    corrections: Corrections | None
    search: Search | None
    sensitivities: dict[str, Sensitivity]
    distance: float
    num_int8: int
    num_convolutions: int
    in_float: dict[str, str]
    activations: tuple[Activation, ...]
    pictures: tuple[Picture, ...]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values for ``json.dumps``, without thumbnails."""
        return {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "sensitivities": {name: asdict(one) for name, one in self.sensitivities.items()},
            "activations": [asdict(one) for one in self.activations],
            **{name: getattr(self, name).to_json() if getattr(self, name) else None for name in _EVALUATIONS},
            "corrections": self.corrections.to_json() if self.corrections else None,
            "search": self.search.to_json() if self.search else None,
            "pictures": [{"name": one.name, "sha256": one.sha256} for one in self.pictures],
        }


def gather(
    outcome: Outcome, *, command: str, pictures: Sequence[Picture], seed: int, progress: Progress = no_progress
) -> Report:
    """Gather the report of a calibration with images; the sensitivities that it lacks are measured.

    Args:
        outcome: what was made, and what it was made with.
        command: the command that makes it again.
        pictures: the calibration images.
        seed: random seed for choosing them.
        progress: called with how far the measuring is.

    Raises:
        CalibrationError: the scales were given, so that there is nothing to tell.
    """
    making, file, here = outcome.making, outcome.file, outcome.here
    if making is None:
        raise CalibrationError("a report tells of calibration images, and these scales were given: leave it out")
    quantiser, search = making.quantiser, making.search
    left = in_float(quantiser.network.model, quantiser.policy)
    left |= dict.fromkeys(making.recipe.in_float, "the budget does not hold with it in INT8")
    sensitivities = (search.sensitivities if search else {}) or _sensitivities(making, progress)
    return Report(
        heads=quantiser.network.path.name,
        heads_sha256=sha256(quantiser.network.path),
        int8=file.path.name,
        int8_sha256=sha256(file.path),
        command=command,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
        method=outcome.method,
        fp32=outcome.before,
        int8_ap=outcome.after,
        engine_ap=here.ap if here else None,
        fps=here.fps if here else None,
        corrections=outcome.corrections,
        search=search,
        sensitivities=sensitivities,
        distance=quantiser.divergence(making.recipe),
        num_int8=file.num_quantised,
        num_convolutions=file.num_convolutions,
        in_float=left,
        activations=tuple(_activations(making, file.scales, sensitivities)),
        pictures=tuple(pictures),
        seed=seed,
    )


def _sensitivities(making: Making, progress: Progress) -> dict[str, Sensitivity]:
    """Measure the sensitivity of each INT8 convolution on a few calibration images."""
    quantiser, measured = making.quantiser.quick(SENSITIVITY_IMAGES), {}
    names = [name for name in quantiser.candidates if name not in making.recipe.in_float]
    for number, name in enumerate(names):
        progress(number, len(names), "sensitivity of convolutions")
        measured[name] = quantiser.sensitivity(making.recipe, name)
    return measured


def pictures(images: Iterable[tuple[str, npt.NDArray[np.uint8]]], hashes: Sequence[str]) -> list[Picture]:
    """List the calibration images by name and hash, some of them with a thumbnail.

    Args:
        images: name and pixels, (height, width, 3) uint8 BGR, of each image, in the order in which they were observed.
        hashes: hash of the network's input for each image, in the same order.
    """
    shown = set(np.linspace(0, len(hashes) - 1, min(THUMBNAILS, len(hashes))).astype(int).tolist())
    return [
        Picture(name, digest, jpeg_thumbnail(image) if number in shown else b"")
        for number, ((name, image), digest) in enumerate(zip(images, hashes, strict=False))
    ]


def _activations(
    making: Making, scales: Mapping[str, float], sensitivities: dict[str, Sensitivity]
) -> list[Activation]:
    """List the inputs of the most sensitive convolutions; without sensitivities, those with the largest errors."""
    readers: dict[str, list[str]] = {}
    for convolution in making.quantiser.network.placement.convolutions:
        if convolution.name not in making.recipe.in_float:
            readers.setdefault(convolution.entry, []).append(convolution.name)
    seen = making.quantiser.seen.histograms
    activations = [
        _activation(name, tuple(names), seen[name], scales[name] * LARGEST)
        for name, names in readers.items()
        if name in seen and name in scales
    ]

    def worst(one: Activation) -> tuple[float, float]:
        known = [sensitivities[name].alone for name in one.readers if name in sensitivities]
        return max(known, default=0.0), one.error

    return sorted(activations, key=worst, reverse=True)[:HISTOGRAMS]


def _activation(tensor: str, readers: tuple[str, ...], seen: Histogram, cut: float) -> Activation:
    total = seen.zeros + int(seen.counts.sum())
    num_clipped = int(seen.counts[min(NUM_BINS, int(np.ceil(cut / seen.bin_width))) :].sum())
    ends = np.linspace(0, seen.amax / seen.bin_width, _BARS + 1)
    running = np.concatenate([[0.0], np.cumsum(seen.counts)])
    bars = np.diff(np.interp(ends, np.arange(NUM_BINS + 1), running))
    return Activation(
        tensor,
        readers,
        seen.amax,
        cut,
        {name: float(method.load()(seen)) for name, method in METHODS.items()},
        num_clipped / total if total else 0.0,
        relative_error(seen, cut),
        tuple(round(bar) for bar in bars.tolist()),
    )

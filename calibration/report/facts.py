"""What a calibration did and cost, as facts: what the report's page and its JSON say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge import __version__
from ssd_edge.calibration.closest import Corrections
from ssd_edge.calibration.contract import Search
from ssd_edge.calibration.network.policy import in_float
from ssd_edge.calibration.recipe import Made, Sensitivity
from ssd_edge.calibration.scales.calibrators import LARGEST, METHODS, relative_error
from ssd_edge.calibration.scales.histograms import NUM_BINS, Histogram
from ssd_edge.data.images import jpeg_thumbnail
from ssd_edge.evaluation import Evaluation
from ssd_edge.files import sha256

HISTOGRAMS = 8
"""Activations whose histograms are shown: those that the worst convolutions read."""

THUMBNAILS = 24

SENSITIVITY_IMAGES = 8
"""Few, since each convolution takes two passes over them."""

_BARS = 64


@dataclass(frozen=True)
class Activation:
    """A tensor with a scale.

    Attributes:
        tensor: its name.
        readers: convolutions that take it in INT8.
        amax: the largest |x| met.
        cut: the largest |x| that INT8 holds.
        cuts: what each method would have chosen.
        clipped: share of the values above the cut.
        error: root mean square of what INT8 changes, as a share of that of the values.
        bars: how many values lie in each of 64 equal stretches of 0 … amax.
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
        name: of the file, or of the video and the frame.
        sha256: of what the network was given.
        thumbnail: JPEG; empty for most.
    """

    name: str
    sha256: str
    thumbnail: bytes = b""


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        heads, heads_sha256: the FP32 file.
        int8, int8_sha256: the INT8 file.
        command: that makes it again.
        made: when, in UTC.
        version: of ssd-edge.
        method: of the scales.
        fp32, int8_ap: AP of the two files on the validation images, computed exactly; None where it was not measured.
        engine_ap: AP of the INT8 engine of the machine that calibrated; None likewise.
        fps: images/s of FP32 and INT8 on OpenVINO here.
        corrections: what was tried beyond rounding, and what it brought; None after a search.
        search: of a contract; None without.
        sensitivities: of each INT8 convolution.
        distance: from FP32, of the file.
        num_int8, num_convolutions: how many became INT8, of how many.
        in_float: convolutions that did not, and why.
        activations: the worst, by the sensitivity of their readers.
        pictures: calibrated with.
        seed: of their choice.
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
    fps: tuple[float, float]
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
        """As plain values for ``json.dumps``, thumbnails left out."""
        return {
            **asdict(self),
            "corrections": self.corrections.to_json() if self.corrections else None,
            "search": self.search.to_json() if self.search else None,
            "pictures": [{"name": one.name, "sha256": one.sha256} for one in self.pictures],
        }


def gather(
    made: Made,
    *,
    command: str,
    fp32: Evaluation | None,
    int8_ap: Evaluation | None,
    engine_ap: Evaluation | None,
    fps: tuple[float, float],
    corrections: Corrections | None,
    search: Search | None,
    sensitivities: dict[str, Sensitivity],
    pictures: Sequence[Picture],
    seed: int,
) -> Report:
    """Facts of what was made; arguments as in ``Report``."""
    bench, result = made.bench, made.result
    left = in_float(bench.network.model, bench.policy)
    left |= dict.fromkeys(made.recipe.in_float, "the budget does not hold with it in INT8")
    return Report(
        heads=bench.network.path.name,
        heads_sha256=sha256(bench.network.path),
        int8=result.path.name,
        int8_sha256=sha256(result.path),
        command=command,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
        method=made.recipe.method,
        fp32=fp32,
        int8_ap=int8_ap,
        engine_ap=engine_ap,
        fps=fps,
        corrections=corrections,
        search=search,
        sensitivities=sensitivities,
        distance=bench.divergence(made.recipe),
        num_int8=result.num_quantised,
        num_convolutions=result.num_convolutions,
        in_float=left,
        activations=tuple(_activations(made, sensitivities)),
        pictures=tuple(pictures),
        seed=seed,
    )


def sensitivities(made: Made, tell: Callable[[str, int, int], None]) -> dict[str, Sensitivity]:
    """Of each INT8 convolution around the recipe, on a few of the calibration images; ``tell`` as for a search."""
    bench, found = made.bench.quick(SENSITIVITY_IMAGES), {}
    names = [name for name in bench.candidates if name not in made.recipe.in_float]
    for number, name in enumerate(names):
        tell("sensitivity of convolutions", number, len(names))
        found[name] = bench.sensitivity(made.recipe, name)
    return found


def pictures(images: Iterable[tuple[str, npt.NDArray[np.uint8]]], hashes: Sequence[str]) -> list[Picture]:
    """The calibration images by name and hash, some of them with a thumbnail.

    Args:
        images: name and (height, width, 3) uint8 BGR of each, as they were observed.
        hashes: of what the network was given, in the same order.
    """
    shown = set(np.linspace(0, len(hashes) - 1, min(THUMBNAILS, len(hashes))).astype(int).tolist())
    return [
        Picture(name, digest, jpeg_thumbnail(image) if number in shown else b"")
        for number, ((name, image), digest) in enumerate(zip(images, hashes, strict=False))
    ]


def _activations(made: Made, sensitivities: dict[str, Sensitivity]) -> list[Activation]:
    """Of the most sensitive convolutions first; without sensitivities, of the largest error."""
    readers: dict[str, list[str]] = {}
    for convolution in made.bench.network.placement.convolutions:
        if convolution.name not in made.recipe.in_float:
            readers.setdefault(convolution.entry, []).append(convolution.name)
    seen, scales = made.bench.seen.histograms, made.result.scales
    found = [
        _activation(name, tuple(names), seen[name], scales[name] * LARGEST)
        for name, names in readers.items()
        if name in seen and name in scales
    ]

    def worst(one: Activation) -> tuple[float, float]:
        known = [sensitivities[name].alone for name in one.readers if name in sensitivities]
        return max(known, default=0.0), one.error

    return sorted(found, key=worst, reverse=True)[:HISTOGRAMS]


def _activation(tensor: str, readers: tuple[str, ...], seen: Histogram, cut: float) -> Activation:
    total = seen.zeros + int(seen.counts.sum())
    beyond = int(seen.counts[min(NUM_BINS, int(np.ceil(cut / seen.bin_width))) :].sum())
    ends = np.linspace(0, seen.amax / seen.bin_width, _BARS + 1)
    running = np.concatenate([[0.0], np.cumsum(seen.counts)])
    bars = np.diff(np.interp(ends, np.arange(NUM_BINS + 1), running))
    return Activation(
        tensor,
        readers,
        seen.amax,
        cut,
        {name: float(find(seen)) for name, find in METHODS.items()},
        beyond / total if total else 0.0,
        relative_error(seen, cut),
        tuple(round(bar) for bar in bars.tolist()),
    )

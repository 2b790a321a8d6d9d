"""The steps of a calibration as one plain chain, with no correction: what most tests of single steps need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ssd_edge.calibration.network.network import prepare
from ssd_edge.calibration.network.policy import DEFAULT_POLICY, Policy
from ssd_edge.calibration.network.quantise import Int8Heads, quantise
from ssd_edge.calibration.scales.find import Images, check_number, observe_images, scales_of
from ssd_edge.calibration.scales.grid import check_method, find_scales
from ssd_edge.calibration.scales.methods import DEFAULT_METHOD
from ssd_edge.calibration.scales.observe import Observations
from ssd_edge.calibration.scales.state import StateFile


@dataclass(frozen=True)
class Calibrated:
    """The file, and what its scales come from: None where they were given."""

    file: Int8Heads
    observations: Observations | None

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def scales(self) -> Mapping[str, float]:
        return self.file.scales

    @property
    def num_quantised(self) -> int:
        return self.file.num_quantised

    @property
    def num_convolutions(self) -> int:
        return self.file.num_convolutions

    @property
    def num_images(self) -> int:
        return self.observations.num_images if self.observations else 0


def calibrate(
    heads: Path,
    output: Path,
    images: Images,
    *,
    method: str = DEFAULT_METHOD,
    policy: Policy = DEFAULT_POLICY,
    least: int = 1,
    everything: bool = False,
    state: StateFile | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Calibrated:
    """Prepare, observe, find scales and quantise; the state is removed at the end."""
    check_method(method)
    network = prepare(heads, policy)
    seen = observe_images(
        network, images, everything=everything, state=state, progress=lambda done, total, stage: progress(done)
    )
    check_number(seen, least)
    file = quantise(
        network,
        scales_of(network, seen, method),
        output,
        calibration_method=method,
        calibration_images=str(seen.num_images),
        calibration_images_sha256=seen.image_set_sha256,
    )
    if state is not None:
        state.remove()
    return Calibrated(file, seen)


def calibrate_with(
    heads: Path, output: Path, scales: Mapping[str, float], *, policy: Policy = DEFAULT_POLICY
) -> Calibrated:
    """Quantise with given scales."""
    return Calibrated(quantise(prepare(heads, policy), scales, output, calibration_method="given scales"), None)


def every_scale(result: Calibrated, method: str) -> dict[str, float]:
    """The scale of each tensor that was observed; of those with a pair, the file's."""
    observed = find_scales(result.observations.histograms, method) if result.observations else {}
    return {**observed, **result.scales}

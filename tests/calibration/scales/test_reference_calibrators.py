"""The calibrators compared with ONNX Runtime's own (``onnxruntime.quantization.calibrate``) on the same data."""

from __future__ import annotations

import numpy as np
import pytest
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import HistogramCollector, create_calibrator

from ssd_edge.calibration.network.network import prepare
from ssd_edge.calibration.scales.calibrators import entropy, percentile
from ssd_edge.calibration.scales.find import observe_images
from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.calibration.scales.methods import METHODS
from tests.calibration.nets import images, saved, tiny_net
from tests.calibration.scales.test_calibrators import divergence
from tests.foreign import Reader

RANDOM = np.random.default_rng(8)
TAILS = {
    "normal": RANDOM.normal(size=100_000),
    "laplace": RANDOM.laplace(size=100_000),
    "student": RANDOM.standard_t(3, size=100_000),
    "exponential": RANDOM.exponential(size=100_000) * RANDOM.choice([-1, 1], 100_000),
}


def histogram(values) -> Histogram:
    result = Histogram()
    result.add(np.asarray(values, np.float32))
    return result


def collected(values, method: str, bins: int, **options) -> float:
    """Return the largest magnitude that ONNX Runtime's histogram calibrator chooses."""
    options = {"symmetric": True, "num_quantized_bins": 255, "percentile": None, "scenario": "same", **options}
    collector = HistogramCollector(method, num_bins=bins, **options)
    collector.collect({"x": [np.asarray(values, np.float32)]})
    low, high, *_ = collector.compute_collection_result()["x"]
    return float(max(abs(low), abs(high)))


@pytest.mark.parametrize("average", [False, True])
def test_ranges_are_onnx_runtimes(tmp_path, average, capfd):
    """Compare ranges of the whole set and of an average image; tolerance: float32's rounding of a mean."""
    heads = saved(tiny_net(), tmp_path)
    network = prepare(heads)
    seen = observe_images(network, images(12), everything=True)
    options = {"symmetric": True, "moving_average": average}
    folded = saved(network.model, tmp_path)
    calibrator = create_calibrator(
        folded, None, str(tmp_path / "wider.onnx"), CalibrationMethod.MinMax, extra_options=options
    )
    calibrator.collect_data(Reader(images(12)))
    theirs = calibrator.compute_data().data
    compared = 0
    for name, histogram in seen.histograms.items():
        if name in theirs:
            wanted = float(np.max(np.abs(theirs[name].range_value)))
            assert METHODS["moving-average" if average else "min-max"].load()(histogram) == pytest.approx(
                wanted, rel=1e-5
            )
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("name", TAILS)
@pytest.mark.parametrize("share", [99.0, 99.9, 99.99])
def test_percentile_is_onnx_runtimes(name, share, capfd):
    """Tolerance: one bin of theirs, which gives its lower edge, and one of ours, which gives its upper edge.

    Far out in a tail most bins are empty, so there it is the distance of neighbouring values, a hundredth.
    """
    ours = histogram(TAILS[name])
    theirs = collected(TAILS[name], "percentile", 2048, percentile=share)
    bins = 1.01 * (ours.bin_width + ours.amax / 2048)
    assert percentile(ours, share) == pytest.approx(theirs, abs=bins if share < 99.99 else max(bins, 0.01 * theirs))


@pytest.mark.slow
@pytest.mark.parametrize("name", TAILS)
def test_entropy_is_near_onnx_runtimes_and_diverges_no_more(name, capfd):
    """Our cut has a divergence at most that of theirs, by the paper's definition, which both use.

    The cuts agree to a factor of 1.6: the divergence hardly changes along a thin tail, and theirs moves as much from
    2048 to 4096 bins.
    """
    ours = histogram(TAILS[name])
    theirs = collected(TAILS[name], "entropy", 2048, symmetric=False)
    cut = entropy(ours)
    assert 0.6 < cut / theirs < 1.6
    bins = ours.counts[: np.flatnonzero(ours.counts)[-1] + 1].astype(float)
    # Our cut is at the middle of the bin behind the last bin that is kept.
    ours_after, theirs_after = int(cut / ours.bin_width), min(round(theirs / ours.bin_width), len(bins))
    assert divergence(bins, ours_after) <= divergence(bins, theirs_after) + 1e-9


@pytest.mark.slow
def test_behind_a_relu_onnx_runtimes_entropy_clips_much_and_ours_at_most_a_hundredth(capfd):
    """Why ours leaves zeros out and has a limit: half of these values are 0, and theirs cuts several hundredths of
    the others."""
    values = np.maximum(RANDOM.normal(size=100_000), 0)
    theirs = collected(values, "entropy", 2048, symmetric=False)
    positive = values[values > 0]
    assert np.mean(positive > theirs) > 0.03
    assert np.mean(positive > entropy(histogram(values))) <= 0.01

"""The search for a recipe within a budget, with AP set by the test; and bias correction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import onnx
import pytest

from ssd_edge.calibration.contract import calibrate_within
from ssd_edge.calibration.corrections.bias import corrected, output_shifts
from ssd_edge.calibration.job import Job, Measures
from ssd_edge.calibration.network.divergence import Reference
from ssd_edge.calibration.network.network import prepare
from ssd_edge.calibration.network.policy import DEFAULT_POLICY
from ssd_edge.calibration.network.qdq import quantised_weights
from ssd_edge.calibration.network.quantise import quantise
from ssd_edge.calibration.quantiser import Quantiser
from ssd_edge.calibration.recipe import Recipe
from ssd_edge.calibration.scales.find import observe_images, scales_of
from ssd_edge.calibration.scales.methods import METHODS
from ssd_edge.calibration.scales.observe import session
from ssd_edge.calibration.scales.state import StateFile
from ssd_edge.calibration.search import Contract, search
from ssd_edge.errors import CalibrationError
from ssd_edge.evaluation import Evaluation, evaluate
from ssd_edge.graph.heads import read_spec
from ssd_edge.progress import Progress
from ssd_edge.spec import METADATA_KEY

pytestmark = pytest.mark.int8

FP32_AP = 40.0


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1, (1, 3, 32, 32)).astype(np.float32) for _ in range(6)]


@pytest.fixture(scope="module")
def quantiser(heads_onnx: Path, images: list[np.ndarray]) -> Quantiser:
    network = prepare(heads_onnx)
    seen = observe_images(network, images, everything=True)
    return Quantiser(network, DEFAULT_POLICY, seen, Reference(network.model, read_spec(heads_onnx), images))


def in_int8(path: Path) -> set[str]:
    """Return the names of the convolutions whose weights are dequantised."""
    return {n.name for n in onnx.load(path).graph.node if n.op_type == "Conv" and n.input[1].endswith("_dequantised")}


def ap_that_costs(points: Mapping[str, float], always: float = 0.0) -> Callable[[Path], float]:
    """Return a fake AP that loses the given points for each convolution that is INT8."""
    return lambda path: FP32_AP - always - sum(points.get(name, 0.0) for name in in_int8(path))


def contract(measure: Callable[[Path], float], budget: float, **options: Any) -> Contract:
    return Contract(of_points(FP32_AP), budget, lambda path: of_points(measure(path)), **options)


def of_points(points: float) -> Evaluation:
    """Make an evaluation of no image with this AP."""
    return replace(evaluate([], [], ["bolt"]), ap=points / 100)


def measures(points: Callable[[Path], float]) -> Measures:
    """What measures a file as this many points of AP; the FP32 file has its own."""

    def evaluation(path: Path, progress: Progress) -> Evaluation:
        return of_points(points(path) if in_int8(path) else FP32_AP)

    return Measures(evaluation)


@pytest.mark.slow
def test_a_budget_that_holds_at_once_needs_one_trial(quantiser):
    result = search(quantiser, contract(ap_that_costs({}), 0.1))
    assert result.met
    assert len(result.trials) == 1
    assert result.best.recipe.in_float == ()
    assert result.best.num_int8 == len(quantiser.candidates) == 8
    assert set(result.distances) == set(METHODS)
    assert result.reason == (
        "the budget of 0.1 points holds: AP goes from 40.00 to 40.00 with 8 of 8 convolutions in INT8"
    )


@pytest.mark.slow
def test_only_the_convolutions_that_cost_stay_in_float(quantiser):
    distances = {name: quantiser.sensitivity(Recipe(), name).without for name in quantiser.candidates}
    worst = sorted(distances, key=lambda name: distances[name])
    # Two of those that the search tries first; the one in between costs nothing.
    guilty = {worst[0]: 1.0, worst[2]: 0.7}
    result = search(quantiser, contract(ap_that_costs(guilty), 0.5))
    assert result.met
    assert set(result.best.recipe.in_float) == set(guilty)
    assert result.best.num_int8 == 6
    assert set(result.sensitivities) == set(quantiser.candidates)
    assert all(s.alone > 0 and s.without > 0 for s in result.sensitivities.values())


@pytest.mark.slow
def test_a_budget_that_cannot_hold_ends_the_search(quantiser):
    result = search(quantiser, contract(ap_that_costs({}, always=5.0), 0.5))
    assert not result.met
    assert max(len(trial.recipe.in_float) for trial in result.trials) == 4  # the search stops at half of them
    assert "does not hold, not even with half of the 8 convolutions in float" in result.reason


@pytest.mark.slow
def test_the_deadline_ends_the_search_after_one_trial(quantiser):
    result = search(quantiser, contract(ap_that_costs({}, always=5.0), 0.5, deadline=monotonic() - 1))
    assert len(result.trials) == 1
    assert not result.sensitivities
    assert "time is up" in result.reason


@pytest.mark.slow
def test_learned_rounding_is_used_where_it_comes_closer(quantiser):
    result = search(quantiser, contract(ap_that_costs({}), 0.1, learned_rounding=True))
    nearest, learned = result.rounding.without, result.rounding.applied
    assert nearest == min(min(pair) for pair in result.distances.values())
    assert learned != nearest
    assert result.best.recipe.learned_rounding == (learned < nearest)
    assert quantiser.divergence(result.best.recipe) == min(nearest, learned)


@pytest.mark.slow
def test_the_file_records_the_contract(heads_onnx, images, tmp_path):
    output = tmp_path / "int8.onnx"
    state = StateFile(tmp_path / "state", "key")
    measured = measures(ap_that_costs({"stem/Conv": 3.0}))
    job = Job(heads_onnx, lambda: iter(images), read_spec(heads_onnx), state=state, measures=measured)
    outcome = calibrate_within(job, output, 0.2)
    assert "stem/Conv" not in in_int8(output)
    assert outcome.file.num_quantised == len(in_int8(output)) == outcome.search.best.num_int8
    assert outcome.before.ap == outcome.after.ap == FP32_AP / 100
    (entry,) = (e for e in onnx.load(output).metadata_props if e.key == METADATA_KEY)
    assert outcome.search.reason in entry.value
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.slow
def test_a_broken_contract_writes_nothing_and_keeps_the_observations(heads_onnx, images, tmp_path):
    output = tmp_path / "int8.onnx"
    output.write_text("an older one")
    state = StateFile(tmp_path / "state", "key")
    measured = measures(ap_that_costs({}, always=9.0))
    job = Job(heads_onnx, lambda: iter(images), read_spec(heads_onnx), state=state, measures=measured)
    with pytest.raises(CalibrationError, match=r"does not hold.*no file is written: allow a larger --max-drop"):
        calibrate_within(job, output, 0.2, deadline=monotonic() - 1)
    assert output.read_text() == "an older one"
    assert (tmp_path / "state").exists()


def test_no_images(heads_onnx, tmp_path):
    job = Job(heads_onnx, lambda: iter(()), read_spec(heads_onnx), measures=measures(lambda path: 0.0))
    with pytest.raises(CalibrationError, match="needs images"):
        calibrate_within(job, tmp_path / "a.onnx", 1.0)


def test_a_contract_without_a_measure(heads_onnx, images, tmp_path):
    with pytest.raises(CalibrationError, match="a contract needs labelled images"):
        calibrate_within(Job(heads_onnx, lambda: iter(images), read_spec(heads_onnx)), tmp_path / "a.onnx", 1.0)


def test_bias_correction_removes_the_mean_error_of_quantisation(heads_onnx, images, tmp_path):
    """The first convolution reads the image itself, so its mean is exact; scales that clip hard cause a shift."""
    network = prepare(heads_onnx)
    bright = [np.abs(image) + 1 for image in images]
    scales = {name: value / 3 for name, value in scales_of(network, observe_images(network, bright), "min-max").items()}
    weights = quantised_weights(network.model, network.placement)
    shifts = output_shifts(network, scales, weights, bright)
    assert np.abs(shifts["stem/Conv"]).max() > 0.05
    means = []
    for name, one in (("plain", network), ("corrected", corrected(network, shifts))):
        quantise(one, scales, tmp_path / f"{name}.onnx", weights=weights)
        means.append(_mean_of_stem(onnx.load(tmp_path / f"{name}.onnx"), bright))
    wanted = _mean_of_stem(network.model, bright)
    np.testing.assert_allclose(means[0] - wanted, shifts["stem/Conv"], atol=1e-4)
    np.testing.assert_allclose(means[1], wanted, atol=1e-4)


def _mean_of_stem(model: onnx.ModelProto, images: list[np.ndarray]) -> np.ndarray:
    model.graph.output.append(onnx.ValueInfoProto(name="stem.conv"))
    runtime = session(model.SerializeToString())
    return np.mean([runtime.run(["stem.conv"], {"image": i})[0].mean(axis=(0, 2, 3)) for i in images], axis=0)

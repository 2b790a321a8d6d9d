"""Calibration with exactly those corrections that bring the heads closer to FP32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job
from ssd_edge.calibration.network.divergence import SEEN
from ssd_edge.calibration.recipe import Corrections, Gain, Recipe
from ssd_edge.calibration.scales.observe import session
from ssd_edge.calibration.scales.state import StateFile
from ssd_edge.errors import CalibrationError
from ssd_edge.graph.heads import read_spec
from tests.calibration.chain import calibrate

pytestmark = pytest.mark.int8


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1, (1, 3, 32, 32)).astype(np.float32) for _ in range(6)]


def distance(heads: Path, int8: Path, images: list[np.ndarray]) -> float:
    """Compute the distance by its definition, for softmax scores."""
    amounts, count = 0.0, 0
    for image in images:
        outputs = []
        for path in (heads, int8):
            loc, logits = session(path.read_bytes()).run(["loc", "logits"], {"image": image})
            powers = np.exp(logits[0].astype(np.float64))
            scores = (powers / powers.sum(axis=1, keepdims=True))[:, 1:]
            outputs.append((scores, loc[0] * np.repeat(read_spec(heads).variances, 2)))
        (wanted, wanted_loc), (scores, loc) = outputs
        seen = np.maximum(wanted, scores).max(axis=1) > SEEN
        amounts += np.abs(scores - wanted)[seen].sum() + np.abs(loc - wanted_loc)[seen].sum()
        count += int(seen.sum())
    return amounts / count


def made(heads: Path, output: Path, images: list[np.ndarray], **options: bool) -> Corrections:
    return calibrate_closest(Job(heads, lambda: iter(images), read_spec(heads), **options), output).corrections


def constants(path: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


@pytest.mark.slow
def test_distances_equal_those_of_the_written_files(heads_onnx, images, tmp_path):
    """Tolerance 1e-4 relative: the program computes in float32, the test in float64."""
    plain, better = tmp_path / "plain.onnx", tmp_path / "better.onnx"
    made(heads_onnx, plain, images, equalisation=False, bias_correction=False)
    gains = made(heads_onnx, better, images, equalisation=False)
    assert gains.bias_correction is not None
    assert gains.bias_correction.closer, "this network was chosen so that it helps"
    assert gains.used == ("bias_correction",)
    assert gains.bias_correction.without == pytest.approx(distance(heads_onnx, plain, images), rel=1e-4)
    assert gains.bias_correction.applied == pytest.approx(distance(heads_onnx, better, images), rel=1e-4)


@pytest.mark.slow
def test_without_corrections_the_result_is_that_of_plain_calibration(heads_onnx, images, tmp_path):
    gains = made(heads_onnx, tmp_path / "a.onnx", images, equalisation=False, bias_correction=False)
    assert gains == Corrections()
    calibrate(heads_onnx, tmp_path / "b.onnx", images)
    ours, plain = constants(tmp_path / "a.onnx"), constants(tmp_path / "b.onnx")
    assert ours.keys() == plain.keys()
    assert all(np.array_equal(ours[name], plain[name]) for name in ours)


@pytest.mark.slow
@pytest.mark.parametrize("helps", [True, False])
def test_a_correction_that_does_not_help_is_left_out(heads_onnx, images, tmp_path, monkeypatch, helps):
    """Distances are planted; the written file's provenance records the corrections used."""
    planted = iter([3.0, 2.0, 1.0] if helps else [1.0, 2.0, 3.0])
    monkeypatch.setattr(Recipe, "__hash__", lambda self: 0)
    monkeypatch.setattr("ssd_edge.calibration.quantiser.Quantiser.divergence", lambda self, recipe: next(planted))
    monkeypatch.setattr("ssd_edge.calibration.quantiser._distance", lambda *_: 1.0)
    gains = made(heads_onnx, tmp_path / "a.onnx", images, learned_rounding=True)
    assert gains.equalisation == Gain(1.0, 1.0)
    assert gains.bias_correction == (Gain(3.0, 2.0) if helps else Gain(1.0, 2.0))
    assert gains.learned_rounding == (Gain(2.0, 1.0) if helps else Gain(1.0, 3.0))
    said = read_spec(tmp_path / "a.onnx").provenance
    assert said["equalisation"] == "no"
    assert said["bias_correction"] == said["learned_rounding"] == ("yes" if helps else "no")


def test_equalisation_that_helps_is_used(heads_onnx, images, tmp_path, monkeypatch):
    planted = iter([2.0, 1.0])
    monkeypatch.setattr("ssd_edge.calibration.quantiser._distance", lambda *_: next(planted))
    gains = made(heads_onnx, tmp_path / "a.onnx", images, bias_correction=False)
    assert gains.used == ("equalisation",)
    assert read_spec(tmp_path / "a.onnx").provenance["equalisation"] == "yes"
    made(heads_onnx, tmp_path / "b.onnx", images, bias_correction=False, equalisation=False)
    ours, plain = constants(tmp_path / "a.onnx"), constants(tmp_path / "b.onnx")
    assert any(not np.array_equal(ours[name], plain[name]) for name in ours.keys() & plain.keys())


@pytest.mark.slow
def test_the_state_file_is_deleted_when_the_output_is_written(heads_onnx, images, tmp_path):
    state = StateFile(tmp_path / "state", "key", seconds_between=0)
    calibrate_closest(Job(heads_onnx, lambda: iter(images), read_spec(heads_onnx), state=state), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.onnx"]


def test_bad_input(heads_onnx, images, tmp_path):
    with pytest.raises(CalibrationError, match="needs images"):
        made(heads_onnx, tmp_path / "a.onnx", [])
    with pytest.raises(CalibrationError, match="the calibration method must be one of"):
        calibrate_closest(
            Job(heads_onnx, lambda: iter(images), read_spec(heads_onnx)), tmp_path / "a.onnx", method="best"
        )
    with pytest.raises(CalibrationError, match="at least 32 images, but only 6"):
        calibrate_closest(Job(heads_onnx, lambda: iter(images), read_spec(heads_onnx), least=32), tmp_path / "a.onnx")
    nan = [np.full((1, 3, 32, 32), np.nan, np.float32)]
    with pytest.raises(CalibrationError, match="'image' becomes NaN or infinite on calibration image 1"):
        made(heads_onnx, tmp_path / "a.onnx", nan)
    assert not list(tmp_path.iterdir())

"""What ``run`` and ``benchmark`` say of a machine's heat and power, on a machine that is played."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle, load_smaller
from ssd_edge.files import sha256
from ssd_edge.graph.heads import read_spec, write_heads
from ssd_edge.loop import degrade
from ssd_edge.machine import readings
from ssd_edge.machine.limits import Limit
from ssd_edge.machine.readings import Readings
from tests.helpers import small_spec
from tests.models_for_tests import marks_model

LONG = 300
"""Seconds after which a run has failed, however slow the machine is: Ctrl-C ends it before."""

HOT = Readings({"tj": 97.0}, {"VDD_IN": 12.5}, 12.5, limits=(Limit("GPU", "heat"),), mode="15W")


class Played:
    """Stands for this machine's meter; at its last reading, if there is one, Ctrl-C is pressed."""

    def __init__(self, now: Readings, last: int | None = None) -> None:
        self.now, self.left = now, last

    def read(self) -> Readings:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
        return self.now


@pytest.fixture
def plays(monkeypatch):
    """Make the machine give these readings, until Ctrl-C is pressed at the ``last`` of them."""

    def play(now: Readings, last: int | None = None) -> None:
        played = Played(now, last)
        monkeypatch.setattr(readings, "_shared", lambda: played)

    return play


def measured(cli, bundle, *more):
    return cli("benchmark", bundle, "--frames", 10, "--warmup", 0, "--rounds", 1, *more)


def test_benchmark_on_a_hot_machine(cli, bundle, plays):
    plays(HOT)
    done = measured(cli, bundle)
    assert "97 °C before, 97 °C after, at most 97 °C (tj), 12.5 W on average, power mode 15W" in done.out
    assert "the figures are those of a machine that was slowed down: GPU slowed by heat for" in done.err


def test_benchmark_on_a_machine_that_tells_nothing(cli, bundle, plays):
    plays(Readings())
    done = measured(cli, bundle)
    assert "°C" not in done.out
    assert "slowed" not in done.err


def test_heat_in_json(cli, bundle, plays):
    plays(HOT)
    heat = json.loads(measured(cli, bundle, "--json").out)["heat"]
    assert heat["worst"] == {"sensor": "tj", "celsius": 97.0}
    assert heat["watts"] == 12.5
    assert heat["limited"]["GPU slowed by heat"] >= 0
    assert heat["before"]["rails"] == heat["after"]["rails"] == {"VDD_IN": 12.5}


def test_run_says_what_slowed_it_down(cli, bundle, plays):
    plays(HOT)
    done = cli("run", bundle, "-c", "synthetic", "--frames", 3, "--no-window")
    assert "at most 97 °C (tj), 12.5 W on average" in done.err
    assert "GPU slowed by heat for" in done.err


@pytest.fixture
def hasty(monkeypatch):
    """Let the policy take a step with each reading that shows trouble."""
    monkeypatch.setattr(degrade, "Policy", partial(degrade.Policy, patience=degrade.Patience(down=0)))


def other_engine(folder, labels=("bolt", "nut")):
    write_heads(marks_model(small_spec(labels=labels)), small_spec(labels=labels), folder / "other.onnx")
    build_bundle(folder / "other.onnx", folder / "other.engine", "openvino")
    return folder / "other.engine"


def mixed_bundle(heads_onnx, folder):
    """A bundle with FP32 for OpenVINO and INT8 for ONNX Runtime."""
    model = onnx.load(heads_onnx)
    scale, zero = numpy_helper.from_array(np.float32(0.05), "scale"), numpy_helper.from_array(np.int8(0), "zero")
    model.graph.initializer.extend([scale, zero])
    model.graph.node[0].input[0] = "image.dq"
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["image.q", "scale", "zero"], ["image.dq"]))
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["image.q"]))
    spec = read_spec(heads_onnx)
    facts = {"calibration_method": "by hand", "parent_sha256": sha256(heads_onnx)}
    write_heads(model, spec.with_provenance(**facts), folder / "int8.onnx")
    build_bundle(heads_onnx, folder / "mixed.engine", "openvino")
    build_bundle(folder / "int8.onnx", folder / "mixed.engine", "onnxruntime", add=True)
    return folder / "mixed.engine"


@pytest.mark.slow
def test_run_leaves_frames_out_and_takes_the_smaller_engine(cli, bundle, plays, hasty, tmp_path):
    plays(HOT, last=6)
    options = ("--degrade", "engine", "--fallback", other_engine(tmp_path), "--seconds", LONG, "--json")
    done = cli("run", bundle, "-c", "synthetic", "--no-window", *options)
    assert "GPU slowed by heat for 0 s: from now on one frame of 2" in done.err
    report = json.loads(done.out)
    assert [change["step"] for change in report["degraded"]["changes"]][-1] == "one frame of 3, by the smaller engine"


@pytest.mark.slow
def test_run_takes_the_smaller_plan_of_its_bundle(cli, heads_onnx, plays, hasty, tmp_path):
    plays(HOT, last=6)
    options = ("--no-window", "--degrade", "engine", "--seconds", LONG)
    done = cli("run", mixed_bundle(heads_onnx, tmp_path), "-c", "synthetic", *options)
    assert "openvino FP32, on synthetic" in done.err
    assert "from now on one frame of 3, by the smaller engine" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--degrade", "off"), ("--every-frame",)])
def test_run_that_may_leave_nothing_out(cli, bundle, plays, hasty, more):
    plays(HOT, last=4)
    done = cli("run", bundle, "-c", "synthetic", "--no-window", "--seconds", LONG, "--json", *more)
    report = json.loads(done.out)
    assert report["degraded"] is None
    assert "relief" not in report["ledger"]


def test_the_smaller_plan_is_one_in_fewer_bits(heads_onnx, bundle, tmp_path):
    with load_bundle(mixed_bundle(heads_onnx, tmp_path)) as full:
        smaller = load_smaller(tmp_path / "mixed.engine", full)
        assert (smaller.backend, smaller.precision) == ("onnxruntime", "INT8")
        assert load_smaller(tmp_path / "mixed.engine", smaller) is None
        smaller.close()
        on_gpu = SimpleNamespace(backend="tensorrt", precision="FP16")
        assert load_smaller(tmp_path / "mixed.engine", on_gpu) is None
        assert load_smaller(bundle, full) is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--degrade", "engine"), "tiny.engine has no plan in fewer bits than the openvino FP32 plan that runs"),
        (("--degrade", "engine", "--fallback", "absent.engine"), "there is no model absent.engine"),
        (("--fallback", "absent.engine"), "--fallback is the engine of --degrade engine"),
        (("--degrade", "much"), "'off', 'skip', 'engine'"),
    ],
)
def test_bad_options(cli, bundle, options, says):
    done = cli("run", bundle, "-c", "synthetic", *options)
    assert done.code == 2
    assert says in " ".join(done.err.replace("│", " ").split())


def test_a_fallback_with_other_labels(cli, bundle, tmp_path):
    other = other_engine(tmp_path, labels=("nut", "bolt"))
    done = cli("run", bundle, "-c", "synthetic", "--degrade", "engine", "--fallback", other)
    assert done.code == 2
    assert "name an engine with the same labels in the same order" in " ".join(done.err.split())

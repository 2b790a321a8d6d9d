"""Probes run side by side: one that fails or hangs affects only its own row."""

from __future__ import annotations

import json
from threading import Event
from time import perf_counter, sleep

import pytest

from ssd_edge.machine.examine import PROBES, SECONDS, examine
from ssd_edge.machine.finding import Finding
from ssd_edge.machine.host import PATIENCE, UnansweredError, this_host
from tests.machine.machines import MACHINES, but, machine


def test_failing_probes_cost_their_own_row(tmp_path):
    def broken(host):
        raise TypeError("can't concat NoneType to bytes")

    def unanswered(host):
        raise UnansweredError("nvidia-smi gave no answer within 2 s")

    probes = {
        "broken": broken,
        "none": lambda host: [],
        "unanswered": unanswered,
        "fine": lambda host: [Finding("a", "b")],
    }
    assert examine(machine(tmp_path), probes) == {
        "broken": [Finding("broken", "this check failed: TypeError: can't concat NoneType to bytes", "unknown")],
        "unanswered": [Finding("unanswered", "nvidia-smi gave no answer within 2 s", "unknown")],
        "fine": [Finding("a", "b")],
    }


def test_doctor_takes_less_than_three_seconds():
    """The start of Python and the printing, which take less than one second, are included."""
    assert PATIENCE <= 2
    assert PATIENCE < SECONDS <= 2.5


def test_hanging_probes_are_left_behind(tmp_path):
    over = Event()
    probes = {
        **{f"hangs {k}": lambda host: over.wait() and [] for k in range(5)},
        "fine": lambda host: [Finding("a", "b")],
    }
    began = perf_counter()
    sections = examine(machine(tmp_path), probes, seconds=0.2)
    assert perf_counter() - began < 2
    over.set()
    assert sections["fine"] == [Finding("a", "b")]
    assert sections["hangs 3"] == [Finding("hangs 3", "no answer within 0.2 s", "unknown")]


@pytest.mark.slow
def test_the_start_of_python_is_not_counted(tmp_path):
    """While a child starts, the time limit of probes does not run."""
    started = Event()
    began = perf_counter()
    host = but(machine(tmp_path), start_up=lambda: 0.0 if started.is_set() else perf_counter() - began)

    def slow(host):
        sleep(0.6)
        started.set()
        return [Finding("a", "b")]

    assert examine(host, {"slow": slow}, seconds=0.1) == {"slow": [Finding("a", "b")]}


@pytest.mark.parametrize("name", MACHINES)
def test_every_section_of_a_known_machine_is_found_out(tmp_path, name):
    sections = examine(MACHINES[name](tmp_path))
    assert not [finding for findings in sections.values() for finding in findings if finding.state == "unknown"]
    absent = {"GPU state"} if "orin" in name else {"Jetson", "power mode"}
    assert set(PROBES) - set(sections) == (absent if name != "laptop" else {*absent, "GPU state"})
    for findings in sections.values():
        assert json.loads(json.dumps([finding.to_json() for finding in findings]))


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("child", ["driver", "v4l2", "pyav", "opencv"])
def test_every_child_may_hang(tmp_path, name, child):
    """The other children still answer, and a row says what happened."""
    host = MACHINES[name](tmp_path)
    before = examine(host)
    after = examine(but(host, children={child: UnansweredError(f"{child} gave no answer")}))
    assert set(after) == set(before)
    changed = {section for section in after if after[section] != before[section]}
    affected = {"driver": {"GPU"}, "v4l2": {"cameras"}, "pyav": {"video"}, "opencv": {"OpenCV", "cameras"}}[child]
    assert changed <= affected
    if child != "v4l2" or host.names("/dev", "video*"):
        told = [finding for section in changed for finding in after[section]]
        assert any(f"{child} gave no answer" in finding.value and finding.state != "fine" for finding in told)


def test_an_empty_machine_gives_no_error(tmp_path):
    """There is no /proc, /sys or package, as on another system, or in a container that hides them."""
    sections = examine(machine(tmp_path, packages={}, requirements=list))
    assert not [finding for findings in sections.values() for finding in findings if finding.state == "unknown"]


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_other_systems(tmp_path, system):
    sections = examine(machine(tmp_path, system=system))
    assert not [finding for findings in sections.values() for finding in findings if finding.state == "unknown"]
    assert sections["cameras"][0].value.startswith("not listed on this system")


def test_this_machine():
    began = perf_counter()
    sections = examine(this_host())
    assert perf_counter() - began < SECONDS + 2  # a machine with other work
    assert {"GPU", "processor", "disk", "Python"} <= set(sections)
    states = {finding.name: finding for findings in sections.values() for finding in findings}
    assert states["processor"].facts["processor"]
    assert states["ssd-edge"].facts["packages"]["numpy"]

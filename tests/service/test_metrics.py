"""Metrics and health of reports made by hand."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ssd_edge.loop.stats import LoopReport
from ssd_edge.machine.clocks import Clock
from ssd_edge.machine.limits import Limit
from ssd_edge.machine.readings import Readings
from ssd_edge.outputs.sink import OutputReport
from ssd_edge.service.exposition import exposition
from ssd_edge.service.health import STUCK_AFTER, Health
from ssd_edge.service.metrics import (
    camera_families,
    duration_families,
    heat_families,
    info_family,
    output_families,
    process_families,
    service_families,
)
from ssd_edge.stream import supervision
from ssd_edge.stream.durations import Durations, Percentiles
from tests.service.test_exposition import parsed

NONE = Percentiles(0, 0, 0)


def report(**changed):
    numbers = {name: 0 for name, field in LoopReport.__dataclass_fields__.items() if field.type in ("int", "float")}
    words = {"camera": "a", "source": "a", "buffer": "newest", "ledger": {}}
    others = {**words, "health": None, "latency": NONE, "age": NONE, "stages": {}}
    return LoopReport(**{**numbers, **others, **changed})


def health(state="streaming"):
    return supervision.Health(state, (), 2, 3.5, 7)


def values(families):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parsed(exposition(families))
        for sample in family.samples
    }


def test_each_camera_has_its_numbers():
    reports = {
        'a"b': report(captured=9, processed=5, ledger={"replaced": 3, "too_old": 1}, detections=11, fps_now=2.5),
        "c": report(processed=1, health=health("stalled")),
    }
    told = values(camera_families(reports))
    assert told["ssd_edge_captured_frames_total", 'a"b'] == 9
    assert told["ssd_edge_processed_frames_total", 'a"b'] == 5
    assert told["ssd_edge_processed_frames_total", "c"] == 1
    assert told["ssd_edge_fps", 'a"b'] == 2.5
    assert told["ssd_edge_dropped_frames_total", 'a"b', "replaced"] == 3
    assert told["ssd_edge_dropped_frames_total", 'a"b', "too_old"] == 1
    assert told["ssd_edge_dropped_frames_total", 'a"b', "damaged"] == 0
    assert ("ssd_edge_dropped_frames_total", 'a"b', "waiting") not in told
    assert told["ssd_edge_outage_seconds_total", "c"] == 3.5
    assert ("ssd_edge_outage_seconds_total", 'a"b') not in told
    assert told["ssd_edge_camera_state", "c", "stalled"] == 1
    assert sum(value for key, value in told.items() if key[:2] == ("ssd_edge_camera_state", "c")) == 1


def test_the_machine_is_told():
    readings = Readings(
        {"tj": 61.5},
        {"VDD_IN": 12.25},
        clocks={"GPU": Clock(612, 300, 1020)},
        busy={"GPU": 0.75},
        limits=(Limit("GPU", "heat"),),
    )
    told = values(heat_families(readings, 2))
    assert told == {
        ("ssd_edge_machine_celsius", "tj"): 61.5,
        ("ssd_edge_machine_watts", "VDD_IN"): 12.25,
        ("ssd_edge_machine_clock_hertz", "GPU"): 612e6,
        ("ssd_edge_machine_busy_ratio", "GPU"): 0.75,
        ("ssd_edge_machine_limited", "GPU", "heat"): 1,
        ("ssd_edge_one_frame_in",): 2,
    }
    assert values(heat_families(Readings(), 1)) == {("ssd_edge_one_frame_in",): 1}


def test_latency_and_age_are_histograms():
    latency, age = Durations(), Durations()
    for seconds in (0.004, 0.04, 20.0):
        latency.add(seconds)
    told = values(duration_families({"a": report(durations={"latency": latency, "age": age})}))
    assert told["ssd_edge_latency_seconds_bucket", "a", "0.01"] == 1
    assert told["ssd_edge_latency_seconds_bucket", "a", "10"] == 2
    assert told["ssd_edge_latency_seconds_bucket", "a", "+Inf"] == told["ssd_edge_latency_seconds_count", "a"] == 3
    assert told["ssd_edge_latency_seconds_sum", "a"] == pytest.approx(20.044)
    assert told["ssd_edge_age_seconds_count", "a"] == 0


def test_each_output_has_its_numbers():
    output = OutputReport("video", "waiting", 5, {"slow": 2}, 1, "disk full", 3, NONE, 4, 1)
    told = values(output_families({"a": report(outputs=(output,)), "b": report()}))
    assert told == {
        ("ssd_edge_output_written_frames_total", "a", "video"): 5,
        ("ssd_edge_output_reopened_total", "a", "video"): 1,
        ("ssd_edge_output_late_events_total", "a", "video"): 4,
        ("ssd_edge_output_lost_events_total", "a", "video"): 1,
        ("ssd_edge_output_queued_frames", "a", "video"): 3,
        ("ssd_edge_output_up", "a", "video"): 0,
        ("ssd_edge_output_dropped_frames_total", "a", "video", "slow"): 2,
    }


def test_the_service_is_told():
    told = values(service_families({"a": "gone"}, {"done": 2, "refused": 1}, False))
    assert told["ssd_edge_waiting_cameras",] == told["ssd_edge_reloads_total", "refused"] == 1
    assert told["ssd_edge_healthy",] == 0


def test_without_cameras_there_is_nothing():
    for families in (camera_families, duration_families, output_families):
        assert values(families({})) == {}


def test_the_process_is_told():
    told = values([*process_families(), info_family(version="1", model="m")])
    assert told["ssd_edge_info", "1", "m"] == 1
    if os.path.exists("/proc/self/statm"):  # noqa: PTH110
        assert told["process_resident_memory_bytes",] > 1e6
        assert told["process_open_fds",] >= 3


def test_durations_are_counted_up_to_each_bound():
    durations = Durations()
    for value in (0.001, 0.04, 0.06, 0.2, 2000.0):
        durations.add(value)
    assert durations.at_most([0.05, 0.1, 1.0]) == [2, 3, 4]
    assert (durations.count, durations.total) == (5, 2000.301)
    assert Durations().at_most([0.1]) == [0]


@pytest.mark.parametrize("share", [0.97, 1.03])
def test_a_bound_is_right_to_two_per_cent(share):
    durations = Durations()
    durations.add(0.1 * share)
    assert durations.at_most([0.1]) == [int(share < 1)]


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def judge(clock):
    return Health(10, lambda: clock[0])


def test_results_that_stop_turn_it_red(judge, clock):
    assert judge.verdict({"a": report(processed=1, health=health())})[0]
    clock[0] += 9
    assert judge.verdict({"a": report(processed=1, health=health())})[0]
    clock[0] += 2
    well, told = judge.verdict({"a": report(processed=1, health=health("stalled")), "b": report(processed=3)})
    assert not well
    assert told["cameras"]["a"]["reason"] == "no result for 11 s: its source gives no frames"
    assert told["cameras"]["b"]["healthy"]
    clock[0] += 1
    assert judge.verdict({"a": report(processed=2, health=health())})[0]


def test_frames_that_are_not_processed_turn_it_red(judge, clock):
    judge.look({"a": report(health=health())})
    clock[0] += 11
    well, told = judge.verdict({"a": report(health=health())})
    assert (well, told["cameras"]["a"]["reason"]) == (False, "no result for 11 s: its frames are not processed")


def test_a_source_at_its_end_is_well(judge, clock):
    judge.look({"a": report(health=health())})
    clock[0] += 1000
    judge.beat()
    assert judge.verdict({"a": report(health=health(), ended=True)})[0]
    assert not judge.verdict({"a": report(health=health(), ended=True, error="it failed")})[0]


def test_a_slow_camera_has_more_time(judge, clock):
    slow = report(processed=3, fps=0.1)
    judge.look({"a": slow})
    clock[0] += 29
    assert judge.verdict({"a": slow})[0]
    clock[0] += 30
    judge.beat()
    assert not judge.verdict({"a": slow})[0]


def test_a_loop_that_is_stuck_turns_it_red(judge, clock):
    judge.beat()
    assert not judge.stuck
    clock[0] += STUCK_AFTER + 1
    well, told = judge.verdict({})
    assert (well, told["loop"]) == (False, {"healthy": False, "seconds_since_round": STUCK_AFTER + 1})


def test_a_camera_that_cannot_be_opened_is_not_well(judge):
    judge.waiting({"a": "there is no camera 3"})
    well, told = judge.verdict({})
    assert not well
    assert told["cameras"] == {"a": {"healthy": False, "state": "waiting", "reason": "there is no camera 3"}}
    judge.waiting({})
    assert judge.verdict({})[0]


def test_a_camera_that_went_is_forgotten(judge, clock):
    judge.look({"a": report(processed=7)})
    judge.look({})
    clock[0] += 100
    judge.beat()
    assert judge.verdict({"a": replace(report(processed=7))})[0]

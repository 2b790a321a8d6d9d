"""What a machine tells of its heat, power, clocks and limits while it works."""

from __future__ import annotations

import sys
from itertools import count

import pytest

from ssd_edge.machine import nvml, readings
from ssd_edge.machine.clocks import Clock
from ssd_edge.machine.heat import HeatRecorder, _Sum
from ssd_edge.machine.limits import Counted, Limit, of_clock_reasons
from ssd_edge.machine.readings import Meter, Readings
from tests.machine.heat_trees import AGX_ORIN_RAILS, ORIN_NANO, RAPL, THOR_RAILS, FakeNvml, rtx
from tests.machine.machines import agx_orin_6, laptop, machine, rtx_desktop

HEAT = Limit("GPU", "heat")


def rewrite(host, name, text):
    host.path(name).write_text(text)


def test_readings_of_an_orin_nano(tmp_path):
    now = Meter(machine(tmp_path, ORIN_NANO)).read()
    assert now.celsius == {"gpu": 61.25}
    assert now.rails == pytest.approx({"VDD_IN": 9.250, "VDD_CPU_GPU_CV": 3.025, "VDD_SOC": 1.550}, abs=1e-3)
    assert now.watts == pytest.approx(9.250, abs=1e-3)  # VDD_IN feeds the other two
    assert now.clocks == {"GPU": Clock(306, 306, 624.75, 1020)}
    assert now.busy == {"GPU": 0.473}
    assert now.memory == {"machine": (5000 << 10, 8000 << 10)}
    assert now.mode == "7W"
    assert now.limits == ()  # neither the fan, a warm surface, nor events before the first reading


@pytest.mark.parametrize(("tree", "watts"), [(AGX_ORIN_RAILS, 10 + 5 + 4), (THOR_RAILS, 31.5)])
def test_power_of_other_jetsons(tmp_path, tree, watts):
    assert Meter(machine(tmp_path, tree)).read().watts == pytest.approx(watts)


def test_the_rail_that_is_not_connected_is_left_out(tmp_path):
    assert set(Meter(machine(tmp_path, AGX_ORIN_RAILS)).read().rails) == {
        "VDD_GPU_SOC",
        "VDD_CPU_CV",
        "VIN_SYS_5V0",
        "VDDQ_VDD2_1V8AO",
    }


@pytest.mark.parametrize(
    ("device", "part"),
    [
        ("gpu-throttle-alert", "GPU"),
        ("cpu-throttle-alert", "processor"),
        ("soc012-throttle-alert", "soc012"),
        ("thermal-cpufreq-0", "processor"),
        ("cpufreq-cpu4", "processor"),
        ("devfreq-17000000.gpu", "GPU"),
        ("devfreq-gpu-gpc-0", "GPU"),
        ("Processor", "processor"),
    ],
)
def test_cooling_devices_that_slow_a_part_down(tmp_path, device, part):
    folder = "/sys/class/thermal/cooling_device3"
    host = machine(tmp_path, {f"{folder}/type": f"{device}\n", f"{folder}/cur_state": "2\n"})
    assert Meter(host).read().limits == (Limit(part, "heat"),)
    rewrite(host, f"{folder}/cur_state", "0\n")
    assert Meter(host).read().limits == ()


@pytest.mark.parametrize("device", ["Fan", "pwm-fan", "hot-surface-alert", "intel_powerclamp", "TCC Offset", ""])
def test_cooling_devices_that_slow_nothing_down(tmp_path, device):
    folder = "/sys/class/thermal/cooling_device3"
    host = machine(tmp_path, {f"{folder}/type": f"{device}\n", f"{folder}/cur_state": "2\n"})
    assert Meter(host).read().limits == ()


def test_over_current_holds_for_a_while_after_its_counter_moved(tmp_path):
    host, times = machine(tmp_path, ORIN_NANO), iter([0.0, 1.0, 2.0, 3.9, 4.1])
    meter = Meter(host, clock=lambda: next(times))
    assert meter.read().limits == ()
    rewrite(host, "/sys/class/hwmon/hwmon3/oc2_event_cnt", "16\n")
    assert meter.read().limits == (Limit("board", "over-current"),)
    rewrite(host, "/sys/class/hwmon/hwmon3/oc3_event_cnt", "27400\n")
    second = meter.read()
    assert second.limits == (Limit("board", "over-current"), Limit("board", "peaks of current", usual=True))
    assert second.troubles == (Limit("board", "over-current"),)
    assert len(meter.read().limits) == 2
    assert [limit.reason for limit in meter.read().limits] == ["peaks of current"]


def test_a_pc_counts_how_often_heat_slowed_it(tmp_path):
    folder = "/sys/devices/system/cpu/cpu{}/thermal_throttle/{}_throttle_count"
    files = {folder.format(cpu, which): "7\n" for cpu in (0, 1) for which in ("core", "package")}
    host = machine(tmp_path, files)
    meter = Meter(host)
    assert meter.read().limits == ()
    rewrite(host, folder.format(1, "core"), "8\n")
    assert meter.read().limits == (Limit("processor", "heat"),)


def test_a_counter_that_begins_again_is_no_event():
    counted, limit = Counted(), Limit("board", "over-current")
    assert counted.struck({limit: 5}, 0) == []
    assert counted.struck({limit: 0}, 1) == []
    assert counted.struck({limit: 1}, 2) == [limit]


def test_watts_of_energy_counters(tmp_path):
    host, times = machine(tmp_path, RAPL), iter([10.0, 12.0, 13.0, 13.0])
    meter = Meter(host, clock=lambda: next(times))
    energy = "/sys/class/powercap/intel-rapl:0/energy_uj"
    assert meter.read().watts is None  # one value of a counter says nothing
    rewrite(host, energy, "61000000\n")
    assert meter.read().rails == {"package-0": 30.0}  # 60 J in 2 s, the cores being part of the package
    rewrite(host, energy, "1000000\n")  # 39 J to the end of the counter, and 1 J more
    assert meter.read().rails == {"package-0": pytest.approx(40.0)}
    assert meter.read().watts is None  # no time has passed


def test_energy_that_only_root_may_read(tmp_path):
    host = machine(tmp_path, RAPL)
    host.path("/sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    assert Meter(host).read().watts is None


def test_readings_of_a_gpu_through_nvml(tmp_path):
    gpus = nvml.Nvml(FakeNvml(rtx(CurrentClocksEventReasons=0x1 | 0x4 | 0x40)))
    now = Meter(rtx_desktop(tmp_path), gpus).read()
    assert now.celsius == {"nvme": 38.85, "k10temp": 52.125, "GPU": 71}
    assert now.hottest == ("GPU", 71)
    assert now.watts == 142.5
    assert now.clocks["GPU"] == Clock(2520, 0, 3105, 3105)
    assert now.busy == {"GPU": 0.83}
    assert now.memory["GPU"] == (1 << 30, 12 << 30)
    assert now.limits == (Limit("GPU", "its power limit", usual=True), HEAT)
    assert now.troubles == (HEAT,)


def test_two_gpus_and_what_they_do_not_tell():
    gpus = nvml.Nvml(FakeNvml({"Temperature": 50}, rtx(CurrentClocksEventReasons=0x20))).read()
    assert gpus["GPU 0"] == nvml.GpuReading(celsius=50)
    assert gpus["GPU 1"].limits == (Limit("GPU 1", "heat"),)


def test_an_old_driver_has_another_name_for_the_reasons():
    old = FakeNvml(rtx(CurrentClocksThrottleReasons=0x80), old=True)
    assert nvml.Nvml(old).read()["GPU"].limits == (Limit("GPU", "the power supply's brake"),)


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x0, []),
        (0x1 | 0x2 | 0x10 | 0x100, []),  # idle, set by the user, by another GPU, by the display
        (0x8, ["a hardware slowdown"]),
        (0x8 | 0x40, ["heat"]),
        (0x20 | 0x40, ["heat"]),
        (0x8 | 0x80, ["the power supply's brake"]),
        (0x4, ["its power limit"]),
    ],
)
def test_reasons_for_low_clocks(bits, reasons):
    assert [limit.reason for limit in of_clock_reasons(bits)] == reasons


def test_the_bits_are_those_of_nvidia():
    names = pytest.importorskip("pynvml", reason="needs nvidia-ml-py")
    assert of_clock_reasons(names.nvmlClocksEventReasonSwPowerCap)[0].reason == "its power limit"
    assert of_clock_reasons(names.nvmlClocksEventReasonSwThermalSlowdown)[0].reason == "heat"
    assert of_clock_reasons(names.nvmlClocksEventReasonHwThermalSlowdown)[0].reason == "heat"
    assert of_clock_reasons(names.nvmlClocksEventReasonHwPowerBrakeSlowdown)[0].reason == "the power supply's brake"
    assert of_clock_reasons(names.nvmlClocksEventReasonHwSlowdown)[0].reason == "a hardware slowdown"
    assert of_clock_reasons(names.nvmlClocksEventReasonGpuIdle) == []


def test_nvml_that_is_missing_or_does_not_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.opened() is None
    broken = FakeNvml(rtx())
    monkeypatch.setattr(broken, "nvmlInit", lambda: (_ for _ in ()).throw(broken.NVMLError("Driver Not Loaded")))
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert nvml.opened() is None
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(rtx()))
    assert nvml.opened().read()["GPU"].watts == 142.5


def test_a_machine_that_tells_nothing(tmp_path):
    now = Meter(machine(tmp_path)).read()
    assert now == Readings()
    assert now.hottest is None
    assert now.to_json()["watts"] is None


@pytest.mark.parametrize("make", [agx_orin_6, laptop])
def test_known_machines(tmp_path, make):
    now = Meter(make(tmp_path)).read()
    assert now.celsius
    assert now.clocks["processor"].most > now.clocks["processor"].least
    assert (now.mode == "MODE_30W") == (make is agx_orin_6)


def test_all_who_ask_within_half_a_second_share_one_reading(monkeypatch, tmp_path):
    times = iter([0.0, 0.0, 0.4, 0.6, 0.6])
    monkeypatch.setattr(readings, "monotonic", lambda: next(times))
    numbers = count(1)
    shared = readings._Shared(Meter(machine(tmp_path)))
    monkeypatch.setattr(shared._meter, "read", lambda: Readings(watts=next(numbers)))
    assert [shared.read().watts for _ in range(3)] == [1, 1, 2]


def test_this_machine_can_be_read():
    now = readings.readings()
    assert now is readings.readings() or now != Readings()
    used, total = now.memory["machine"]
    assert 0 < used < total


def test_heat_of_some_work():
    total = _Sum(Readings({"gpu": 50.0}, watts=10.0), 100.0)
    total.add(Readings({"gpu": 70.0, "cpu": 90.0}, watts=20.0, limits=(HEAT,)), 101.0)
    total.add(Readings({"gpu": 60.0}, watts=40.0), 104.0)
    heat = total.heat()
    assert heat.worst == ("cpu", 90.0)
    assert heat.watts == (20 * 1 + 40 * 3) / 4
    assert heat.limited == {HEAT: 1.0}
    assert heat.sentence() == "50 °C before, 60 °C after, at most 90 °C (cpu), 35.0 W on average"
    assert heat.warning() == "GPU slowed by heat for 1 s, of 4 s"
    assert heat.to_json()["limited"] == {"GPU slowed by heat": 1.0}


def test_heat_of_a_machine_without_sensors():
    heat = _Sum(Readings(), 0.0).heat()
    assert (heat.sentence(), heat.warning(), heat.worst, heat.watts) == (None, None, None, None)


def test_the_recorder_reads_until_it_ends():
    numbers, heard = count(0), []
    with HeatRecorder(lambda: Readings(watts=float(next(numbers))), every=0.001, listen=heard.append) as recorder:
        while len(heard) < 3:
            pass
    assert heard[:3] == [Readings(watts=1.0), Readings(watts=2.0), Readings(watts=3.0)]
    assert recorder.heat().first.watts == 0.0
    assert recorder.latest.watts == next(numbers) - 1  # the last reading is that at the end

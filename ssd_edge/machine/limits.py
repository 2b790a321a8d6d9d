"""Tell which limits slow the machine down: heat, power, current, voltage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ssd_edge.machine.host import Host

_THERMAL = "/sys/class/thermal"
_HWMON = "/sys/class/hwmon"
_PROCESSORS = "/sys/devices/system/cpu"


class Limit(NamedTuple):
    """Something that slows a part of the machine down.

    Attributes:
        part: the part, such as ``GPU``.
        reason: what slows it down, such as ``heat``.
        usual: whether it also comes in good health: a GPU at full load is mostly held by its power limit, and a Jetson
            in its fastest mode answers peaks of current for microseconds, many times a second.
    """

    part: str
    reason: str
    usual: bool = False

    def __str__(self) -> str:
        return f"{self.part} slowed by {self.reason}"


OVER_CURRENTS = {
    1: Limit("board", "under-voltage"),
    2: Limit("board", "over-current"),
    3: Limit("board", "peaks of current", usual=True),
}
"""What the counters of the driver ``soctherm_oc`` of Orin and Thor count, by their numbers."""

_SLOWED_BY_HEAT = {
    r"(thermal-)?cpufreq-.*|Processor": "processor",
    r"(thermal-)?devfreq-.*gpu.*": "GPU",
}
"""Parts by the types of cooling devices that lower a clock; fans are cooling devices too."""

# Bits of nvmlClocksEventReasons in <nvml.h>. That the GPU is idle, or its clocks are set by a user, is no limit.
_HARDWARE_SLOWDOWN = 0x8
_CAUSES = {
    0x4: Limit("GPU", "its power limit", usual=True),
    0x20: Limit("GPU", "heat"),
    0x40: Limit("GPU", "heat"),
    0x80: Limit("GPU", "the power supply's brake"),
    0x200: Limit("GPU", "its board's limit", usual=True),
    0x400: Limit("GPU", "its voltage limit", usual=True),
}


def of_clock_reasons(bits: int, part: str = "GPU") -> list[Limit]:
    """Translate NVML's reasons why clocks are low.

    Args:
        bits: what ``nvmlDeviceGetCurrentClocksEventReasons`` gives.
        part: name of the GPU.
    """
    limits = [limit._replace(part=part) for bit, limit in _CAUSES.items() if bits & bit]
    if bits & _HARDWARE_SLOWDOWN and not bits & 0xC0:
        limits.append(Limit(part, "a hardware slowdown"))
    return list(dict.fromkeys(limits))


def cooling(host: Host) -> list[Limit]:
    """Ask the kernel's cooling devices which parts they slow down now."""
    parts = []
    for device in host.names(_THERMAL, "cooling_device*"):
        folder = f"{_THERMAL}/{device}"
        kind, state = host.read(f"{folder}/type") or "", host.number(f"{folder}/cur_state")
        part = _part(kind)
        if part is not None and state is not None and state > 0:
            parts.append(part)
    return [Limit(part, "heat") for part in dict.fromkeys(parts)]


def _part(kind: str) -> str | None:
    alert = re.fullmatch(r"(\w+)-throttle-alert", kind)
    if alert:
        name = alert[1]
        return "processor" if name == "cpu" else "GPU" if name == "gpu" else name
    return next((part for pattern, part in _SLOWED_BY_HEAT.items() if re.fullmatch(pattern, kind)), None)


def counters(host: Host) -> dict[Limit, int]:
    """Read how often each limit has slowed the machine down since it was started."""
    counts: dict[Limit, int] = {}
    for sensor in host.names(_HWMON, "hwmon*"):
        for number, limit in OVER_CURRENTS.items():
            count = host.number(f"{_HWMON}/{sensor}/oc{number}_event_cnt")
            if count is not None:
                counts[limit] = counts.get(limit, 0) + count
    throttled = [
        count
        for name in host.names(_PROCESSORS, "cpu[0-9]*")
        for which in ("core", "package")
        if (count := host.number(f"{_PROCESSORS}/{name}/thermal_throttle/{which}_throttle_count")) is not None
    ]
    if throttled:
        counts[Limit("processor", "heat")] = sum(throttled)
    return counts


class Counted:
    """Tells which limits that are only counted, not shown as a state, have struck lately."""

    LATELY = 3.0
    """Seconds for which a limit holds after its counter moved; longer than the time between two readings."""

    def __init__(self) -> None:
        self._counts: dict[Limit, int] = {}
        self._moved: dict[Limit, float] = {}

    def struck(self, counts: Mapping[Limit, int], now: float) -> list[Limit]:
        """Take new counts, and return the limits whose count rose within the last ``LATELY`` seconds.

        Args:
            counts: see ``counters``; the first are only remembered, since they count from the machine's start.
            now: time in seconds.
        """
        for limit, count in counts.items():
            if count > self._counts.get(limit, count):
                self._moved[limit] = now
            self._counts[limit] = count
        return [limit for limit, when in self._moved.items() if now - when <= self.LATELY]

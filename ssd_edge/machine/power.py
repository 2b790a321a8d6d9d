"""Read what the machine draws: power monitors of Jetsons, and energy counters of processors, from the kernel."""

from __future__ import annotations

import re

from ssd_edge.machine.host import Host

_HWMON = "/sys/class/hwmon"
_POWERCAP = "/sys/class/powercap"

_INPUTS = ("VDD_IN", "VIN", "POM_5V_IN")
"""Rails that carry all power of a board: Orin NX and Nano, Thor, Nano."""

_FED_BY_OTHERS = {"VDDQ_VDD2_1V8AO"}
"""Rails that are part of another: the 1.8 V of an AGX Orin are made of its VIN_SYS_5V0."""


def jetson_rails(host: Host) -> dict[str, float]:
    """Read the power of each rail of a Jetson in watts; empty on other machines.

    An INA3221 measures three rails as volts and amperes, an INA238 (on Thor) one as watts.
    """
    rails: dict[str, float] = {}
    for sensor in host.names(_HWMON, "hwmon*"):
        folder = f"{_HWMON}/{sensor}"
        kind = host.read(f"{folder}/name")
        if kind == "ina3221":
            rails |= _of_ina3221(host, folder)
        elif kind == "ina238" and (microwatts := host.number(f"{folder}/power1_input")) is not None:
            rails["VIN"] = microwatts / 1e6
    return rails


def _of_ina3221(host: Host, folder: str) -> dict[str, float]:
    rails = {}
    for channel in (1, 2, 3):
        label = host.read(f"{folder}/in{channel}_label")
        millivolts = host.number(f"{folder}/in{channel}_input")
        milliamperes = host.number(f"{folder}/curr{channel}_input")
        if label and label != "NC" and millivolts is not None and milliamperes is not None:
            rails[label] = millivolts * milliamperes / 1e6
    return rails


def total_of(rails: dict[str, float]) -> float | None:
    """Add up a Jetson's rails, in watts; the rail that feeds all others counts alone. None without rails."""
    for name in _INPUTS:
        if name in rails:
            return rails[name]
    return sum(watts for name, watts in rails.items() if name not in _FED_BY_OTHERS) if rails else None


class EnergyCounters:
    """Makes watts of the energy counters (RAPL) of a PC's processors, which most systems let only root read."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._packages = [
            name for name in host.names(_POWERCAP, "intel-rapl:*") if re.fullmatch(r"intel-rapl:\d+", name)
        ]
        self._last: dict[str, tuple[float, int]] = {}

    def watts(self, now: float) -> dict[str, float]:
        """Return each processor's mean power since the last call; nothing at the first.

        Args:
            now: time in seconds.
        """
        powers = {}
        for package in self._packages:
            folder = f"{_POWERCAP}/{package}"
            joules = self._host.number(f"{folder}/energy_uj")
            if joules is None:
                continue
            before = self._last.get(package)
            self._last[package] = now, joules
            if before is not None and now > before[0]:
                # the counter begins again at 0 behind its largest value
                span = self._host.number(f"{folder}/max_energy_range_uj") or 0
                used = joules - before[1] if joules >= before[1] else joules - before[1] + span
                name = self._host.read(f"{folder}/name") or package
                powers[name] = used / 1e6 / (now - before[0])
        return powers

"""Read temperatures from the kernel: thermal zones, and hardware sensors that are not thermal zones."""

from __future__ import annotations

from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host

_WARM, _HOT = 85.0, 95.0  # °C; a Jetson Orin slows down from 99, processors of PCs from 90 to 105
_SENSIBLE = (-20.0, 150.0)  # °C; some laptops' sensors always report -274 or 0
_SENSORS = {"k10temp", "coretemp", "zenpower", "amdgpu", "nvme"}


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``; discrete NVIDIA GPUs are in the section "GPU state"."""
    degrees = temperatures(host)
    if not degrees:
        return [Finding("temperature", "the kernel shows no sensor")]
    hottest = max(degrees, key=lambda name: degrees[name])
    others = ", ".join(f"{name} {celsius:.0f}" for name, celsius in degrees.items() if name != hottest)
    value = f"{degrees[hottest]:.0f} °C ({hottest})" + (f"; {others}" if others else "")
    facts = {"celsius": degrees}
    if degrees[hottest] >= _HOT:
        remedy = Remedy("cool it: it slows down now, or will soon")
        return [Finding("temperature", value, "problem", remedy, facts)]
    if degrees[hottest] >= _WARM:
        remedy = Remedy("check the fan, and remove dust: it slows down when hotter")
        return [Finding("temperature", value, "note", remedy, facts)]
    return [Finding("temperature", value, facts=facts)]


def temperatures(host: Host) -> dict[str, float]:
    """Read temperatures in °C by sensor, without those that no part could have."""
    return {name: celsius for name, celsius in (_zones(host) | _sensors(host)).items() if _sensible(celsius)}


def _sensible(celsius: float) -> bool:
    return celsius != 0 and _SENSIBLE[0] < celsius < _SENSIBLE[1]


def _zones(host: Host) -> dict[str, float]:
    """Read thermal zones by type, without "-thermal"; zones that are off, such as a Jetson's cv0, have no value."""
    folder = "/sys/class/thermal"
    zones: dict[str, float] = {}
    for zone in host.names(folder, "thermal_zone*"):
        kind, milli = host.read(f"{folder}/{zone}/type"), host.number(f"{folder}/{zone}/temp")
        if kind and milli is not None:
            name = kind.removesuffix("-thermal").removesuffix("-therm")
            zones[name] = max(milli / 1000, zones.get(name, -300.0))
    return zones


def _sensors(host: Host) -> dict[str, float]:
    folder = "/sys/class/hwmon"
    sensors: dict[str, float] = {}
    for sensor in host.names(folder, "hwmon*"):
        name, milli = host.read(f"{folder}/{sensor}/name"), host.number(f"{folder}/{sensor}/temp1_input")
        if name in _SENSORS and milli is not None:
            sensors[name] = max(milli / 1000, sensors.get(name, -300.0))
    return sensors

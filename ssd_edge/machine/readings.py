"""Read the machine's heat, power, clocks and limits while it works, every second if wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from time import monotonic
from typing import Any

from ssd_edge.machine import jetson, nvml
from ssd_edge.machine.clocks import Clock, jetson_gpu_clock, jetson_gpu_load, processor_clock
from ssd_edge.machine.host import Host, this_host
from ssd_edge.machine.limits import Counted, Limit, cooling, counters
from ssd_edge.machine.power import EnergyCounters, jetson_rails, total_of
from ssd_edge.machine.processor import memory_sizes
from ssd_edge.machine.temperature import temperatures

FRESH = 0.5
"""Seconds for which ``readings`` gives the same values again."""


@dataclass(frozen=True)
class Readings:
    """The machine's state; what it does not tell is missing.

    Attributes:
        celsius: temperatures by sensor.
        rails: watts by rail of a Jetson, or by part of a PC: ``package-0``, ``GPU``.
        watts: the sum of what is measured; all of a Jetson, processor and GPU of a PC; None if nothing is.
        clocks: clocks by part: ``processor``, ``GPU``.
        busy: shares of time at work by part, 0 to 1.
        memory: bytes in use and bytes in all, by part: ``machine``, ``GPU``.
        limits: what slows the machine down now, or did so a moment ago.
        mode: a Jetson's power mode.
    """

    celsius: Mapping[str, float] = field(default_factory=dict)
    rails: Mapping[str, float] = field(default_factory=dict)
    watts: float | None = None
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    busy: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    mode: str | None = None

    @property
    def hottest(self) -> tuple[str, float] | None:
        """The hottest sensor's name and its temperature in °C."""
        return max(self.celsius.items(), key=lambda item: item[1], default=None)

    @property
    def troubles(self) -> tuple[Limit, ...]:
        """The limits that do not come in good health."""
        return tuple(limit for limit in self.limits if not limit.usual)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            "celsius": dict(self.celsius),
            "rails": dict(self.rails),
            "watts": self.watts,
            "clocks": {part: clock._asdict() for part, clock in self.clocks.items()},
            "busy": dict(self.busy),
            "memory": {part: {"used": used, "total": total} for part, (used, total) in self.memory.items()},
            "limits": [str(limit) for limit in self.limits],
            "mode": self.mode,
        }


class Meter:
    """Reads one machine again and again; some values are changes since the reading before.

    Args:
        host: the machine.
        gpus: the machine's NVML; None without one.
        clock: returns the time in seconds.
    """

    def __init__(self, host: Host, gpus: nvml.Nvml | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._host, self._gpus, self._clock = host, gpus, clock
        self._energy = EnergyCounters(host)
        self._counted = Counted()
        self._is_jetson = jetson.release(host) is not None
        self._mode = jetson.power_mode(host) if self._is_jetson else None

    def read(self) -> Readings:
        """Read everything once: some dozens of small files of the kernel."""
        now, host = self._clock(), self._host
        gpus = self._gpus.read() if self._gpus else {}
        clocks = {"processor": processor_clock(host), "GPU": jetson_gpu_clock(host)}
        busy = {"GPU": jetson_gpu_load(host)}
        board = jetson_rails(host)
        rails = board or {**self._energy.watts(now), **_present({name: gpu.watts for name, gpu in gpus.items()})}
        limits = [*cooling(host), *self._counted.struck(counters(host), now)]
        limits += [limit for gpu in gpus.values() for limit in gpu.limits]
        return Readings(
            temperatures(host) | _present({name: gpu.celsius for name, gpu in gpus.items()}),
            rails,
            total_of(board) if board else sum(rails.values()) if rails else None,
            _present(clocks) | _present({name: gpu.clock for name, gpu in gpus.items()}),
            _present(busy) | _present({name: gpu.busy for name, gpu in gpus.items()}),
            _present({"machine": _memory(host), **{name: gpu.memory for name, gpu in gpus.items()}}),
            tuple(dict.fromkeys(limits)),
            self._mode_now(),
        )

    def _mode_now(self) -> str | None:
        mode = jetson.mode_from_status_file(self._host) if self._is_jetson else None
        mode = mode or self._mode
        return None if mode is None else mode.name


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _memory(host: Host) -> tuple[int, int] | None:
    sizes = memory_sizes(host)
    if not {"MemTotal", "MemAvailable"} <= sizes.keys():
        return None
    return sizes["MemTotal"] - sizes["MemAvailable"], sizes["MemTotal"]


class _Shared:
    """One meter of this machine for all who ask, from any thread."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self._lock = meter, Lock()
        self._read_at, self._last = float("-inf"), Readings()

    def read(self) -> Readings:
        with self._lock:
            if monotonic() - self._read_at >= FRESH:
                self._last = self._meter.read()
                self._read_at = monotonic()
            return self._last


@cache
def _shared() -> _Shared:
    return _Shared(Meter(this_host(), nvml.opened()))


def readings() -> Readings:
    """Read this machine; cheap enough for every second, and thread-safe.

    Values are the same for ``FRESH`` seconds, however many ask. NVML is started at the first call.
    """
    return _shared().read()

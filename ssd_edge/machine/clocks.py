"""Read the clocks of the processor and of a Jetson's GPU, and the limits set to them, from the kernel."""

from __future__ import annotations

from typing import NamedTuple

from ssd_edge.machine.host import Host

_GPUS = ("*.gpu", "*.ga10b", "*.gv11b", "*.gp10b", "gpu-gpc-0")
"""The GPU's names in devfreq: Orin and Nano on JetPack 6 and 7, Orin and Xavier on JetPack 5, TX2, Thor."""

_DEVFREQ = "/sys/class/devfreq"
_CPUFREQ = "/sys/devices/system/cpu/cpufreq"


class Clock(NamedTuple):
    """A clock in MHz.

    Attributes:
        now: its rate.
        least: the lowest rate that is allowed.
        most: the highest rate that is allowed, which a power mode, a user or heat may have lowered.
        top: the highest rate that the hardware has; None if that is not known.
    """

    now: float
    least: float
    most: float
    top: float | None = None

    @property
    def held(self) -> bool:
        """Whether it is held at one rate."""
        return self.least == self.most


def processor_clock(host: Host) -> Clock | None:
    """Read the processor's clock: of its clusters, the highest of each value; None if the kernel does not tell."""
    clusters = []
    for policy in host.names(_CPUFREQ, "policy*"):
        folder = f"{_CPUFREQ}/{policy}"
        now, least, most = (host.number(f"{folder}/scaling_{which}_freq") for which in ("cur", "min", "max"))
        if now is not None and least is not None and most is not None:
            clusters.append((now, least, most, host.number(f"{folder}/cpuinfo_max_freq") or 0))
    if not clusters:
        return None
    now, least, most, top = (max(column) / 1000 for column in zip(*clusters, strict=True))
    return Clock(now, least, most, top or None)


def jetson_gpu_clock(host: Host) -> Clock | None:
    """Read the clock of a Jetson's GPU; None on other machines."""
    gpu = jetson_gpu(host)
    if gpu is None:
        return None
    now, least, most = ((host.number(f"{gpu}/{which}_freq") or 0) / 1e6 for which in ("cur", "min", "max"))
    rates = (host.read(f"{gpu}/available_frequencies") or "").split()
    return Clock(now, least, most, max((int(rate) / 1e6 for rate in rates if rate.isdigit()), default=None))


def jetson_gpu_load(host: Host) -> float | None:
    """Read the share of time that a Jetson's GPU is busy, 0 to 1; the kernel gives thousandths."""
    gpu = jetson_gpu(host)
    thousandths = None if gpu is None else host.number(f"{gpu}/device/load")
    return None if thousandths is None else thousandths / 1000


def jetson_gpu(host: Host) -> str | None:
    """Find the folder of a Jetson's GPU in devfreq."""
    names = (name for pattern in _GPUS for name in host.names(_DEVFREQ, pattern))
    gpu = next(names, None)
    return gpu and f"{_DEVFREQ}/{gpu}"

"""Examine NVIDIA GPUs: the driver's description of them, and memory, clocks, temperature and power by nvidia-smi."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ssd_edge.errors import SsdEdgeError
from ssd_edge.machine import jetson
from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host, NotInstalledError, UnansweredError
from ssd_edge.machine.processor import GIB, os_release

_VENDORS = {"0x10de": "NVIDIA", "0x8086": "Intel", "0x1002": "AMD"}
_RESTART = Remedy("read the kernel's messages; a restart usually helps", "sudo dmesg | grep -i nvrm")
_DRIVERS = "https://www.nvidia.com/drivers"

# Values of CUresult in <cuda.h>.
_NO_DEVICE, _MISMATCH, _UNKNOWN = 100, 803, 999

_FIELDS = (
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "clocks.sm",
    "clocks.max.sm",
    "temperature.gpu",
    "power.draw",
    "power.limit",
)
SMI = ("nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
_HOT = 87.0  # °C; GeForce GPUs slow down from about 83 to 90


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it.

    Attributes:
        name: its name, such as ``NVIDIA GeForce RTX 4090``; a Jetson's is ``Orin``.
        compute_capability: its compute capability, such as (8, 9).
        memory: bytes of memory, which a Jetson's GPU shares with the processor.
        integrated: whether it is part of the processor, as on a Jetson.
    """

    name: str
    compute_capability: tuple[int, int]
    memory: int
    integrated: bool


@dataclass(frozen=True)
class Driver:
    """The driver that CUDA programs get.

    Attributes:
        cuda: the latest CUDA release that it supports, such as (13, 0).
        gpus: at least one, in the driver's order, without those that ``CUDA_VISIBLE_DEVICES`` hides.
    """

    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


class NoGpuError(SsdEdgeError):
    """CUDA programs get no GPU here; the sentence says why.

    Attributes:
        remedy: what to do; None if there is no GPU that could be made to work.
    """

    def __init__(self, reason: str, remedy: Remedy | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    try:
        cuda_driver = driver(host)
    except NoGpuError as none:
        graphics = _graphics(host)
        facts = {"gpus": [], "graphics": graphics}
        others = f" (graphics by {' and '.join(graphics)})" if graphics and "NVIDIA" not in graphics else ""
        if none.remedy:
            return [Finding("GPU", str(none), "problem", none.remedy, facts)]
        return [Finding("GPU", f"{none}{others}", facts=facts)]
    except UnansweredError as error:
        return [Finding("GPU", str(error), "problem", _RESTART)]
    gpus = [_described(place, gpu, len(cuda_driver.gpus)) for place, gpu in enumerate(cuda_driver.gpus)]
    cuda = ".".join(map(str, cuda_driver.cuda))
    kernel = _kernel_driver(host)
    value = f"{kernel}, CUDA up to {cuda}" if kernel else f"CUDA up to {cuda}; the kernel does not show its version"
    release = Finding("driver", value, facts={"version": kernel, "cuda": cuda})
    return [*gpus, release]


def driver(host: Host) -> Driver:
    """Ask for the driver and its GPUs.

    Raises:
        NoGpuError: there is no driver, it does not start, or it finds no GPU.
        UnansweredError: the driver hangs or crashes.
    """
    answer = host.ask("driver")
    if "missing" in answer:
        raise _no_driver(host)
    if "error" in answer:
        raise _not_starting(host, int(answer["error"]))
    gpus = tuple(
        Gpu(gpu["name"], tuple(gpu["compute_capability"]), gpu["memory"], gpu["integrated"]) for gpu in answer["gpus"]
    )
    if not gpus:
        raise _not_starting(host, _NO_DEVICE)
    return Driver(tuple(answer["cuda"]), gpus)


def _no_driver(host: Host) -> NoGpuError:
    kernel = _kernel_driver(host)
    if jetson.release(host) is not None:
        reason = "CUDA's library of the driver (libcuda.so.1) is not found on this Jetson"
        remedy = Remedy("in a container, start it with --runtime nvidia; else", "sudo apt install nvidia-l4t-cuda")
        return NoGpuError(reason, remedy)
    if kernel:
        reason = f"the kernel has NVIDIA's driver {kernel}, but its library (libcuda.so.1) is not found"
        return NoGpuError(
            reason, Remedy("in a container, start it with --gpus all; else install the whole driver again")
        )
    if "NVIDIA" in _graphics(host):
        return NoGpuError("an NVIDIA GPU is built in, and its driver is not installed", driver_install(host))
    return NoGpuError("no NVIDIA GPU")


def driver_install(host: Host) -> Remedy:
    """Advise how to install NVIDIA's driver, or replace it by a newer one."""
    if "ubuntu" in os_release(host).values():
        return Remedy(command="sudo ubuntu-drivers install && sudo reboot")
    return Remedy(f"take it from your distribution, or from {_DRIVERS}")


def _not_starting(host: Host, error: int) -> NoGpuError:
    hidden = host.environment.get("CUDA_VISIBLE_DEVICES")
    if error == _NO_DEVICE and hidden is not None:
        return NoGpuError(f"CUDA_VISIBLE_DEVICES={hidden} hides all GPUs", Remedy(command="unset CUDA_VISIBLE_DEVICES"))
    if error == _NO_DEVICE:
        return NoGpuError("NVIDIA's driver is installed and finds no GPU", Remedy("see what it says", "nvidia-smi"))
    if error == _MISMATCH:
        reason = "the parts of NVIDIA's driver in the kernel and in libcuda are of different releases"
        return NoGpuError(reason, Remedy("restart the machine", "sudo reboot"))
    if error == _UNKNOWN:
        remedy = Remedy("load its module, or restart the machine", "sudo modprobe nvidia_uvm")
        return NoGpuError("NVIDIA's driver does not start (error 999)", remedy)
    return NoGpuError(f"NVIDIA's driver does not start (error {error})", Remedy("see what it says", "nvidia-smi"))


def _kernel_driver(host: Host) -> str | None:
    # NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@…)
    first = (host.read("/proc/driver/nvidia/version") or "").partition("\n")[0]
    match = re.search(r" (\d+\.\d+(?:\.\d+)?) ", first)
    return match[1] if match else None


def _graphics(host: Host) -> list[str]:
    """List the makers of the graphics processors on PCI."""
    folder = "/sys/bus/pci/devices"
    vendors = {
        _VENDORS.get(host.read(f"{folder}/{device}/vendor") or "", "others")
        for device in host.names(folder)
        if (host.read(f"{folder}/{device}/class") or "").startswith("0x03")
    }
    return sorted(vendors)


def _described(place: int, gpu: Gpu, number_of_gpus: int) -> Finding:
    capability = ".".join(map(str, gpu.compute_capability))
    facts = {"gpu": gpu.name, "compute_capability": capability, "memory": gpu.memory, "integrated": gpu.integrated}
    shared = " shared with the processor" if gpu.integrated else ""
    value = f"{gpu.name}, compute capability {capability}, {gpu.memory / GIB:.1f} GiB{shared}"
    return Finding("GPU" if number_of_gpus == 1 else f"GPU {place}", value, facts=facts)


def probe_state(host: Host) -> list[Finding]:
    """See ``examine.PROBES``: one row for each GPU, in the order of nvidia-smi, which tells nothing on a Jetson."""
    try:
        ran = host.run(SMI)
    except NotInstalledError:
        return []
    except UnansweredError as error:
        return [Finding("nvidia-smi", str(error), "problem", _RESTART)]
    if ran.code:
        lines = (ran.out + ran.err).strip().splitlines() or ["it said nothing"]
        return [Finding("nvidia-smi", f"it failed: {lines[0]}", "unknown")]
    rows = [[_known(cell) for cell in line.split(",")] for line in ran.out.splitlines() if line.strip()]
    findings = [_sensors(row, named=len(rows) > 1) for row in rows if len(row) == len(_FIELDS)]
    return [finding for finding in findings if finding is not None]


def _known(cell: str) -> str | None:
    text = cell.strip()
    return None if not text or text.startswith("[") or text in {"N/A", "Not Supported"} else text


def _sensors(row: list[str | None], named: bool) -> Finding | None:
    name, _, *cells = row
    numbers = [_number(cell) for cell in cells]
    if all(number is None for number in numbers):
        return None
    total, used, clock, top, celsius, watts, limit = numbers
    parts = [name] if named and name else []
    if total is not None and used is not None:
        parts.append(f"{(total - used) / 1024:.1f} of {total / 1024:.1f} GiB free")
    if clock is not None and top is not None:
        parts.append(f"{clock:.0f} of {top:.0f} MHz")
    if celsius is not None:
        parts.append(f"{celsius:.0f} °C")
    if watts is not None:
        parts.append(f"{watts:.0f} W" + (f" of {limit:.0f}" if limit is not None else ""))
    keys = ("memory_mib", "memory_used_mib", "mhz", "most_mhz", "celsius", "watts", "watts_limit")
    facts = {"gpu": name, **dict(zip(keys, numbers, strict=True))}
    if celsius is not None and celsius >= _HOT:
        return Finding("GPU state", ", ".join(parts), "note", Remedy("cool it: a hot GPU slows down"), facts)
    return Finding("GPU state", ", ".join(parts), facts=facts)


def _number(cell: str | None) -> float | None:
    try:
        return float(cell or "")
    except ValueError:
        return None

"""Read NVIDIA GPUs through NVML, the library of NVIDIA's driver, with the package nvidia-ml-py if it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ssd_edge.machine.clocks import Clock
from ssd_edge.machine.limits import Limit, of_clock_reasons


@dataclass(frozen=True)
class GpuReading:
    """A GPU's state; what the GPU or its driver does not tell is None.

    Attributes:
        celsius: its temperature.
        watts: the power that it draws.
        clock: the clock of its processors, in MHz.
        busy: share of the last moment in which it worked, 0 to 1.
        memory: bytes of its memory in use, and all.
        limits: what slows it down now.
    """

    celsius: float | None = None
    watts: float | None = None
    clock: Clock | None = None
    busy: float | None = None
    memory: tuple[int, int] | None = None
    limits: tuple[Limit, ...] = ()


def opened() -> Nvml | None:
    """Start NVML; None without the package, the driver or a GPU, which is the normal case."""
    try:
        library = importlib.import_module("pynvml")
        library.nvmlInit()
        return Nvml(library)
    except Exception:  # the package is missing, the driver is missing or another release, there is no GPU
        return None


class Nvml:
    """All GPUs of a started NVML.

    Args:
        library: the module ``pynvml``.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        number = library.nvmlDeviceGetCount()
        self._gpus = [library.nvmlDeviceGetHandleByIndex(index) for index in range(number)]

    def read(self) -> dict[str, GpuReading]:
        """Read all GPUs by name: ``GPU``, or ``GPU 0``, ``GPU 1`` and so on."""
        return {
            "GPU" if len(self._gpus) == 1 else f"GPU {index}": self._of_one(gpu, index)
            for index, gpu in enumerate(self._gpus)
        }

    def _of_one(self, gpu: Any, index: int) -> GpuReading:
        nvml, name = self._library, "GPU" if len(self._gpus) == 1 else f"GPU {index}"
        milliwatts = self._asked(nvml.nvmlDeviceGetPowerUsage, gpu)
        now = self._asked(nvml.nvmlDeviceGetClockInfo, gpu, nvml.NVML_CLOCK_SM)
        most = self._asked(nvml.nvmlDeviceGetMaxClockInfo, gpu, nvml.NVML_CLOCK_SM)
        rates = self._asked(nvml.nvmlDeviceGetUtilizationRates, gpu)
        memory = self._asked(nvml.nvmlDeviceGetMemoryInfo, gpu)
        bits = self._reasons(gpu)
        return GpuReading(
            self._asked(nvml.nvmlDeviceGetTemperature, gpu, nvml.NVML_TEMPERATURE_GPU),
            None if milliwatts is None else milliwatts / 1000,
            None if now is None or most is None else Clock(now, 0, most, most),
            None if rates is None else rates.gpu / 100,
            None if memory is None else (int(memory.used), int(memory.total)),
            tuple(of_clock_reasons(bits, name)) if bits else (),
        )

    def _reasons(self, gpu: Any) -> int | None:
        """Ask why clocks are low, under the name of drivers from 535 on or of those before."""
        for asked in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            bits = self._asked(getattr(self._library, asked, None), gpu)
            if bits is not None:
                return int(bits)
        return None

    def _asked(self, function: Callable[..., Any] | None, *arguments: Any) -> Any:
        """Ask for one value; None for what this GPU or driver does not have, and for a GPU that is lost."""
        if function is not None:
            with suppress(self._library.NVMLError):
                return function(*arguments)
        return None

"""Files of machines that are hot, draw power or are slowed down, and an NVML of the same calls as NVIDIA's.

Sources: Linux, Documentation/hwmon/ina3221.rst and ina238.rst, drivers/thermal; rails and voltages as an AGX Orin and
an Orin Nano show them; ``soctherm_oc`` of Jetson Linux 36; cooling devices of an Orin on JetPack 6 and a Thor.
Nobody has run ssd-edge on one of these machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

RELEASE = {"/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64, DATE: …\n"}


def ina3221(hwmon: int, *channels: tuple[str, int, int]) -> dict[str, str]:
    """Make the files of a monitor: label, mV and mA of each channel."""
    folder = f"/sys/class/hwmon/hwmon{hwmon}"
    files = {f"{folder}/name": "ina3221\n", f"{folder}/in7_label": "sum of shunt voltages\n"}
    for number, (label, millivolts, milliamperes) in enumerate(channels, 1):
        files[f"{folder}/in{number}_label"] = f"{label}\n"
        files[f"{folder}/in{number}_input"] = f"{millivolts}\n"
        files[f"{folder}/curr{number}_input"] = f"{milliamperes}\n"
    return files


ORIN_NANO = {
    **RELEASE,
    **ina3221(1, ("VDD_IN", 4984, 1856), ("VDD_CPU_GPU_CV", 4976, 608), ("VDD_SOC", 4968, 312)),
    "/sys/class/hwmon/hwmon3/name": "soctherm_oc\n",
    "/sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n",
    "/sys/class/hwmon/hwmon3/oc2_event_cnt": "15\n",
    "/sys/class/hwmon/hwmon3/oc3_event_cnt": "27390\n",
    "/sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
    "/sys/class/thermal/cooling_device0/cur_state": "0\n",
    "/sys/class/thermal/cooling_device7/type": "pwm-fan\n",
    "/sys/class/thermal/cooling_device7/cur_state": "3\n",
    "/sys/class/thermal/cooling_device9/type": "gpu-throttle-alert\n",
    "/sys/class/thermal/cooling_device9/cur_state": "0\n",
    "/sys/class/thermal/cooling_device10/type": "hot-surface-alert\n",
    "/sys/class/thermal/cooling_device10/cur_state": "1\n",
    "/sys/class/thermal/thermal_zone0/type": "gpu-thermal\n",
    "/sys/class/thermal/thermal_zone0/temp": "61250\n",
    "/sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
    "/sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "/sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
    "/sys/class/devfreq/17000000.gpu/available_frequencies": "306000000 624750000 1020000000\n",
    "/sys/class/devfreq/17000000.gpu/device/load": "473\n",
    "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n",
    "/var/lib/nvpmodel/status": "pmode:0001 fmode:quiet",
    "/proc/meminfo": "MemTotal: 8000 kB\nMemAvailable: 3000 kB\n",
}

AGX_ORIN_RAILS = {
    **RELEASE,
    **ina3221(3, ("VDD_GPU_SOC", 5000, 2000), ("VDD_CPU_CV", 5000, 1000), ("VIN_SYS_5V0", 5000, 800)),
    **ina3221(4, ("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 1800, 500), ("NC", 0, 0)),
}

THOR_RAILS = {
    **RELEASE,
    **ina3221(2, ("VDD_GPU", 5000, 2000), ("VDD_CPU_SOC_MSS", 5000, 1000), ("VIN_SYS_5V0", 5000, 800)),
    "/sys/class/hwmon/hwmon4/name": "ina238\n",
    "/sys/class/hwmon/hwmon4/power1_input": "31500000\n",
}

RAPL = {
    "/sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "/sys/class/powercap/intel-rapl:0/energy_uj": "1000000\n",
    "/sys/class/powercap/intel-rapl:0/max_energy_range_uj": "100000000\n",
    "/sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "/sys/class/powercap/intel-rapl:0:0/energy_uj": "500000\n",
}


class NvmlError(Exception):
    """Stands for ``pynvml.NVMLError``."""


class FakeNvml:
    """The module ``pynvml``, for GPUs whose values are given by function; a value that is missing raises NvmlError."""

    NVMLError = NvmlError
    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    def __init__(self, *gpus: Mapping[str, Any], old: bool = False) -> None:
        self.gpus = gpus
        self.old = old
        self.starts = 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.starts += 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDeviceGet") or (self.old and name.endswith("EventReasons")):
            raise AttributeError(name)

        def ask(gpu: int, *_: int) -> Any:
            try:
                return self.gpus[gpu][name.removeprefix("nvmlDeviceGet")]
            except KeyError:
                raise NvmlError("Not Supported") from None

        return ask


def rtx(**changes: Any) -> dict[str, Any]:
    """Give the values of an RTX card at work."""
    return {
        "PowerUsage": 142500,
        "ClockInfo": 2520,
        "MaxClockInfo": 3105,
        "Temperature": 71,
        "UtilizationRates": SimpleNamespace(gpu=83, memory=20),
        "MemoryInfo": SimpleNamespace(used=1 << 30, total=12 << 30),
        "CurrentClocksEventReasons": 0,
        "CurrentClocksThrottleReasons": 0,
        **changes,
    }

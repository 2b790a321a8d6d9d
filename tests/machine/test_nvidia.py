"""The GPU: the driver's answers, and the reports if there is no driver, or one that fails."""

from __future__ import annotations

import pytest

from ssd_edge.machine import nvidia
from ssd_edge.machine.host import Ran, UnansweredError
from tests.machine.machines import NO_LIBCUDA, PC, agx_orin_6, but, laptop, machine, rtx_desktop

NVIDIA_ON_PCI = {
    "/sys/bus/pci/devices/0000:01:00.0/class": "0x030200\n",
    "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
}


def everything(host):
    return [*nvidia.probe(host), *nvidia.probe_state(host)]


def test_a_desktop(tmp_path):
    gpu, driver, state = everything(rtx_desktop(tmp_path))
    assert gpu.value == "NVIDIA GeForce RTX 4090, compute capability 8.9, 23.5 GiB"
    assert gpu.facts["compute_capability"] == "8.9"
    assert driver.value == "580.65.06, CUDA up to 13.0"
    assert state.value == "22.8 of 24.0 GiB free, 210 of 3105 MHz, 41 °C, 23 W of 450"
    assert (state.facts["mhz"], state.facts["celsius"], state.facts["watts"]) == (210, 41, 22.61)


def test_a_jetson(tmp_path):
    """Its nvidia-smi tells nothing, so it has no row."""
    gpu, driver = everything(agx_orin_6(tmp_path))
    assert gpu.value == "Orin, compute capability 8.7, 61.4 GiB shared with the processor"
    assert driver.value == "540.4.0, CUDA up to 12.6"


def test_a_laptop(tmp_path):
    (finding,) = everything(laptop(tmp_path))
    assert (finding.value, finding.state) == ("no NVIDIA GPU (graphics by Intel)", "fine")
    assert finding.facts == {"gpus": [], "graphics": ["Intel"]}


def test_several_gpus(tmp_path):
    one = {"name": "NVIDIA RTX A4000", "compute_capability": [8, 6], "memory": 16 << 30, "integrated": False}
    smi = Ran(0, "NVIDIA RTX A4000, 580.65.06, 16376, 5, 210, 2100, 30, 9.1, 140.00\n" * 2, "")
    host = machine(tmp_path, commands={"nvidia-smi": smi}, children={"driver": {"cuda": [13, 0], "gpus": [one, one]}})
    findings = everything(host)
    assert [finding.name for finding in findings] == ["GPU 0", "GPU 1", "driver", "GPU state", "GPU state"]
    assert findings[-1].value.startswith("NVIDIA RTX A4000, 16.0 of 16.0 GiB free")


@pytest.mark.parametrize(
    ("files", "driver", "environment", "reason", "remedy"),
    [
        (
            {**PC, **NVIDIA_ON_PCI},
            NO_LIBCUDA,
            {},
            "its driver is not installed",
            "sudo ubuntu-drivers install && sudo reboot",
        ),
        (NVIDIA_ON_PCI, NO_LIBCUDA, {}, "its driver is not installed", nvidia._DRIVERS),
        (
            {"/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\n"},
            NO_LIBCUDA,
            {},
            "NVIDIA's driver 535.129.03, but its library",
            "--gpus all",
        ),
        (
            {"/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3,"},
            NO_LIBCUDA,
            {},
            "on this Jetson",
            "--runtime nvidia",
        ),
        ({}, {"error": 100}, {}, "installed and finds no GPU", "nvidia-smi"),
        ({}, {"cuda": [13, 0], "gpus": []}, {}, "installed and finds no GPU", "nvidia-smi"),
        ({}, {"error": 100}, {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES= hides", "unset CUDA_VISIBLE_DEVICES"),
        ({}, {"error": 803}, {}, "different releases", "sudo reboot"),
        ({}, {"error": 999}, {}, "error 999", "sudo modprobe nvidia_uvm"),
        ({}, {"error": 3}, {}, "error 3", "nvidia-smi"),
    ],
)
def test_a_gpu_that_programs_do_not_get(tmp_path, files, driver, environment, reason, remedy):
    host = machine(tmp_path, files, children={"driver": driver}, environment=environment)
    (finding,) = nvidia.probe(host)
    assert finding.state == "problem"
    assert reason in finding.value
    assert remedy in str(finding.remedy)
    with pytest.raises(nvidia.NoGpuError, match=r"\w"):
        nvidia.driver(host)


def test_a_driver_that_hangs(tmp_path):
    """A driver hangs, for example, if a card has fallen off the bus."""
    hangs = UnansweredError("it gave no answer within 2 s")
    host = but(rtx_desktop(tmp_path), commands={"nvidia-smi": hangs}, children={"driver": hangs})
    gpu, smi = everything(host)
    assert (gpu.name, gpu.state) == ("GPU", "problem")
    assert (smi.name, smi.state) == ("nvidia-smi", "problem")
    assert "a restart usually helps" in gpu.remedy.advice


def test_an_nvidia_smi_that_fails(tmp_path):
    said = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.82\n"
    host = machine(tmp_path, NVIDIA_ON_PCI, {"nvidia-smi": Ran(18, said, "")}, {"driver": {"error": 803}})
    _, smi = everything(host)
    assert (smi.value, smi.state) == (
        "it failed: Failed to initialize NVML: Driver/library version mismatch",
        "unknown",
    )


@pytest.mark.parametrize(
    ("row", "value"),
    [
        (
            "NVIDIA T4, 580.65.06, 15360, 3, 300, 1590, 88, 27.00, 70.00",
            "15.0 of 15.0 GiB free, 300 of 1590 MHz, 88 °C, 27 W of 70",
        ),
        (
            "NVIDIA GeForce MX450, 580.65.06, 2048, 3, 300, 1590, 50, [N/A], [N/A]",
            "2.0 of 2.0 GiB free, 300 of 1590 MHz, 50 °C",
        ),
        ("Quadro, 580.65.06, [Unknown Error], [Not Supported], 300, N/A, 50, , ", "50 °C"),
    ],
)
def test_answers_of_nvidia_smi(tmp_path, row, value):
    host = but(rtx_desktop(tmp_path), commands={"nvidia-smi": Ran(0, f"{row}\n", "")})
    state = everything(host)[-1]
    assert state.value == value
    assert state.state == ("note" if "88 °C" in value else "fine")

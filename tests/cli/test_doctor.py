"""``ssd-edge doctor``: output for people and for scripts, and when a backend is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from io import StringIO
from time import perf_counter

import pytest
from rich.console import Console

from ssd_edge.cli.doctor import show
from ssd_edge.engines.backends import BACKENDS
from ssd_edge.engines.readiness import READINESS, readiness, tensorrt
from ssd_edge.machine.examine import examine
from ssd_edge.machine.host import Ran, UnansweredError
from tests.helpers import ROOT
from tests.machine.machines import MACHINES, NO_LIBCUDA, agx_orin_6, agx_orin_7, but, laptop, machine, rtx_desktop
from tests.test_imports import HEAVY


def shown(host, width=80):
    out = StringIO()
    show(
        Console(file=out, width=width, highlight=False),
        examine(host),
        readiness(host, {"tensorrt": tensorrt, **READINESS}),
    )
    return out.getvalue()


@pytest.fixture
def here(monkeypatch):
    """``here(host)`` makes the program see that machine as its own."""
    return lambda host: monkeypatch.setattr("ssd_edge.machine.host.this_host", lambda: host)


@pytest.mark.parametrize("name", MACHINES)
def test_the_output_fits_a_terminal_of_80_columns(tmp_path, name):
    """Only commands may be longer: they are not broken, so that they can be copied."""
    lines = shown(MACHINES[name](tmp_path)).splitlines()
    commands = ("sudo ", "pip ", "python3 ", "ssd-edge ")
    long = [line for line in lines if len(line) > 80]
    assert all(line.startswith(" " * 6) and line.strip().startswith(commands) for line in long)


def test_problems_come_first(tmp_path):
    host = but(agx_orin_6(tmp_path), commands={"nvidia-smi": Ran(6, "No devices were found\n", "")})
    text = shown(host)
    order = [
        "What to do",
        "✗ /dev/video0",
        "! power mode",
        "? nvidia-smi",
        "\nBackends",
        "✓ openvino",
        "\nThis machine",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "\n      sudo nvpmodel -m 0\n" in text


def test_a_machine_without_problems(tmp_path):
    text = shown(rtx_desktop(tmp_path))
    assert text.startswith("\nNothing is wrong\n")
    assert "✓ tensorrt-rtx TensorRT-RTX 1.7.1.116 on NVIDIA GeForce RTX 4090" in text


def test_a_command_is_on_one_line(tmp_path):
    (line,) = [line for line in shown(agx_orin_7(tmp_path), width=60).splitlines() if "nvarguscamerasrc" in line]
    assert line.endswith("appsink drop=1'")


def test_a_backend_that_cannot_run_names_each_obstacle(tmp_path):
    text = shown(agx_orin_6(tmp_path))
    assert "✗ tensorrt     TensorRT 10.3.0 of the system is not seen by this Python" in text
    assert "\n      pip install 'cuda-bindings==12.*' 'nvidia-cuda-nvrtc-cu12==12.6.*'\n" in text


def test_control_characters_in_device_names_are_not_printed(tmp_path):
    host = machine(tmp_path, {"/dev/video0": "", "/sys/class/video4linux/video0/name": "Cam\x1b[31m[bold]\x07"})
    text = shown(host)
    assert "\x1b" not in text
    assert "Cam�[31m[bold]�" in text


def test_on_this_machine(cli):
    done = cli("doctor")
    assert (done.code, done.err) == (0, "")
    assert done.out.index("Backends") < done.out.index("This machine")
    for name in BACKENDS:
        assert name in done.out


def test_json_for_a_script(cli, here, tmp_path):
    here(rtx_desktop(tmp_path))
    done = cli("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert list(report["backends"]) == list(BACKENDS)
    assert report["backends"]["tensorrt-rtx"]["runs"] is True
    gpu = report["machine"]["GPU"][0]
    assert (gpu["name"], gpu["state"], gpu["compute_capability"]) == ("GPU", "fine", "8.9")
    assert set(gpu) >= {"name", "value", "state", "advice", "command"}


def test_the_exit_code_is_0_whatever_is_found(cli, here, tmp_path):
    """On this machine no check answers, and no backend can run."""
    nothing = UnansweredError("no answer")
    children = dict.fromkeys(("driver", "v4l2", "pyav", "opencv"), nothing)
    here(machine(tmp_path, {"/dev/video0": ""}, {"nvidia-smi": nothing}, children, packages={}))
    done = cli("doctor")
    assert (done.code, done.err) == (0, "")
    assert "✗ openvino" in done.out
    assert "pip install openvino" in done.out
    assert cli("doctor", "--json").code == 0


def test_a_backend_that_can_run_exits_with_0(cli, here, tmp_path):
    here(rtx_desktop(tmp_path))
    done = cli("doctor", "--backend", "tensorrt-rtx")
    assert done == (0, "tensorrt-rtx can run here: TensorRT-RTX 1.7.1.116 on NVIDIA GeForce RTX 4090\n", "")
    assert json.loads(cli("doctor", "--backend", "tensorrt-rtx", "--json").out)["tensorrt-rtx"]["runs"] is True


def test_a_backend_that_cannot_run_exits_with_2(cli, here, tmp_path):
    here(laptop(tmp_path))
    done = cli("doctor", "--backend", "tensorrt-rtx")
    done.sentence("tensorrt-rtx cannot run here", "no NVIDIA GPU", "--backend openvino")
    done = cli("doctor", "--backend", "tensorrt-rtx", "--json")
    assert done.code == 2
    assert json.loads(done.out)["tensorrt-rtx"]["runs"] is False


def test_a_backend_that_does_not_exist(cli):
    cli("doctor", "--backend", "tensorflow").sentence("no backend is called 'tensorflow'", *BACKENDS)


def test_the_page_shows_what_it_prints(cli, here, tmp_path):
    """The page shows the output on a PC whose GPU has no driver yet."""
    pci = "/sys/bus/pci/devices/0000:01:00.0"
    files = {f"{pci}/class": "0x030000\n", f"{pci}/vendor": "0x10de\n", "/etc/os-release": "ID=ubuntu\n"}
    here(machine(tmp_path, files, children={"driver": NO_LIBCUDA}))
    (example,) = re.findall(r"```\n(.*?)```", (ROOT / "docs" / "doctor.md").read_text(), re.DOTALL)
    printed = [line.rstrip() for line in cli("doctor").out.splitlines()]
    assert printed[1:][: len(example.splitlines())] == example.splitlines()


def test_the_page_on_jetsons_shows_what_it_prints(tmp_path):
    """The page shows the output on an Orin with JetPack 6.2 whose environment does not see TensorRT."""
    (example,) = re.findall(r"```\n(.*?)```", (ROOT / "docs" / "jetson.md").read_text(), re.DOTALL)
    printed = [line.rstrip() for line in shown(agx_orin_6(tmp_path)).splitlines()]
    start = printed.index(example.splitlines()[0])
    assert printed[start:][: len(example.splitlines())] == example.splitlines()


@pytest.mark.slow
def test_doctor_imports_nothing_heavy():
    """NumPy, OpenCV and PyAV are loaded by children, which may hang or crash."""
    program = f"""
import sys
sys.argv = ["ssd-edge", "doctor", "--json"]
from ssd_edge.cli.main import main
try:
    main()
except SystemExit as end:
    print(*sorted({set(HEAVY)} & set(sys.modules)), file=sys.stderr)
    assert not end.code
"""
    began = perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert perf_counter() - began < 6  # three seconds, and Python's start on a busy machine
    assert done.stderr == "\n"
    assert json.loads(done.stdout)

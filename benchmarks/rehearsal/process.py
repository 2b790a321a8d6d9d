"""A process of a recorded machine: ``main`` runs ssd-edge as it runs there.

Real are the program, its libraries and kernels. Recorded or imitated are: what the program asks of the machine
(``Host``), the driver (tests/cuda/emulated_driver), TensorRT's library, cameras, and a Jetson's GStreamer.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rehearsal.machines import MACHINES, Machine
from rehearsal.setting import Setting

if TYPE_CHECKING:
    from ssd_edge.machine.host import Host
    from tests.cuda.emulated import Emulated

ROOT = Path(__file__).resolve().parents[2]

USB_CAMERA = {
    "video0": {
        "captures": True,
        "card": "HD Pro Webcam C920",
        "bus": "usb-0000:00:14.0-3",
        "formats": {"YUYV": [2560, 1472], "MJPG": [1920, 1080]},
    }
}
"""The camera 0 of the pages' commands, as tests/machine/machines.py has it; ``doctor`` sees the machine's own."""


def main() -> None:
    """Run the program with this process's arguments on its machine."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    setting = see_the_tests()
    from ssd_edge.machine import host

    recorded = recorded_host(setting)
    host.this_host = lambda: recorded  # before any module of the program takes it by name
    with suppress(ImportError):  # of a broken OpenCV, of which the program has to tell
        emulated_driver()
        from rehearsal import camera

        camera.install(setting, MACHINES[setting.machine])
    sys.modules["hypothesis"] = None  # type: ignore[assignment] # no user of a device has what the tests need
    from ssd_edge.cli.main import main as program

    program()


def see_the_tests() -> Setting:
    """Make the tests' emulations importable, after all that is installed; return the setting of this process."""
    if str(ROOT) not in sys.path:
        sys.path += [str(ROOT), *([beside] if (beside := Setting.of_this_process().beside) else [])]
    return Setting.of_this_process()


@cache
def emulated_driver() -> Emulated:
    """Load the emulated driver before anything else looks for NVIDIA's, with the machine's GPU."""
    setting = see_the_tests()
    from tests.cuda.emulated import use_emulated_driver

    emulated = use_emulated_driver()
    emulated.machine(**{**MACHINES[setting.machine].device, **setting.fault.device})
    if setting.fault.refused:
        _refuse_contexts(emulated, setting.fault.refused)
    return emulated


def _refuse_contexts(emulated: Emulated, result: int) -> None:
    from ssd_edge.engines.cuda import bindings

    retain = bindings.Bindings.retain_context

    def refused(driver: Any, index: int) -> int:
        driver.device_count()  # so that the next call is the one that asks for the context
        emulated.fail(emulated.calls() + (index not in driver._devices), result)
        return retain(driver, index)

    bindings.Bindings.retain_context = refused  # type: ignore[method-assign]


def recorded_host(setting: Setting) -> Host:
    """Make the machine: recorded files and answers; Python, packages, OpenCV and PyAV are those of this environment."""
    from ssd_edge.machine.host import NotInstalledError, package_version, this_host

    machine, fault, real = MACHINES[setting.machine], setting.fault, this_host()
    folder = tempfile.TemporaryDirectory(prefix="machine.")
    atexit.register(folder.cleanup)
    recorded = machine.host(Path(folder.name))
    for name in fault.without:
        recorded.path(name).unlink()
    versions = {**_of_the_system(machine), **fault.packages}
    answers: dict[str, Any] = {"driver": fault.driver} if fault.driver else {}

    def run(command: tuple[str, ...]) -> Any:
        if command[0] in fault.missing:
            raise NotInstalledError(f"{command[0]} is not installed")
        return recorded.run(command)

    def ask(child: str) -> Any:
        if child in answers:
            return answers[child]
        if child == "v4l2" and "run" in sys.argv:
            return USB_CAMERA
        return real.ask(child) if child in {"opencv", "pyav"} else recorded.ask(child)

    return replace(
        recorded,
        run=run,
        ask=ask,
        version=lambda package: versions[package] if package in versions else package_version(package),
        environment={},
        folder=Path.cwd(),
        prefix=Path(sys.prefix),
        requirements=real.requirements,
        has_module=lambda name: (name == "gi" and setting.gstreamer) or real.has_module(name),
        space=real.space,
        start_up=real.start_up,
    )


def _of_the_system(machine: Machine) -> dict[str, str | None]:
    """Versions of the system's packages, as far as this environment sees them."""
    seen = machine.tensorrt and any(Path(entry).name == "jetpack" for entry in sys.path)
    return {"tensorrt": machine.tensorrt if seen else None}


def interrupt() -> None:
    """End a run as Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()

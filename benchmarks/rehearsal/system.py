"""The system's own commands on a recorded machine: apt's packages, and the tools of driver and board."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ssd_edge.machine.host import UnansweredError

if TYPE_CHECKING:
    from rehearsal.machines import Machine
    from ssd_edge.machine.host import Host

UBUNTU = {
    "22.04": ("python3-gi", "gir1.2-gst-plugins-base-1.0", "python3-venv", "python3-opencv", "kmod"),
    "24.04": (
        *("python3-gi", "gir1.2-gst-plugins-base-1.0", "python3-venv", "python3-opencv", "kmod"),
        "gstreamer1.0-plugins-good",
    ),
}
"""Packages by Ubuntu's release. Each was found in archive.ubuntu.com's pool, for amd64: in 22.04 pygobject 3.42.1,
gst-plugins-base 1.20.1, python3-defaults 3.10.6, opencv 4.5.4, kmod 29; in 24.04 pygobject 3.48.2, gst-plugins-base and
-good 1.24.2, python3-defaults 3.12.3, opencv 4.6.0, kmod 31. That arm64 has the same was not looked up."""

NVIDIA = {
    "R36": ("nvidia-jetpack", "python3-libnvinfer", "nvidia-l4t-gstreamer", "nvidia-l4t-dla-compiler"),
    "R39": ("nvidia-jetpack", "python3-libnvinfer"),
}
"""Packages of NVIDIA's feed by Jetson Linux, as owners of such devices list them: for R36.4 nvidia-jetpack,
nvidia-l4t-gstreamer and nvidia-l4t-dla-compiler 36.4.x in lists of ``dpkg -l``; python3-libnvinfer in an answer of
dpkg-query on JetPack 6.2, and on R39.2 beside nvidia-jetpack."""

UNVERIFIED = {"R39": ("nvidia-l4t-gstreamer", "nvidia-l4t-dla-compiler")}
"""Packages of which no list of that release was found; they exist for R36."""


class Answer(NamedTuple):
    """What a command of the system gives.

    Attributes:
        code: exit code.
        out: what it prints.
        unverified: what of it no record shows.
    """

    code: int
    out: str = ""
    unverified: str = ""


def answer(command: str, machine: Machine, host: Host) -> Answer | None:
    """Answer a command as the machine does; None if it is not one of the system's.

    Args:
        command: one command, without ``&&``.
        machine: the machine.
        host: its files and answers.
    """
    words = shlex.split(command)
    words = words[1:] if words[:1] == ["sudo"] else words
    reply = _COMMANDS.get(words[0])
    return None if reply is None else reply(words, machine, host)


def _apt(words: list[str], machine: Machine, host: Host) -> Answer:
    if words[1] == "update":
        return Answer(0)
    ubuntu = UBUNTU["24.04" if machine.python == "3.12" else "22.04"]
    release = (host.read("/etc/nv_tegra_release") or "")[2:5]
    known = {*ubuntu, *NVIDIA.get(release, ())}
    unverified = [name for name in words[2:] if name in UNVERIFIED.get(release, ())]
    missing = [name for name in words[2:] if name not in known and name not in unverified]
    if missing:
        return Answer(100, f"E: Unable to locate package {missing[0]}")
    return Answer(0, "", f"{', '.join(unverified)} on {release}" if unverified else "")


def _cat(words: list[str], machine: Machine, host: Host) -> Answer:
    text = host.read(words[1])
    return Answer(1, f"cat: {words[1]}: No such file or directory") if text is None else Answer(0, text)


def _nvidia_smi(words: list[str], machine: Machine, host: Host) -> Answer:
    try:
        host.run(("nvidia-smi",))
    except UnansweredError as error:
        return Answer(127, str(error))
    return Answer(0, machine.commands.get("nvidia-smi", ""), "" if len(words) == 1 else " ".join(words))


def _nvpmodel(words: list[str], machine: Machine, host: Host) -> Answer:
    modes = host.read("/etc/nvpmodel.conf") or ""
    known = words[2] == "N" or f"ID={words[2]} " in modes
    return Answer(0) if known else Answer(1, "NVPM ERROR: invalid mode")


def _nothing(words: list[str], machine: Machine, host: Host) -> Answer:
    return Answer(0, "", " ".join(words))


_COMMANDS: Mapping[str, Callable[[list[str], Machine, Host], Answer]] = {
    "apt": _apt,
    "cat": _cat,
    "nvidia-smi": _nvidia_smi,
    "nvpmodel": _nvpmodel,
    "jetson_clocks": _nothing,
    "reboot": _nothing,
    "ubuntu-drivers": _nothing,
    "usermod": _nothing,
}

"""Find cameras on Linux, on USB and on a Jetson's CSI connectors, with names, formats, and how to use each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host, UnansweredError

INSTALL_GSTREAMER = "sudo apt install python3-gi gir1.2-gst-plugins-base-1.0"
"""The command that brings GStreamer to the system's Python, and to environments that see its packages."""

_NO_GSTREAMER = Remedy(
    "this Python has no GStreamer, which the camera needs. In an environment made by python3 -m venv "
    "--system-site-packages",
    INSTALL_GSTREAMER,
)


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    if host.system != "Linux":
        return [Finding("cameras", "not listed on this system: try ssd-edge run --camera 0")]
    devices = video_devices(host)
    if not devices:
        return [Finding("cameras", "none; --camera synthetic draws one", facts={"cameras": []})]
    try:
        answers: dict[str, dict[str, Any]] = host.ask("v4l2")
        trouble = []
    except UnansweredError as error:
        answers = {}
        trouble = [Finding("formats", str(error), "unknown")]
    findings, on_csi = [], 0
    for device in devices:
        name = host.read(f"/sys/class/video4linux/{device}/name") or ""
        answer = answers.get(device, {})
        if _is_csi(name):
            findings.append(_csi(host, device, name, on_csi))
            on_csi += 1
        elif "error" in answer:
            findings.append(_unreadable(device, name, str(answer["error"])))
        elif answer.get("captures", True):
            findings.append(_usb(device, name, answer))
    return [*findings, *trouble] or [Finding("cameras", "none that gives frames", facts={"cameras": []})]


def video_devices(host: Host) -> list[str]:
    """List ``video0`` and so on, on Linux; a camera may have several devices, and not all of them give frames."""
    if host.system != "Linux":
        return []
    return host.names("/dev", "video[0-9]*")


@dataclass(frozen=True)
class Sizes:
    """Frame sizes that a camera lists for one of its formats.

    Attributes:
        ranges: each is smallest, largest and step of the width, then of the height; a single size is a range too. If
            empty, the camera does not say, and any size may be among them.
    """

    ranges: tuple[tuple[int, ...], ...]

    def __contains__(self, size: object) -> bool:
        """Tell whether (width, height) is among them."""
        if not (isinstance(size, tuple) and len(size) == 2):
            return False
        return not self.ranges or any(
            _in_range(size[0], one[:3]) and _in_range(size[1], one[3:]) for one in self.ranges
        )

    def largest(self, limit: tuple[int, int]) -> tuple[int, int] | None:
        """Return the largest (width, height) within a limit, or else the smallest; None if none is listed."""
        sizes = [(one[place], one[place + 3]) for one in self.ranges for place in (0, 1)]
        fitting = [size for size in sizes if size[0] <= limit[0] and size[1] <= limit[1]]
        if fitting:
            return max(fitting, key=_area)
        return min(sizes, key=_area, default=None)

    def __str__(self) -> str:
        """List them, the largest first."""
        ranges = sorted(self.ranges, key=lambda one: (-one[1] * one[4], -one[1]))
        texts = [_size_text(one[1], one[4]) if one[0] == one[1] and one[3] == one[4] else _range(one) for one in ranges]
        if not texts:
            return "sizes that it does not say"
        more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
        return ", ".join(texts[:_SHOWN]) + more


_SHOWN = 12  # sizes in a sentence


def _in_range(value: int, limits: Sequence[int]) -> bool:
    smallest, largest, step = limits
    return smallest <= value <= largest and (value - smallest) % max(1, step) == 0


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _size_text(width: int, height: int) -> str:
    return f"{width}×{height}"


def _range(one: Sequence[int]) -> str:
    steps = f" in steps of {one[2]}×{one[5]}" if max(one[2], one[5]) > 1 else ""
    return f"{_size_text(one[0], one[3])} to {_size_text(one[1], one[4])}{steps}"


def kinds_of_cameras(host: Host) -> tuple[list[str], int]:
    """Tell apart the devices that give frames by their number, such as ``video0``, and the number of CSI cameras."""
    try:
        answers: dict[str, dict[str, Any]] = host.ask("v4l2")
    except UnansweredError:
        answers = {}
    on_csi = {name for name in video_devices(host) if _is_csi(host.read(f"/sys/class/video4linux/{name}/name") or "")}
    others = [name for name in video_devices(host) if name not in on_csi]
    return [name for name in others if answers.get(name, {}).get("captures", True)], len(on_csi)


def listed_formats(host: Host, device: str) -> Mapping[str, Sizes]:
    """Ask a camera, such as ``video0``, for its formats by V4L2's name and their sizes; empty if it does not answer."""
    try:
        answer = host.ask("v4l2").get(device, {})
    except UnansweredError:
        return {}
    return {kind: Sizes(tuple(map(tuple, ranges))) for kind, ranges in answer.get("sizes", {}).items()}


def listed_rates(host: Host, device: str) -> Mapping[str, Mapping[str, Sequence[float]]]:
    """Ask a camera, such as ``video0``, for the frame rates of each format and size; empty where it does not say.

    Returns:
        By V4L2's name of the format and the size as in "1280×720", the fastest rate first.
    """
    try:
        answer = host.ask("v4l2").get(device, {})
    except UnansweredError:
        return {}
    sizes, rates = answer.get("sizes", {}), answer.get("rates", {})
    return {
        kind: {str(Sizes((tuple(size),))): of_size for size, of_size in zip(sizes[kind], rates[kind], strict=True)}
        for kind in sizes
        if kind in rates
    }


def _is_csi(name: str) -> bool:
    return name.startswith("vi-output")


def _usb(device: str, name: str, answer: dict[str, Any]) -> Finding:
    sizes = {kind: tuple(size) for kind, size in answer.get("formats", {}).items()}
    formats = [kind + (f" to {width}×{height}" if width else "") for kind, (width, height) in sizes.items()]
    parts = [name or answer.get("card", "") or "a camera", *([", ".join(formats)] if formats else [])]
    number = device.removeprefix("video")
    value = f"{': '.join(parts)}; --camera {number}"
    facts = {"device": f"/dev/{device}", "camera": name, "formats": sizes, "connection": answer.get("bus", "")}
    return Finding(f"/dev/{device}", value, facts=facts)


def _unreadable(device: str, name: str, error: str) -> Finding:
    value = f"{name or 'a camera'} cannot be opened: {error}"
    facts = {"device": f"/dev/{device}", "camera": name, "error": error}
    remedy = Remedy("plug it in again")
    if error == "Permission denied":
        remedy = Remedy("join the group video, and log in again", "sudo usermod -aG video $USER")
    return Finding(f"/dev/{device}", value, "problem", remedy, facts)


def _csi(host: Host, device: str, name: str, sensor: int) -> Finding:
    """Describe a CSI camera.

    Its sensor gives raw data, which only NVIDIA's camera stack turns into colours. So it is used by a pipeline, not by
    its number: https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/CameraDevelopment.html
    """
    chip = name.removeprefix("vi-output, ")
    line = csi_pipeline(sensor, in_bgr=not host.has_module("gi"))  # OpenCV cannot tell NV12 from other formats
    facts = {"device": f"/dev/{device}", "camera": chip, "connection": "CSI", "pipeline": line}
    value = f"{chip} on CSI, sensor {sensor}"
    if not host.names("/usr/lib/aarch64-linux-gnu/gstreamer-1.0", "libgstnvarguscamerasrc.so"):
        remedy = Remedy("GStreamer's plugin for CSI cameras is missing", "sudo apt install nvidia-l4t-gstreamer")
        return Finding(f"/dev/{device}", value, "problem", remedy, facts)
    if not host.has_module("gi") and not _has_gstreamer(host):
        return Finding(f"/dev/{device}", value, "problem", _NO_GSTREAMER, facts)
    use = Remedy(command=f"ssd-edge run NAME.engine --camera '{line}'")
    return Finding(f"/dev/{device}", value, remedy=use, facts=facts)


def _has_gstreamer(host: Host) -> bool:
    try:
        return bool(host.ask("opencv").get("gstreamer"))
    except UnansweredError:
        return True  # the report's row on OpenCV already says that this is unknown


def csi_pipeline(sensor: int, in_bgr: bool = False) -> str:
    """Return the pipeline of a Jetson's CSI camera, for ``--camera``.

    Args:
        sensor: number of the sensor, counted from 0.
        in_bgr: whether it ends in BGR, as OpenCV needs it; otherwise in NV12, which the preprocess kernel reads.
    """
    form = "BGRx ! videoconvert ! video/x-raw,format=BGR" if in_bgr else "NV12"
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 ! "
        f"nvvidconv ! video/x-raw,format={form} ! appsink drop=1"
    )

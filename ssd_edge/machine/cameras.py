"""Find cameras on Linux, on USB and on a Jetson's CSI connectors, with names, formats, and how to use each."""

from __future__ import annotations

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

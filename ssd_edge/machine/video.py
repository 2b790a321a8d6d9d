"""Examine video support: PyAV's codecs, which of them run in hardware, and OpenCV's ways to open a camera."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host

_NAMES = {"h264": "H.264", "hevc": "H.265", "av1": "AV1", "vp9": "VP9", "mjpeg": "MJPEG"}
_SOFTWARE_ENCODERS = {
    "libx264": "H.264",
    "libopenh264": "H.264",
    "libx265": "H.265",
    "libsvtav1": "AV1",
    "mjpeg": "MJPEG",
}
_FAMILIES = {"_cuvid": "NVIDIA", "_nvenc": "NVIDIA", "_qsv": "Intel", "_vaapi": "VA-API", "_amf": "AMD"}
"""Makers of hardware codecs, by the end of the codec's name in FFmpeg."""

NUMPY_1 = "pip install 'numpy<2'"
"""The command that makes a system's OpenCV, compiled for NumPy 1, importable."""


def for_numpy_1(message: str) -> bool:
    """Tell from an ImportError whether a module was compiled for NumPy 1 and found NumPy 2, as a system's OpenCV."""
    return "numpy.core.multiarray failed to import" in message


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    answer = host.ask("pyav")
    if "missing" in answer:
        return [
            Finding("PyAV", f"cannot be imported: {answer['missing']}", "problem", Remedy(command="pip install av"))
        ]
    decoders, encoders = set(answer["decoders"]), set(answer["encoders"])
    decodes = [name for codec, name in _NAMES.items() if codec in decoders]
    encodes = [f"{name} ({codec})" for codec, name in _SOFTWARE_ENCODERS.items() if codec in encoders]
    hardware = _hardware(host, answer)
    facts = {"version": answer["version"], "decoders": sorted(decoders), "encoders": sorted(encoders)}
    sides = {"NVIDIA": "{}s"}  # for the other makers only the card was found, not the libraries that drive its codecs
    shown = ", ".join(
        f"{maker} {sides.get(maker, 'may {}').format(side)} {_listed(codecs)}"
        for (maker, side), codecs in hardware.items()
    )
    in_hardware = [[maker, side, codecs] for (maker, side), codecs in hardware.items()]
    return [
        Finding("decoders", f"{', '.join(decodes)} (PyAV {answer['version']})", facts=facts),
        Finding("encoders", ", ".join(encodes) or "none that --save-video takes"),
        Finding("in hardware", shown or "none of FFmpeg's codecs", facts={"codecs": in_hardware}),
        *_gstreamer(host),
    ]


def _hardware(host: Host, answer: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    """Return the codecs whose hardware seems to exist, by maker and side; PyAV's FFmpeg contains many more."""
    cards = {host.read(f"/sys/class/drm/{card}/device/vendor") for card in host.names("/sys/class/drm", "renderD*")}
    available = {("NVIDIA", side) for side in answer["nvidia"]}
    for vendor, makers in {"0x8086": ("Intel", "VA-API"), "0x1002": ("AMD", "VA-API")}.items():
        if vendor in cards:
            available |= {(maker, side) for maker in makers for side in ("decode", "encode")}
    codecs: dict[tuple[str, str], list[str]] = {}
    for side in ("decode", "encode"):
        for codec in answer[f"{side}rs"]:
            for end, maker in _FAMILIES.items():
                if codec.endswith(end) and codec.removesuffix(end) in _NAMES and (maker, side) in available:
                    codecs.setdefault((maker, side), []).append(codec.removesuffix(end))
    return codecs


def _listed(codecs: Sequence[str]) -> str:
    return " ".join(name for codec, name in _NAMES.items() if codec in codecs)


def probe_opencv(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    answer = host.ask("opencv")
    if "missing" in answer:
        if for_numpy_1(answer["missing"]):
            numpy = host.version("numpy") or "2"
            reason = f"cannot be imported: it was compiled for NumPy 1, and NumPy {numpy} is installed"
            return [Finding("OpenCV", reason, "problem", Remedy(command=NUMPY_1))]
        of_the_system = re.search(r"lib(GL|glib|gthread)", answer["missing"])
        command = "sudo apt install libgl1 libglib2.0-0" if of_the_system else "pip install opencv-python"
        return [Finding("OpenCV", f"cannot be imported: {answer['missing']}", "problem", Remedy(command=command))]
    ways = {"ffmpeg": "FFmpeg", "gstreamer": "GStreamer", "v4l2": "V4L2"}
    has = [name for way, name in ways.items() if answer[way]]
    lacks = [name for way, name in ways.items() if not answer[way]]
    windows = f"windows by {answer['gui']}" if answer["gui"] else "no windows"
    value = f"{answer['version']}: {', '.join(has)}" + (f"; no {', no '.join(lacks)}" if lacks else "")
    return [Finding("OpenCV", f"{value}; {windows}", facts=answer)]


def _gstreamer(host: Host) -> list[Finding]:
    """Find a Jetson's decoder and encoder: GStreamer's nvv4l2decoder and nvv4l2h264enc, which FFmpeg does not have."""
    plugins = host.names("/usr/lib/aarch64-linux-gnu/gstreamer-1.0", "libgstnvvideo4linux2.so")
    if not plugins:
        return []
    return [Finding("NVDEC", "by GStreamer: nvv4l2decoder in a pipeline for --camera", facts={"plugins": plugins})]

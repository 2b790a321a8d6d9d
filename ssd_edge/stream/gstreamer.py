"""Connection to a GStreamer pipeline by PyGObject, whose frames keep the form that the pipeline agreed on.

PyGObject is a package of the system (``python3-gi``, on a Jetson too), so that OpenCV may come from PyPI, whose OpenCV
has no GStreamer. The format, size and colours of each frame are those of its caps, its strides those of its buffer.
"""

from __future__ import annotations

import ctypes
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from time import monotonic
from typing import Any

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import INSTALL_GSTREAMER
from ssd_edge.pixels import BT601, FORMATS, YUV, Colour, Layout, RawFrame
from ssd_edge.stream.addresses import without_secrets
from ssd_edge.stream.gstreamer_losses import Losses
from ssd_edge.stream.live import Taken

_NAMES = {"YUYV": "YUY2"}  # formats that GStreamer names otherwise
_OURS = {_NAMES.get(name, name): name for name in FORMATS}
_START = 10.0  # seconds until a pipeline has to give its first frame
_SILENCE = 5.0  # seconds without a frame after which a live pipeline counts as lost
_SLICE = 100_000_000  # nanoseconds of one wait, after which errors and a stop are looked for


@cache
def libraries() -> tuple[Any, Any] | None:
    """Import ``Gst`` and ``GstVideo`` and start GStreamer; None where PyGObject or their descriptions are missing."""
    try:
        import gi

        _keep_exceptions_whole()

        gi.require_version("Gst", "1.0")
        gi.require_version("GstVideo", "1.0")
        from gi.repository import Gst, GstVideo
    except (ImportError, ValueError):
        return None
    Gst.init(None)
    return Gst, GstVideo


def _keep_exceptions_whole() -> None:
    """Make libgcc's unwinder the first in the process.

    GStreamer brings libunwind, whose functions have the same names. C++ libraries that are loaded later, such as ONNX
    Runtime and OpenVINO, would mix the two, and each exception in them would abort the process.
    """
    with suppress(OSError):  # macOS and musl have no such library
        ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)


def has_elements(*names: str) -> bool:
    """Tell whether GStreamer has all of these elements."""
    return lacking(*names) == ""


def lacking(*names: str) -> str:
    """Say which of these elements GStreamer lacks, and the packages that bring them; empty if it has all."""
    found = libraries()
    if found is None:
        return f"this Python has no GStreamer: {INSTALL_GSTREAMER}, in an environment that sees the system's packages"
    missing = [name for name in names if found[0].ElementFactory.find(name) is None]
    if not missing:
        return ""
    packages = sorted({_package(name) for name in missing})
    return f"GStreamer has no element {' and no '.join(missing)}: sudo apt install {' '.join(packages)}"


_PACKAGES = {
    "avdec_": "gstreamer1.0-libav",
    "h264parse": "gstreamer1.0-plugins-bad",
    "h265parse": "gstreamer1.0-plugins-bad",
    "jpegdec": "gstreamer1.0-plugins-good",
    "nv": "nvidia-l4t-gstreamer",
    "qtdemux": "gstreamer1.0-plugins-good",
    "rtspsrc": "gstreamer1.0-plugins-good",
    "v4l2src": "gstreamer1.0-plugins-good",
    "videoflip": "gstreamer1.0-plugins-good",
}
"""The package of Debian, Ubuntu or Jetson Linux that has an element, by the beginning of its name."""


def _package(element: str) -> str:
    suitable = (package for start, package in _PACKAGES.items() if element.startswith(start))
    return next(suitable, "gstreamer1.0-plugins-base")


def decodes_in_hardware() -> bool:
    """Tell whether a Jetson's decoder can be used: in containers it yields nothing where ``lsmod`` is missing."""
    return no_hardware() == ""


def no_hardware() -> str:
    """Say why a Jetson's decoder cannot be used; empty if it can."""
    if missing := lacking(*_HARDWARE, "nvvidconv"):
        return missing
    return "" if shutil.which("lsmod") else "NVIDIA's decoder gives no frame without lsmod: sudo apt install kmod"


_HARDWARE = ("nvv4l2decoder",)
"""Elements that decode in a Jetson's hardware."""


def quoted(text: str) -> str:
    """Quote a property's value for a pipeline."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class GStreamerConnection:
    """A running pipeline; see ``live.Connection``.

    Args:
        text: the pipeline, which ends in ``appsink``.
        reader: frames in another format than it reads are converted by GStreamer, and all are copied to its memory.
        recorded: whether it reads a file; otherwise FFmpeg's decoders get one thread, since each further one holds a
            frame back.

    Raises:
        SourceError: the pipeline is wrong, or lacks an element.
    """

    unreadable, ended = 0, ""

    def __init__(self, text: str, reader: Reader, recorded: bool = False) -> None:
        found = libraries()
        assert found is not None
        self._gst, self._video = found
        self._reader = reader
        head, _, last = text.rpartition("!")
        if not re.match(r"\s*appsink\b", last):
            raise SourceError(f"the pipeline must end in ! appsink, but ends in {without_secrets(last.strip())!r}")
        formats = ",".join(_NAMES.get(name, name) for name in reader.reads)
        sink = f"appsink name=frames max-buffers=1 sync=false caps=video/x-raw,format=(string){{{formats}}}"
        try:
            # Where the formats agree, videoconvert hands frames through as they are.
            self._pipeline = self._gst.parse_launch(f"{head}! videoconvert ! {sink}")
        except Exception as error:  # GLib.Error
            raise SourceError(_sentence(getattr(error, "message", str(error)))) from None
        self._losses, self._one_thread = Losses(self._gst), not recorded
        for element in self._elements():
            self._prepare(element)
        self._pipeline.connect("deep-element-added", lambda pipeline, part, element: self._prepare(element))
        self._frames = self._pipeline.get_by_name("frames")
        self._bus = self._pipeline.get_bus()
        self._lacks = ""
        self.fps: float | None = None
        change = self._pipeline.set_state(self._gst.State.PAUSED)
        self._raise_error()
        if change == self._gst.StateChangeReturn.ASYNC:
            change = self._pipeline.get_state(int(_START * self._gst.SECOND))[0]
            self._raise_error()
        self.live = change == self._gst.StateChangeReturn.NO_PREROLL
        self._frames.set_property("drop", self.live)
        self._pipeline.set_state(self._gst.State.PLAYING)
        self._gave_frames = False

    @property
    def way(self) -> str:
        """See ``live.Connection``; known once a frame came."""
        return "GStreamer, decoded in hardware" if self.elements() & {*_HARDWARE} else "GStreamer"

    def elements(self) -> set[str]:
        """Return the kinds of the pipeline's elements, those that ``decodebin`` chose too."""
        factories = [element.get_factory() for element in self._elements()]
        return {factory.get_name() for factory in factories if factory is not None}

    def _prepare(self, element: Any) -> None:
        self._losses.watch(element)
        if self._one_thread and element.find_property("max-threads") and not element.get_property("max-threads"):
            element.set_property("max-threads", 1)

    def _elements(self) -> list[Any]:
        elements: list[Any] = []
        iterator = self._pipeline.iterate_recurse()
        while True:
            result, element = iterator.next()
            if result == self._gst.IteratorResult.RESYNC:
                iterator.resync()
                elements.clear()
            elif result != self._gst.IteratorResult.OK:
                return elements
            else:
                elements.append(element)

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        """Wait for the next frame; see ``live.Connection``."""
        began, patience = monotonic(), _SILENCE if self._gave_frames else _START
        while not stopping():
            if self._failed():  # looks at every message, so that they do not pile up for months
                self.ended = "GStreamer lost it"
                return None
            sample = self._frames.emit("try-pull-sample", _SLICE)
            if sample is not None:
                got = monotonic()
                if not self._losses.passes(sample.get_buffer()) and self.live:
                    self.unreadable += 1
                    continue
                captured = self._captured(sample, got)
                self._gave_frames = True
                frame = self._copied(sample)
                return Taken(frame, captured, monotonic() - got, self._position(sample))
            if self._frames.get_property("eos"):
                self.ended = "it hung up"
                return None
            if monotonic() - began > patience:
                self.ended = f"no frame came for {patience:.0f} s"
                return None
        return None

    def release(self) -> None:
        """Stop the pipeline."""
        self._pipeline.set_state(self._gst.State.NULL)

    def _captured(self, sample: Any, now: float) -> float:
        """Return when a live source got a frame: when its first RTP packet came, else its time by the pipeline."""
        clock, time = self._pipeline.get_clock(), sample.get_buffer().pts
        if not self.live or clock is None or time == self._gst.CLOCK_TIME_NONE:
            return now
        if (arrived := self._losses.arrived(time)) is not None:
            return arrived
        running = sample.get_segment().to_running_time(self._gst.Format.TIME, time)
        if running == self._gst.CLOCK_TIME_NONE:
            return now
        age = (clock.get_time() - self._pipeline.get_base_time() - running) / self._gst.SECOND
        return float(now - max(0.0, age))

    def _copied(self, sample: Any) -> RawFrame:
        """Copy a sample to the reader's memory, the only copy on its way."""
        info = self._video.VideoInfo.new_from_caps(sample.get_caps())
        if info.fps_d and info.fps_n:
            self.fps = info.fps_n / info.fps_d
        buffer = sample.get_buffer()
        meta = self._video.buffer_get_video_meta(buffer)
        name = _OURS[info.finfo.name]
        number = len(FORMATS[name])
        offsets, strides = (meta.offset, meta.stride) if meta is not None else (info.offset, info.stride)
        size = info.height, info.width
        colour = self._colour(info) if name in YUV else BT601
        layout = Layout(name, size, tuple(offsets[:number]), tuple(strides[:number]), colour)
        memory = self._reader.memory(layout.nbytes)
        # By address, since PyGObject would make an array of bytes first.
        copied = _gstreamer().gst_buffer_extract(hash(buffer), 0, memory.ctypes.data, layout.nbytes)
        if copied < layout.nbytes:
            raise SourceError(f"GStreamer gives {copied} bytes for a {name} frame of {layout.nbytes}")
        return RawFrame(memory, layout)

    def _position(self, sample: Any) -> float | None:
        """Return the seconds from the recording's start, which an edit list may have moved."""
        time = sample.get_segment().to_stream_time(self._gst.Format.TIME, sample.get_buffer().pts)
        return None if time == self._gst.CLOCK_TIME_NONE else time / self._gst.SECOND

    def _colour(self, info: Any) -> Colour:
        colours = info.colorimetry
        matrix = "bt709" if colours.matrix == self._video.VideoColorMatrix.BT709 else "bt601"
        return Colour(matrix, colours.range == getattr(self._video.VideoColorRange, "0_255", 1))

    def _failed(self) -> bool:
        """Tell whether a camera that gave frames is lost; any other error is raised."""
        if self.live and self._gave_frames:
            return self._error() is not None
        self._raise_error()
        return False

    def _raise_error(self) -> None:
        error = self._error()
        if error is not None:
            self.release()
            raise SourceError(_sentence(error))

    def _error(self) -> str | None:
        """Take the next error from the bus, and drop the messages before it, but for what they say is missing."""
        kinds = self._gst.MessageType
        while (message := self._bus.pop_filtered(kinds.ERROR | kinds.ELEMENT)) is not None:
            if message.type == kinds.ERROR:
                return str(self._lacks or message.parse_error()[0].message)
            content = message.get_structure()
            if content is not None and content.get_name() == "missing-plugin":
                self._lacks = f"GStreamer lacks a plugin for this: {content.get_string('name')}"
        return None


def _sentence(message: str) -> str:
    if match := re.search(r'no element "([^"]+)"', message):
        return f"GStreamer has no element {match[1]}: gst-inspect-1.0 {match[1]} tells once its package is installed"
    told = without_secrets(" ".join(message.split())).rstrip(".")
    return f"the GStreamer pipeline fails: {told}; try it with gst-launch-1.0"


@cache
def _gstreamer() -> Any:
    library = ctypes.CDLL("libgstreamer-1.0.so.0")
    library.gst_buffer_extract.restype = ctypes.c_size_t
    library.gst_buffer_extract.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
    return library

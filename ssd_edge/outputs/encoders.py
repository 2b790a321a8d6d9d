"""Encoders of GStreamer for a live picture: the first of a list that works on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ssd_edge.errors import SinkError
from ssd_edge.stream.gstreamer import lacking, libraries

Size = tuple[int, int]
_TRIAL = 5_000_000_000  # nanoseconds in which an encoder has to encode a picture
_BITS = 0.25  # of a pixel: what the fastest presets need


@dataclass(frozen=True)
class Encoder:
    """A way to encode.

    Attributes:
        about: what it is, for people.
        elements: the elements that it needs.
        text: the pipeline from I420 to a payloader, with places for ``gop`` (frames between key frames), ``bits`` and
            ``kbits`` (a second).
        largest: most pixels of width and height.
    """

    about: str
    elements: tuple[str, ...]
    text: str
    largest: int = 4096

    def pipeline(self, size: Size, fps: float) -> str:
        """Return the pipeline for pictures of (width, height) at a rate, with a key frame each second."""
        bits = max(300_000, int(size[0] * size[1] * fps * _BITS))
        return self.text.format(gop=max(1, round(fps)), bits=bits, kbits=bits // 1000)


# One slice a picture (x264enc: one thread): rtph264pay ends a key frame after its first slice, and half of it is seen.
_H264 = "rtph264pay name=pay0 pt=96 config-interval=-1"
ENCODERS = (
    Encoder(
        "H.264 in a Jetson's hardware",
        ("nvvidconv", "nvv4l2h264enc", "rtph264pay"),
        "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! nvv4l2h264enc maxperf-enable=true insert-sps-pps=true "
        f"iframeinterval={{gop}} idrinterval={{gop}} bitrate={{bits}} ! {_H264}",
    ),
    Encoder(
        "H.264 by x264enc",
        ("x264enc", "rtph264pay"),
        f"x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={{gop}} bitrate={{kbits}} ! {_H264}",
    ),
    Encoder(
        "H.264 by openh264enc",
        ("openh264enc", "rtph264pay"),
        f"openh264enc complexity=low rate-control=bitrate gop-size={{gop}} bitrate={{bits}} ! {_H264}",
    ),
    Encoder(
        "Motion JPEG by jpegenc",
        ("jpegenc", "rtpjpegpay"),
        "jpegenc quality=80 ! rtpjpegpay name=pay0 pt=26",
        largest=2040,  # RFC 2435
    ),
)
"""In the order in which they are tried."""


def best_encoder() -> Encoder:
    """Find the first encoder that encodes a picture here.

    Raises:
        SinkError: there is none, or no GStreamer.
    """
    if missing := lacking("videotestsrc", "videoconvert", "appsrc"):
        raise SinkError(missing)
    for encoder in ENCODERS:
        if not lacking(*encoder.elements) and _works(encoder):
            return encoder
    raise SinkError(
        "GStreamer has no encoder for RTSP: sudo apt install gstreamer1.0-plugins-ugly gstreamer1.0-plugins-good"
    )


@cache
def _works(encoder: Encoder) -> bool:
    """Encode a picture: some Jetsons have the element, and no hardware behind it."""
    gst: Any = (libraries() or (None,))[0]
    size = (320, 240)
    source = f"videotestsrc num-buffers=2 ! video/x-raw,format=I420,width={size[0]},height={size[1]},framerate=25/1"
    try:
        pipeline = gst.parse_launch(f"{source} ! {encoder.pipeline(size, 25)} ! fakesink")
    except Exception:  # GLib.Error: a property that this release of it does not have
        return False
    pipeline.set_state(gst.State.PLAYING)
    message = pipeline.get_bus().timed_pop_filtered(_TRIAL, gst.MessageType.EOS | gst.MessageType.ERROR)
    pipeline.set_state(gst.State.NULL)
    return message is not None and message.type == gst.MessageType.EOS

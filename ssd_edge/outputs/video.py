"""Record annotated video in files that stay readable however the recording ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.files import sync_folder, sync_open
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.sink import Sink
from ssd_edge.outputs.syncing import Syncing
from ssd_edge.pixels import Image
from ssd_edge.stream.frames import Frame

# By suffix: the container's name and options, and the codecs to try. Each format is written in self-contained pieces,
# and synced once a second, so that a power cut or a full disk costs only the last seconds and not the whole file.
_FORMATS: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    ".mp4": (
        "mp4",
        {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1000000"},
        ("libx264", "libopenh264", "mpeg4"),
    ),
    ".mkv": ("matroska", {"cluster_time_limit": "1000"}, ("libx264", "libopenh264", "mpeg4")),
    ".avi": ("avi", {}, ("mjpeg",)),
}
_CODEC_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libopenh264": {"b": "4000000"},
    "mpeg4": {"b": "4000000"},
    "mjpeg": {"b": "16000000"},
}
_MILLISECOND = Fraction(1, 1000)


class Video(Sink):
    """Sink that writes an annotated video: H.264 in .mp4 or .mkv, Motion JPEG in .avi.

    Frames carry the time at which they were captured, so the video plays at natural speed even if frames were dropped;
    .avi has no such times, and plays at ``fps``. The first frame sets the size; others are scaled to fit in.

    Args:
        path: the file, which is overwritten; its suffix chooses the format.
        labels: class names, as in the model's spec.
        fps: frame rate of .avi, and of pictures, which have no time; None means 25.

    Raises:
        SinkError: the format is not known, or the folder does not exist.
    """

    heavy = True

    def __init__(self, path: str | Path, labels: Sequence[str], fps: float | None = None) -> None:
        self.path: Path = Path(path)
        if self.path.suffix.lower() not in _FORMATS:
            raise SinkError(f"cannot write a video as {path}: name it {', '.join(_FORMATS)}")
        if not self.path.parent.is_dir():
            raise SinkError(f"cannot write {path}: there is no folder {self.path.parent}")
        self._labels = labels
        self._fps = Fraction(fps or 25).limit_denominator(1001)
        self._recording: _Recording | None = None

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None) -> Video:
        """See ``catalogue.open_sink``."""
        return cls(target, labels, fps)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Draw and encode one frame."""
        picture = annotate(frame.image, detections, self._labels)
        if self._recording is None:
            self._recording = _Recording(self.path, self._fps, picture.shape[1], picture.shape[0])
        self._recording.add(picture, frame.position)

    def close(self) -> None:
        """Write the frames that the encoder still holds, and the end of the file."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.close()


class _Recording:
    """A file being written, with one video stream of ``width`` × ``height`` in it."""

    def __init__(self, path: Path, fps: Fraction, width: int, height: int) -> None:
        name, options, codecs = _FORMATS[path.suffix.lower()]
        self._disk = _Disk(path)
        self._path, self._fps = path, fps
        self._size = max(2, width // 2 * 2), max(2, height // 2 * 2)  # 4:2:0 colour needs even sides
        # flush_packets writes fragments to the disk when they are complete, not when a buffer happens to be full.
        self._container = av.open(self._disk, "w", format=name, container_options={"flush_packets": "1", **options})
        self._tick = 1 / fps if name == "avi" else _MILLISECOND
        self._stream = self._open_stream(codecs)
        self._last = -1

    def _open_stream(self, codecs: tuple[str, ...]) -> VideoStream:
        """Add a stream with the first codec that this build of FFmpeg has."""
        for codec in codecs:
            if codec in av.codecs_available:
                stream = self._container.add_stream(codec, rate=self._fps, options=_CODEC_OPTIONS[codec])
                break
        else:
            raise SinkError(f"cannot write {self._path}: this build of FFmpeg has none of {', '.join(codecs)}")
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = self._tick
        stream.codec_context.gop_size = 60
        return stream

    def add(self, picture: Image, position: float | None) -> None:
        """Encode a frame for time ``position`` in seconds; None means one frame's time after the last."""
        step = max(1, round(1 / self._fps / self._tick))
        ticks = self._last + step if position is None or self._tick != _MILLISECOND else round(position * 1000)
        frame = av.VideoFrame.from_ndarray(_fitted(picture, self._size), format="bgr24")
        frame.time_base = self._tick
        frame.pts = self._last = max(ticks, self._last + 1)  # an encoder needs increasing times
        self._put(frame)

    def close(self) -> None:
        """Finish the file; after a write error it ends where the error happened."""
        try:
            if self._disk.error is None:
                self._put(None)
        finally:
            self._container.close()
            self._disk.close()
        self._disk.check()

    def _put(self, frame: av.VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except av.error.FFmpegError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from None
        self._disk.check()


class _Disk:
    """The file of a container, which hides write errors from FFmpeg.

    After the first error nothing more is written, whatever FFmpeg does to finish the container, so the file on the disk
    stays as it was.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._path = path
        self._raised = False
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror}") from None
        self._syncing = Syncing(self._sync)

    def _sync(self) -> None:
        sync_open(self._file.fileno())
        sync_folder(self._path.parent)

    def write(self, data: bytes) -> int:
        """Write all of ``data``; after an error, write nothing but report success."""
        rest = memoryview(data)
        try:
            while rest and self.error is None:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            self.error = error
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the file's position, as ``io`` does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the file's position, as ``io`` does."""
        return self._file.tell()

    def check(self) -> None:
        """Raise the write error, if any; only once."""
        self._keep_error(self._syncing.check)
        if self.error is not None and not self._raised:
            self._raised = True
            hint = "; what was written until then can be played"
            raise SinkError(f"cannot write {self._path}: {self.error.strerror}{hint}")

    def close(self) -> None:
        """Close the file."""
        self._keep_error(self._syncing.close)
        self._keep_error(self._file.close)

    def _keep_error(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self.error = self.error or error


def _fitted(picture: Image, size: tuple[int, int]) -> Image:
    """Fit ``picture`` into (width, height): cut an odd last row or column, scale and centre another size."""
    width, height = size
    if picture.shape[1] // 2 * 2 == width and picture.shape[0] // 2 * 2 == height:
        return np.ascontiguousarray(picture[:height, :width])
    if picture.shape[:2] == (1, 1):
        picture = np.tile(picture, (2, 2, 1))  # OpenCV 4.5 refuses to resize one pixel
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return canvas

"""Encode pictures into a video file that stays readable however the recording ends."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from io import FileIO
from pathlib import Path

import av
from av.video.stream import VideoStream

from ssd_edge.errors import SinkError
from ssd_edge.machine.allocator import give_back_memory
from ssd_edge.outputs.fitting import fitted
from ssd_edge.outputs.sink import cannot_write
from ssd_edge.outputs.syncing import Syncing, sync_written
from ssd_edge.pixels import Image

# By suffix: the container's name and options, and the codecs to try. Each format is written in self-contained pieces,
# and synced once a second, so that a power cut or a full disk costs only the last seconds and not the whole file.
FORMATS: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    ".mp4": (
        "mp4",
        {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1000000"},
        ("libx264", "libopenh264", "mpeg4"),
    ),
    ".mkv": ("matroska", {"cluster_time_limit": "1000"}, ("libx264", "libopenh264", "mpeg4")),
    ".avi": ("avi", {}, ("mjpeg",)),
}
_CODEC_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "23", "bf": "0"},  # B-frames would shift the first from time 0
    "libopenh264": {"b": "4000000"},
    "mpeg4": {"b": "4000000"},
    "mjpeg": {"b": "16000000"},
}
_MILLISECOND = Fraction(1, 1000)


def checked_format(path: Path) -> Path:
    """Return a video's path.

    Raises:
        SinkError: its suffix is none of ``FORMATS``, or there is no such folder.
    """
    if path.suffix.lower() not in FORMATS:
        raise SinkError(f"cannot write a video as {path}: name it {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise SinkError(f"cannot write {path}: there is no folder {path.parent}")
    return path


class Recording:
    """A video file being written, with one stream in it, whose first frame is at time 0.

    Args:
        file: the new, empty file, which is closed here.
        path: its path.
        fps: frames per second of .avi, which has at most so many, and of pictures without a time.
        size: (width, height); a picture of another size is scaled to fit in.
    """

    def __init__(self, file: FileIO, path: Path, fps: Fraction, size: tuple[int, int]) -> None:
        name, options, codecs = FORMATS[path.suffix.lower()]
        self._path, self._fps = path, fps
        self._size = max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2)  # 4:2:0 colour needs even sides
        self._regular = name == "avi"
        self._tick = 1 / fps if self._regular else _MILLISECOND
        self._last, self._start = -1, 0.0
        self._disk = _Disk(file, path)
        try:
            # flush_packets writes fragments to the disk when they are complete, not when a buffer happens to be full.
            self._container = av.open(self._disk, "w", format=name, container_options={"flush_packets": "1", **options})
            self._stream = self._open_stream(codecs)
        except BaseException:
            self._disk.close()
            raise

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

    @property
    def size(self) -> int:
        """Bytes on the disk so far."""
        return self._disk.size

    @property
    def seconds(self) -> float:
        """Seconds from its first frame to its last."""
        return max(0.0, float(self._last * self._tick))

    def fits(self, picture: Image) -> bool:
        """Tell whether a picture has the recording's size."""
        return (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2) == self._size

    def add(self, picture: Image, position: float | None) -> None:
        """Encode a frame.

        Where frames are missing, .avi gets empty ones, at which a player goes on showing the last. What comes faster
        than its rate is left out, since it would make the rest late.

        Args:
            picture: (height, width, 3) uint8 BGR.
            position: its time in seconds, on the clock of the first; None means one frame's time after the last.

        Raises:
            SinkError: it cannot be written.
        """
        if self._last < 0:
            self._start = position or 0.0
        step = max(1, round(1 / self._fps / self._tick))
        ticks = self._last + step if position is None else round((position - self._start) / float(self._tick))
        if position is not None and self._regular and ticks < self._last:
            return
        frame = av.VideoFrame.from_ndarray(fitted(picture, self._size), format="bgr24")
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
            del self._container, self._stream  # with the encoder's memory, tens of megabytes of it
            give_back_memory()
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

    def __init__(self, file: FileIO, path: Path) -> None:
        self.error: OSError | None = None
        self.size = 0
        self._file, self._path = file, path
        self._raised = False
        self._syncing = Syncing(partial(sync_written, file.fileno(), path.parent))

    def write(self, data: bytes) -> int:
        """Write all of ``data``; after an error, write nothing but report success."""
        rest = memoryview(data)
        try:
            while rest and self.error is None:
                rest = rest[self._file.write(rest) or 0 :]
            self.size = max(self.size, self._file.tell())
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
            error = cannot_write(self._path, self.error)
            raise type(error)(f"{error}; what was written until then can be played")

    def close(self) -> None:
        """Close the file."""
        self._keep_error(self._syncing.close)
        self._keep_error(self._file.close)

    def _keep_error(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self.error = self.error or error

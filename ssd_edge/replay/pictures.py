"""Keep a frame's picture as it arrived, or without loss, and decode it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.data.header import PictureError, read_header
from ssd_edge.errors import RecordingError, SinkError
from ssd_edge.pixels import FORMATS, Colour, Layout, Pixels, RawFrame, packed
from ssd_edge.replay.schema import Picture
from ssd_edge.replay.stages import same_pixels
from ssd_edge.stream.encoded import DECODERS, Encoded
from ssd_edge.stream.frames import Frame

PLANES = "png"
"""The form of a picture without loss: a PNG for each plane of the pixel format that the detector read."""

# Huffman coding alone, without a search for repeats: of camera noise, quicker than every other level and smaller.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]


class Keeper:
    """Makes the ``Picture`` of each frame.

    What arrived compressed is kept so if decoding it again gives the same pixels; this is tried once for each decoder.
    """

    def __init__(self) -> None:
        self._exact: dict[str, bool] = {}

    def picture(self, frame: Frame) -> Picture:
        """Make a picture.

        Raises:
            SinkError: it is too large for a PNG.
        """
        if frame.encoded is not None and self._decodes(frame.encoded, frame.pixels):
            layout = layout_of(frame.pixels)
            return Picture(frame.encoded.decoder, [frame.encoded.data], layout.size)
        return lossless(frame.pixels)

    def _decodes(self, encoded: Encoded, pixels: Pixels) -> bool:
        if encoded.decoder not in self._exact:
            try:
                self._exact[encoded.decoder] = same_pixels(DECODERS[encoded.decoder](encoded.data), pixels)
            except (ValueError, KeyError):
                self._exact[encoded.decoder] = False
        return self._exact[encoded.decoder]


def layout_of(pixels: Pixels) -> Layout:
    """Return how a frame lies in memory; an array is packed BGR."""
    return pixels.layout if isinstance(pixels, RawFrame) else packed("BGR", (pixels.shape[0], pixels.shape[1]))


def lossless(pixels: Pixels) -> Picture:
    """Compress pixels without loss, in the format that they have.

    Raises:
        SinkError: they are too many for a PNG.
    """
    layout = layout_of(pixels)
    memory = pixels.memory if isinstance(pixels, RawFrame) else np.ascontiguousarray(pixels).reshape(-1)
    data = [_png(layout.of_plane(memory, place)) for place in range(len(layout.offsets))]
    return Picture(PLANES, data, layout.size, layout.pixel_format, *layout.colour)


def decoded(picture: Picture) -> Pixels:
    """Decode a picture: to the format that the detector read, which is BGR if it arrived compressed.

    Raises:
        RecordingError: it cannot be decoded.
    """
    try:
        return FORMS[picture.form](picture)
    except (KeyError, ValueError, cv2.error) as error:
        raise RecordingError(f"a picture of the recording cannot be decoded: {error}") from None


def _png(plane: npt.NDArray[np.uint8]) -> bytes:
    rows, blocks, nbytes = plane.shape
    # A PNG of OpenCV has 1, 3 or 4 channels; a block of 4 bytes is a pixel of YUYV's two, so neighbours are alike.
    image = plane.reshape(rows, blocks * nbytes) if nbytes == 2 else plane
    try:
        done, data = cv2.imencode(".png", image, _PNG)
    except cv2.error:
        done = False
    if not done:
        raise SinkError(f"cannot record a frame of {blocks} × {rows}: it is too large for a PNG")
    return data.tobytes()


def _from_planes(picture: Picture) -> Pixels:
    if picture.pixel_format not in FORMATS or len(picture.data) != len(FORMATS[picture.pixel_format]):
        raise ValueError(f"{picture.pixel_format:.20} has other planes")
    if min(picture.size) < 1:
        raise ValueError("it has no pixels")
    layout = packed(picture.pixel_format, picture.size, Colour(picture.matrix, picture.full_range))
    planes = [_plane(data, layout, place) for place, data in enumerate(picture.data)]
    if picture.pixel_format == "BGR":
        return planes[0]
    return RawFrame(np.concatenate([plane.reshape(-1) for plane in planes]), layout)


def _plane(data: bytes, layout: Layout, place: int) -> npt.NDArray[np.uint8]:
    plane = FORMATS[layout.pixel_format][place]
    rows, across = -(-layout.size[0] // plane.rows), -(-layout.size[1] // plane.columns)
    columns = across * (2 if plane.nbytes == 2 else 1)
    try:
        header = read_header(data)
    except PictureError as error:
        raise ValueError(f"it {error}") from None
    if (header.height, header.width) != (rows, columns):  # before memory is taken for it
        raise ValueError(f"it has {header.width}×{header.height} pixels in place of {columns}×{rows}")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8 or image.size != rows * across * plane.nbytes:
        raise ValueError("it is damaged")
    shape = (rows, across, plane.nbytes)
    return np.asarray(image, np.uint8).reshape(shape)


def _as_it_arrived(picture: Picture) -> Pixels:
    if len(picture.data) != 1:
        raise ValueError("it has other parts")
    return DECODERS[picture.form](picture.data[0])


FORMS: Mapping[str, Callable[[Picture], Pixels]] = {PLANES: _from_planes, **dict.fromkeys(DECODERS, _as_it_arrived)}
"""What decodes each form of a picture."""

"""Pictures: the same upright pixels from every format, headers read first, and files that are only partly there."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd_edge.data import exif
from ssd_edge.data.dataset import read_image
from ssd_edge.data.header import Header, PictureError, read_header
from ssd_edge.data.picture import Decoding, image_size, read_picture, turned_boxes
from ssd_edge.errors import DataError
from tests.helpers import shared

WIDTH, HEIGHT = 48, 32
CORNERS = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"} | {
    5: "top left",
    6: "top right",
    7: "bottom right",
    8: "bottom left",
}
"""Where the first pixel of the stored picture is in the upright one (EXIF 2.32, 4.6.4 A)."""


def stored_picture() -> np.ndarray:
    """Draw a dark picture with a bright first corner and a middling second one, at the end of the first row."""
    image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    image[:8, :8], image[:8, -8:] = 240, 130
    return image


def block(orientation: int, order: str = "<") -> bytes:
    """Make an EXIF block that says nothing but the orientation."""
    start = b"II" if order == "<" else b"MM"
    return start + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, exif.ORIENTATION, 3, 1, orientation, 0, 0)


def encoded(suffix: str, *flags: int) -> bytes:
    return cv2.imencode(suffix, stored_picture(), list(flags))[1].tobytes()


def jpeg(exif_block: bytes, *flags: int) -> bytes:
    data, body = encoded(".jpg", cv2.IMWRITE_JPEG_QUALITY, 95, *flags), b"Exif\0\0" + exif_block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def png(kind: bytes, body: bytes) -> bytes:
    data = encoded(".png")
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:33] + chunk + data[33:]  # behind IHDR


def raw_profile(exif_block: bytes) -> bytes:
    """Write EXIF as ImageMagick does."""
    body = b"Exif\0\0" + exif_block
    text = b"\nexif\n%8d\n%s\n" % (len(body), body.hex().encode())
    return b"Raw profile type exif\0\0" + zlib.compress(text)


def webp(exif_block: bytes) -> bytes:
    data = encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
    picture = data[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + (WIDTH - 1).to_bytes(3, "little")
    canvas += (HEIGHT - 1).to_bytes(3, "little")
    tail = b"EXIF" + struct.pack("<I", len(exif_block)) + exif_block + b"\0" * (len(exif_block) % 2)
    body = b"WEBP" + canvas + picture + tail
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(orientation: int) -> bytes:
    """Write an uncompressed TIFF by hand: OpenCV writes no orientation."""
    pixels = stored_picture()[..., ::-1].tobytes()
    entries = [(256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 3, 8 + len(pixels)), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 8), (274, 3, 1, orientation), (277, 3, 1, 3), (278, 3, 1, HEIGHT), (279, 4, 1, len(pixels))]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        b"II*\0" + struct.pack("<I", 14 + len(pixels)) + pixels + struct.pack("<HHH", 8, 8, 8) + directory + b"\0" * 4
    )


WAYS: dict[str, Callable[[int], bytes]] = {
    "JPEG": lambda n: jpeg(block(n)),
    "JPEG, big-endian": lambda n: jpeg(block(n, ">")),
    "JPEG in passes": lambda n: jpeg(block(n), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "PNG": lambda n: png(b"eXIf", block(n)),
    "PNG with the prefix of JPEG": lambda n: png(b"eXIf", b"Exif\0\0" + block(n)),
    "PNG by ImageMagick": lambda n: png(b"zTXt", raw_profile(block(n))),
    "WebP": lambda n: webp(block(n)),
    "WebP with the prefix of JPEG": lambda n: webp(b"Exif\0\0" + block(n)),
    "TIFF": tiff,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_turned_upright_once(tmp_path: Path, way: str, orientation: int) -> None:
    path = tmp_path / "picture"
    path.write_bytes(WAYS[way](orientation))
    image = read_image(path)
    assert image.shape == ((WIDTH, HEIGHT, 3) if orientation >= 5 else (HEIGHT, WIDTH, 3))
    assert image_size(path) == (image.shape[1], image.shape[0])
    row, column = CORNERS[orientation].split()
    y, x = (2 if row == "top" else -3), (2 if column == "left" else -3)
    assert abs(int(image[y, x, 0]) - 240) < 12
    # The second corner ends the stored first row, which lies along y from orientation 5 on.
    other = (-1 - y, x) if orientation >= 5 else (y, -1 - x)
    assert abs(int(image[other][0]) - 130) < 12
    assert abs(int(image[-1 - y, -1 - x, 0]) - 20) < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_turned_with_the_picture(orientation: int) -> None:
    header = Header("JPEG", WIDTH, HEIGHT, orientation)
    (box,) = turned_boxes(np.array([[0, 0, 8, 8]], np.float32), header).tolist()
    width, height = header.size
    row, column = CORNERS[orientation].split()
    x, y = (0 if column == "left" else width - 8), (0 if row == "top" else height - 8)
    assert box == [x, y, x + 8, y + 8]
    assert turned_boxes(np.zeros((0, 4), np.float32), header).shape == (0, 4)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    assert exif.orientation(block(orientation)) == 1


@given(st.binary(max_size=80))
def test_any_exif_block_has_an_orientation(data: bytes) -> None:
    for start in (b"", b"Exif\0\0", b"II*\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0"):
        assert 1 <= exif.orientation(start + data) <= 8


@given(st.binary(max_size=80))
def test_any_bytes_have_a_header_or_a_reason(data: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"II*\0", b"II+\0", b"BM"):
        with suppress(PictureError):
            assert min(read_header(start + data).size) >= 1


def _frame(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width) + b"\x03" + b"\1\x11\0" * 3 + b"\xff\xd9"


def _tags(width: int, height: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIIHHII", 8, 2, 256, 4, 1, width, 257, 4, 1, height)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0),
        b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 30_000, -30_000),
        b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + (29_999).to_bytes(3, "little") * 2,
        _frame(30_000, 30_000),
        _tags(30_000, 30_000),
    ],
)
def test_pixels_are_counted_before_they_are_decoded(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    path = tmp_path / "bomb"
    path.write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(
        DataError, match=r"declares 30000×30000 pixels.*raise the limit: ssd-edge --max-pixels 900000000"
    ):
        read_image(path)


def test_the_limit_of_pixels_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(".png"))
    assert read_picture(path, Decoding(WIDTH * HEIGHT)).image.shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(DataError, match="more than the 1535 that are decoded"):
        read_picture(path, Decoding(WIDTH * HEIGHT - 1))
    monkeypatch.setenv("SSD_EDGE_MAX_PIXELS", "1535")
    with pytest.raises(DataError, match="more than the 1535"):
        read_image(path)
    monkeypatch.setenv("SSD_EDGE_MAX_PIXELS", "many")
    with pytest.raises(DataError, match="SSD_EDGE_MAX_PIXELS should be a whole number, but is 'many'"):
        read_image(path)


@pytest.mark.parametrize("change", [{"max_pixels": 0}, {"bits": 7}, {"bits": 17}])
def test_limits_that_make_no_sense(change: dict[str, int]) -> None:
    with pytest.raises(DataError, match="should be"):
        Decoding(**change)


def photo(*flags: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (15, 20, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC), list(flags))[1].tobytes()


KINDS = [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)]


@pytest.mark.parametrize("flags", KINDS)
@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
@pytest.mark.parametrize("marker", [b"", b"\xff\xd9", b"\xff\xff\xd9", b"\xff\xd9" + b"video" * 3000])
def test_a_jpeg_that_lacks_data_is_truncated(
    tmp_path: Path, flags: tuple[int, ...], share: float, marker: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    data = photo(*flags)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(len(data) * share)] + marker)
    with pytest.raises(DataError, match="truncated"):
        read_image(path)
    capfd.readouterr()  # what OpenCV writes


@pytest.mark.parametrize("flags", KINDS)
@pytest.mark.parametrize(
    ("end", "more"),
    [(-2, b""), (None, b""), (None, b"\0" * 9000), (None, b"\xff\xd8\xff\xe0 a second picture")],
)
def test_data_behind_the_end_of_a_jpeg_do_not_matter(
    tmp_path: Path, flags: tuple[int, ...], end: int | None, more: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    data = photo(*flags)
    path = tmp_path / "long.jpg"
    path.write_bytes(data[:end] + more)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(path), expected)
    assert capfd.readouterr().err == ""


def test_a_plain_jpeg_is_whole(tmp_path: Path) -> None:
    for shade in (0, 128, 255):
        path = tmp_path / f"{shade}.jpg"
        assert cv2.imwrite(str(path), np.full((30, 50, 3), shade, np.uint8))
        assert (read_image(path) == shade).all()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_other_formats_that_lack_data_are_truncated(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    path = tmp_path / f"cut{suffix}"
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match="truncated"):
            read_image(path)
    capfd.readouterr()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_become_eight(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep{suffix}"
    values = np.array([[0, 15, 16, 255, 256, 2048, 4095]], np.uint16)
    assert cv2.imwrite(str(path), values)
    picture = read_picture(path)
    assert picture.largest == 4095
    assert picture.image[0, :, 0].tolist() == [0, 0, 0, 0, 1, 8, 15]
    twelve = read_picture(path, Decoding(bits=12))
    assert twelve.image[0].tolist() == [[v] * 3 for v in (0, 0, 1, 15, 16, 128, 255)]
    with pytest.raises(DataError, match="holds the value 4095, which has more than the 10 bits"):
        read_picture(path, Decoding(bits=10))


def test_eight_bits_have_no_largest_value(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(".png"))
    assert read_picture(path).largest is None
    assert read_picture(path, Decoding(bits=12)).image.max() == 240


def test_values_that_are_no_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    assert cv2.imwrite(str(path), np.full((4, 5, 3), 0.5, np.float32))
    with pytest.raises(DataError, match="values of type float32: save it with 8 or 16 bits"):
        read_image(path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "it is an empty file"),
        (b"GIF89a", "it is GIF"),
        (b"\0\0\0\x1cftypheic", "it is HEIC"),
        (b"\0\0\0\x1cftypavif", "it is AVIF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html>", "it is truncated or not an image"),
        (b"\xff\xd8\xff\xd9", ".*its JPEG header gives no size"),
    ],
)
def test_files_that_are_no_picture_are_named(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"^cannot read image .*a\.jpg: {what}"):
        read_image(path)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "\udcb0\udca1.png"  # EUC-KR on disk
    path.write_bytes(encoded(".png"))
    assert read_image(path).shape == (HEIGHT, WIDTH, 3)


def test_real_webp_and_jpeg_agree() -> None:
    folder = shared("cases/15-webp-exif")
    jpeg_image, webp_image = read_image(folder / "turned.jpg"), read_image(folder / "turned.webp")
    assert jpeg_image.shape == webp_image.shape
    assert np.abs(jpeg_image.astype(int) - webp_image).mean() < 5

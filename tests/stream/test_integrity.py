"""Damaged pictures, and those that lean on them, against streams that are cut on purpose; frozen and black cameras."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from ssd_edge.pixels import FORMATS, RawFrame, packed
from ssd_edge.stream.integrity import FrameNumbers, Gaps, Gate, ParameterSets
from ssd_edge.stream.liveness import BLACK_AFTER, FROZEN_AFTER, Liveness
from ssd_edge.stream.pyav_live import converted

OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=10:scenecut=0:repeat-headers=1"}


def packets(options: dict[str, str], count: int = 40, profile: str = "") -> list[bytes]:
    """Encode a moving picture as H.264 with start codes."""
    if "libx264" not in av.codecs_available:
        pytest.skip("this PyAV has no libx264")
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, profile or "yuv420p", Fraction(1, 25)
    context.options = options
    picture = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), 4, 0), 4, 1)
    found: list[bytes] = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(np.roll(picture, (number, 2 * number), (0, 1)), format="bgr24")
        frame.pts = number
        found += [bytes(packet) for packet in context.encode(frame.reformat(format=context.pix_fmt))]
    return found + [bytes(packet) for packet in context.encode(None)]


@pytest.mark.parametrize(
    ("more", "pixels"),
    [
        ("", "yuv420p"),
        (":slices=4", "yuv420p"),
        (":bframes=2:b-pyramid=none", "yuv420p"),
        (":ref=4", "yuv444p"),
        (":cqm=jvt", "yuv422p"),
    ],
)
def test_each_missing_picture_is_noticed_and_no_other(more: str, pixels: str) -> None:
    options = {**OPTIONS, "x264-params": OPTIONS["x264-params"] + more}
    if "bframes" in more:
        del options["tune"]
    if "cqm" in more:
        del options["preset"]
    whole = packets(options, profile=pixels)
    numbers = FrameNumbers()
    assert not any(numbers.missing_before(data) for data in whole)
    refers = [any(unit[0] >> 5 & 3 and unit[0] & 31 in (1, 5) for unit in units(data)) for data in whole]
    idr = [any(unit[0] & 31 == 5 for unit in units(data)) for data in whole]
    checked = 0
    for lost in range(1, len(whole) - 1):
        numbers = FrameNumbers()
        after = [numbers.missing_before(data) for data in whole[:lost] + whole[lost + 1 :]]
        # A picture that none refers to is no loss to others; nor is one before a picture that refers to none.
        if refers[lost] and not idr[lost] and not idr[lost + 1]:
            assert after[lost], lost
            checked += 1
        healed = next((place for place in range(lost + 1, len(whole)) if idr[place]), len(whole))
        assert not any(after[:lost] + after[healed - 1 :])
    assert checked > 5


def units(data: bytes) -> list[bytes]:
    return [unit for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:] if unit]


def test_noise_instead_of_units_is_no_error() -> None:
    random = np.random.default_rng(1)
    numbers, sets = FrameNumbers(), ParameterSets()
    for size in range(200):
        sets.doubted(b"\0\0\1\x67" + random.bytes(size))
        numbers.missing_before(b"\0\0\1\x67" + random.bytes(size))
        numbers.missing_before(b"\0\0\1\x41" + random.bytes(size % 7))
        numbers.missing_before(random.bytes(size))


def test_the_gate_is_shut_up_to_a_whole_key_frame() -> None:
    gate = Gate()
    steps = [
        (False, True, 0.0, True),
        (False, False, 1.0, True),
        (True, False, 2.0, False),
        (False, False, 3.0, False),
        (True, True, 4.0, False),
        (False, False, 5.0, False),
        (False, True, 6.0, True),
        (False, False, 7.0, True),
        (False, False, 6.5, False),  # backward
        (False, False, 8.0, False),
        (False, True, 9.0, True),
        (False, True, 1.0, True),  # the sender begins anew
        (False, False, 2.0, True),
        (False, False, None, True),
    ]
    assert [gate.passes(damaged, key, time) for damaged, key, time, _ in steps] == [step[3] for step in steps]


def test_gaps_by_time() -> None:
    gaps = Gaps()
    assert [gaps.before(time) for time in (0.0, 0.04, 0.08, 0.16, 0.20, None, 0.28, 0.32)] == [
        *[False] * 3,
        True,
        *[False] * 4,
    ]


def test_nothing_spoilt_passes_of_a_stream_with_holes() -> None:
    """The same stream with and without a hole: what passes of the second is bit by bit in the first."""
    whole = packets({**OPTIONS, "x264-params": "keyint=8:scenecut=0:repeat-headers=1"}, 64)
    truth = {image.tobytes() for image in decoded(whole, gated=False)}
    assert len(truth) == 64
    spoilt = [data[:300] if number == 19 else data for number, data in enumerate(whole) if number not in (10, 45)]
    naive = [image.tobytes() in truth for image in decoded(spoilt, gated=False)]
    assert naive.count(False) > 5  # what passed before: FFmpeg hides the damage
    passed = [image.tobytes() in truth for image in decoded(spoilt, gated=True)]
    assert all(passed)
    assert len(passed) > 35


SPS, OTHER_SPS, PPS, SLICE = (b"\0\0\0\1" + unit for unit in (b"\x67abc", b"\x67abd", b"\x68xyz", b"\x41def"))


@pytest.mark.parametrize(
    ("what", "sent", "doubted"),
    [
        ("nothing", [b"", SLICE], [False, False]),
        ("always the same", [SPS + PPS, SLICE, SPS + b"\0" + PPS], [False] * 3),
        (
            "wrong ones, once",
            [SPS + PPS, OTHER_SPS + PPS, SLICE, PPS, SPS, SLICE],
            [False, True, True, True, False, False],
        ),
        ("other wrong ones each time", [SPS, OTHER_SPS, b"\0\0\1\x67q", SPS], [False, True, True, False]),
        ("a camera set anew", [SPS + PPS, OTHER_SPS + PPS, SLICE, OTHER_SPS, SLICE], [False, True, True, False, False]),
        ("and back", [SPS, OTHER_SPS, OTHER_SPS, SPS, OTHER_SPS], [False, True, False, False, False]),
        ("by turns", [SPS, OTHER_SPS, SPS, OTHER_SPS, SPS], [False, True, False, False, False]),
    ],
)
def test_other_parameter_sets_are_doubted_until_they_come_again(
    what: str, sent: list[bytes], doubted: list[bool]
) -> None:
    sets = ParameterSets()
    assert [sets.doubted(data) for data in sent] == doubted, what


def test_a_camera_whose_parameter_sets_always_differ_is_seen() -> None:
    sets = ParameterSets()
    doubted = [sets.doubted(b"\0\0\1\x67%d" % number) for number in range(1000, 1300)]
    assert doubted == [False, *[True] * 5, *[False] * 294]
    assert not sets.doubted(b"\0\0\1\x671299")


def test_the_first_parameter_sets_are_trusted_besides_those_of_the_description() -> None:
    """Some cameras describe what they no longer send."""
    sets = ParameterSets()
    assert not sets.doubted(SPS, described=True)
    assert not sets.doubted(OTHER_SPS)
    assert not sets.doubted(SPS)
    assert sets.doubted(b"\0\0\1\x67q")


def test_nothing_passes_that_wrong_parameter_sets_made() -> None:
    whole = packets({**OPTIONS, "x264-params": "keyint=8:scenecut=0:repeat-headers=1"}, 24)
    truth = {image.tobytes() for image in decoded(whole, gated=False)}
    garbled, passed = 0, []
    for place in range(24):
        spoilt, changed = list(whole), bytearray(whole[8])
        changed[8 + place // 8] ^= 1 << place % 8  # of the numbers in the SPS
        spoilt[8] = bytes(changed)
        garbled += any(image.tobytes() not in truth for image in decoded(spoilt, gated=False))
        passed.append([image.tobytes() in truth for image in decoded(spoilt, gated=True)])
    assert garbled
    assert all(all(one) for one in passed)
    assert min(map(len, passed)) >= 13  # not the eight that lean on them, nor what FFmpeg holds back


def test_colours_that_cannot_be_converted_make_no_picture() -> None:
    frame = av.VideoFrame(32, 16, "yuv420p")
    image = converted(frame)
    assert image is not None
    assert image.shape == (16, 32, 3)
    frame.colorspace = 14  # ICtCp, as wrong bytes may say
    assert converted(frame) is None


def decoded(data: list[bytes], gated: bool) -> list[np.ndarray]:
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    gate, numbers, sets, images = Gate(), FrameNumbers(), ParameterSets(), []
    for one in data:
        missing = numbers.missing_before(one) | sets.doubted(one)
        try:
            frames = context.decode(av.Packet(one))
        except av.error.FFmpegError:
            gate.passes(True, False, None)
            continue
        for frame in frames:
            assert isinstance(frame, av.VideoFrame)
            if not gated or gate.passes(missing or frame.is_corrupt, bool(frame.key_frame), None):
                images.append(frame.to_ndarray(format="gray"))
    return images


class Camera:
    """Frames at 10 a second into a watch, by a clock of its own."""

    def __init__(self) -> None:
        self.now, self.lines = 0.0, []
        self.lines: list[str]
        self.liveness = Liveness(self.lines.append, lambda: self.now)

    def show(self, frames: list[object]) -> None:
        for frame in frames:
            self.now += 0.1
            self.liveness.look(frame)  # type: ignore[arg-type]


def noise(count: int, low: int = 0, high: int = 256, shape: tuple[int, ...] = (480, 640, 3)) -> list[object]:
    random = np.random.default_rng(count)
    return [random.integers(low, high, shape, np.uint8) for _ in range(count)]


def test_a_frozen_camera_is_said_and_counted() -> None:
    camera = Camera()
    live = noise(4)
    camera.show([*live, *[live[-1]] * 51])
    assert camera.lines == []
    camera.show([live[-1]] * 2)
    assert camera.lines == ["frozen: its frames are equal to the last bit"]
    assert camera.liveness.frozen == pytest.approx(10 * FROZEN_AFTER, abs=3)
    camera.show(live)
    assert camera.lines[1:] == ["no longer frozen"]


def test_a_change_of_one_pixel_is_none_of_a_frozen_camera() -> None:
    """The pixels that are looked at are equal; then all of them are compared."""
    camera = Camera()
    (base,) = noise(1)
    frames = []
    for number in range(100):
        frame = np.array(base, np.uint8)
        frame[1, number + 1, 0] ^= 1
        frames.append(frame)
    camera.show(list(frames))
    assert camera.lines == []


def test_a_black_camera_is_said_and_counted() -> None:
    camera = Camera()
    camera.show([*noise(3), *noise(19, 0, 25)])
    assert camera.lines == []
    camera.show(noise(4, 0, 25))
    assert camera.lines == ["black"]
    assert camera.liveness.black == pytest.approx(10 * BLACK_AFTER, abs=4)
    night = noise(30, 0, 25)
    for frame in night:
        frame[:100, :100] = 200  # type: ignore[index]
    camera.show(night)
    assert camera.lines[1:] == ["no longer black"]


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("size", [(48, 64), (5, 3), (1, 1)])
def test_black_in_every_format(name: str, size: tuple[int, int]) -> None:
    """Black is told by brightness alone, whatever the colours are."""
    layout = packed(name, size)
    for level, lines in ((16, ["black"]), (120, [])):
        camera = Camera()
        for number in range(30):
            memory = np.full(layout.nbytes + 7, 128, np.uint8)
            plane = layout.of_plane(memory, 0)
            bright = plane[..., ::2] if name == "YUYV" else plane[..., :3]
            bright[...] = level
            memory[-1] = number
            camera.show([RawFrame(memory, layout)])
        assert camera.lines == lines

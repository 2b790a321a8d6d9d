"""A section is read as far as it goes, wherever it was cut off or damaged."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.detections import Detections
from ssd_edge.errors import RecordingError
from ssd_edge.pixels import FORMATS, Colour, RawFrame, packed
from ssd_edge.replay import container
from ssd_edge.replay.bits import detections_of, found_of
from ssd_edge.replay.container import MAGIC, Section
from ssd_edge.replay.container import packed as packed_record
from ssd_edge.replay.pictures import decoded, lossless
from ssd_edge.replay.reading import open_recording
from ssd_edge.replay.stages import digests, of_pixels
from tests.replay.worlds import Pictures, record, sections


@pytest.fixture(scope="module")
def section(tmp_path_factory, bundle):
    """A section of three tiny frames; tests must not change it."""
    folder = tmp_path_factory.mktemp("short")
    record(folder, bundle, Pictures(3, lambda index: np.full((2, 3, 3), index, np.uint8)))
    (path,) = sections(folder)
    return path


def test_a_section_cut_off_at_any_byte_gives_all_whole_frames(section, tmp_path):
    data = section.read_bytes()
    ends = [*[placed.offset for placed in Section(section).shots()][1:], len(data)]
    begin = next(iter(Section(section).shots())).offset
    cut = tmp_path / section.name
    for length in [*range(0, begin, 7), *range(begin, len(data) + 1)]:
        cut.write_bytes(data[:length])
        if length < begin:
            with pytest.raises(RecordingError, match=r"cut off in its head|no recording"):
                Section(cut)
            continue
        opened = Section(cut)
        whole = sum(1 for _ in opened.shots())
        assert whole == sum(end <= length for end in ends)
        assert bool(opened.fault) == (length not in {begin, *ends})
        assert not opened.fault or "was cut off" in opened.fault


def test_a_damaged_byte_costs_one_frame_or_the_end(section, tmp_path):
    data = section.read_bytes()
    begin = next(iter(Section(section).shots())).offset
    damaged = tmp_path / section.name
    rng = np.random.default_rng(0)
    for place in rng.integers(begin, len(data), 200).tolist():
        damaged.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        opened = Section(damaged)
        shots = list(opened.shots())
        assert len(shots) < 3
        assert opened.fault


def test_a_file_that_is_no_recording_is_refused(tmp_path):
    other = tmp_path / f"camera-00000001-20260101T000000Z{container.SUFFIX}"
    other.write_bytes(b"hello, this is a text")
    with pytest.raises(RecordingError, match="is no recording of ssd-edge run --record"):
        open_recording(tmp_path)
    other.write_bytes(b"")
    with pytest.raises(RecordingError, match="cut off in its head"):
        open_recording(tmp_path)


def test_a_recording_of_another_version_is_refused(section, tmp_path):
    other = tmp_path / section.name
    other.write_bytes(MAGIC + packed_record(msgspec.structs.replace(Section(section).head, version=99)))
    with pytest.raises(RecordingError, match="recording of version 99, and this ssd-edge reads version 1"):
        open_recording(tmp_path)


def test_of_several_sections_an_unusable_one_is_told_and_the_others_are_used(section, tmp_path):
    (tmp_path / section.name).write_bytes(section.read_bytes())
    (tmp_path / f"camera-00000002-20260101T000000Z{container.SUFFIX}").write_bytes(MAGIC)
    recording = open_recording(tmp_path)
    assert sum(1 for _ in recording.runs[0].shots()) == 3
    assert "cut off in its head" in recording.faults()[0]


def test_a_picture_that_is_not_what_it_says_is_refused(section):
    shot = next(iter(Section(section).shots())).shot
    for changes in (
        {"size": (2000, 3)},
        {"pixel_format": "NV12"},
        {"form": "exec"},
        {"data": [b"no"]},
        {"size": (0, 0)},
    ):
        with pytest.raises(RecordingError, match="cannot be decoded"):
            decoded(msgspec.structs.replace(shot.picture, **changes))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(FORMATS)),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
    st.sampled_from([Colour(), Colour("bt709", True)]),
)
def test_pixels_of_every_format_and_size_come_back(pixel_format, height, width, seed, colour):
    layout = packed(pixel_format, (height, width), colour)
    pixels = RawFrame(np.random.default_rng(seed).integers(0, 256, layout.nbytes + 5, np.uint8), layout)
    again = decoded(lossless(pixels))
    if pixel_format == "BGR":
        assert np.array_equal(again, pixels.memory[: layout.nbytes].reshape(height, width, 3))
    else:
        assert of_pixels(again) == of_pixels(pixels)


floats = st.integers(0, 2**32 - 1).map(lambda bits: np.array([bits], np.uint32).view(np.float32)[0])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(floats, floats, floats, floats, floats, st.integers(0, 4)), max_size=8), st.integers(0, 99))
def test_detections_come_back_to_the_last_bit(rows, cut):
    found = Detections(
        np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[4] for row in rows], np.float32),
        np.array([row[5] for row in rows], np.int64),
        cut,
    )
    again = detections_of(found_of(found), 5)
    assert again.num_cut == cut
    for name in ("boxes", "scores", "labels"):
        assert getattr(again, name).tobytes() == getattr(found, name).tobytes()
    blank = np.zeros((1, 1, 3), np.uint8)
    assert digests(blank, again, again) == digests(blank, found, found)


def test_labels_of_another_model_are_refused():
    one = Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.array([7], np.int64))
    with pytest.raises(RecordingError, match="a label is none of the model's"):
        detections_of(found_of(one), 5)

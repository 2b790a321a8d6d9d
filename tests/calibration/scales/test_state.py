"""Resuming an interrupted calibration."""

from __future__ import annotations

import errno
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssd_edge.calibration.network.policy import Policy
from ssd_edge.calibration.scales.state import StateFile
from ssd_edge.errors import CalibrationError
from tests.calibration.chain import calibrate
from tests.calibration.nets import images, saved, tiny_net


@pytest.fixture
def heads(tmp_path):
    return saved(tiny_net(), tmp_path)


@pytest.fixture
def state(tmp_path):
    """Factory for state files on the same path, as in new processes; each writes after every image."""

    def make(key="these images"):
        return StateFile(tmp_path / "int8.onnx.partial", key, seconds_between=0)

    return make


def interrupted(pictures, after):
    yield from islice(pictures, after)
    raise KeyboardInterrupt


def run_until(heads, output, state, after):
    with pytest.raises(KeyboardInterrupt):
        calibrate(heads, output, interrupted(images(9), after), state=state)
    assert state.path.exists()
    assert not output.exists()


def test_a_resumed_calibration_ends_as_if_uninterrupted(heads, tmp_path, state):
    output, whole, run = tmp_path / "int8.onnx", tmp_path / "whole.onnx", []
    calibrate(heads, whole, images(9))
    run_until(heads, output, state(), 4)
    again = state()
    result = calibrate(heads, output, images(9), state=again, progress=run.append)
    assert (again.resumed, again.stale, run) == (4, False, [5, 6, 7, 8, 9])
    assert output.read_bytes() == whole.read_bytes()
    assert result.num_images == 9
    assert not again.path.exists()


def test_a_calibration_can_be_interrupted_twice(heads, tmp_path, state):
    output = tmp_path / "int8.onnx"
    run_until(heads, output, state(), 2)
    run_until(heads, output, state(), 5)
    again = state()
    calibrate(heads, output, images(9), state=again)
    assert again.resumed == 5


@pytest.mark.parametrize("change", ["images", "network", "tensors"])
def test_a_state_file_of_other_inputs_is_not_used(heads, tmp_path, state, change):
    output = tmp_path / "int8.onnx"
    run_until(heads, output, state(), 4)
    again = state("others" if change == "images" else "these images")
    if change == "network":
        saved(tiny_net(**{"first.bias": np.ones(8, np.float32)}), tmp_path)
    policy = Policy(depthwise=change == "tensors")
    result = calibrate(heads, output, images(9), policy=policy, state=again)
    assert (again.resumed, again.stale, result.num_images) == (0, True, 9)


def test_the_method_may_change_when_resuming(heads, tmp_path, state):
    output, whole = tmp_path / "int8.onnx", tmp_path / "whole.onnx"
    calibrate(heads, whole, images(9), method="entropy")
    run_until(heads, output, state(), 4)
    calibrate(heads, output, images(9), method="entropy", state=state())
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text", None])
def test_a_truncated_state_file_counts_as_none(heads, tmp_path, state, content):
    output = tmp_path / "int8.onnx"
    run_until(heads, output, state(), 4)
    path = state().path
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    again = state()
    assert calibrate(heads, output, images(9), state=again).num_images == 9
    assert (again.resumed, again.stale) == (0, True)


def test_writes_are_a_few_seconds_apart(heads, tmp_path):
    slow = StateFile(tmp_path / "a.partial", "key", seconds_between=3600)
    with pytest.raises(KeyboardInterrupt):
        calibrate(heads, tmp_path / "int8.onnx", interrupted(images(9), 4), state=slow)
    assert not slow.path.exists()


def test_resuming_when_all_images_are_done(heads, tmp_path, state):
    """The interruption is between the last image and the end."""
    output, whole = tmp_path / "int8.onnx", tmp_path / "whole.onnx"
    calibrate(heads, whole, images(9))
    run_until(heads, output, state(), 9)
    calibrate(heads, output, images(9), state=state())
    assert output.read_bytes() == whole.read_bytes()


# A full disk.


def full(monkeypatch, suffix):
    """Make writing a file of that name fail half-way with ENOSPC, as on a full disk."""
    write, opened = Path.write_bytes, Path.open

    def half(path, content):
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            self.file.write(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr(Path, "write_bytes", lambda p, c: half(p, c) if suffix in p.name else write(p, c))
    monkeypatch.setattr(
        Path,
        "open",
        lambda p, *a, **k: Full(opened(p, *a, **k)) if suffix in p.name and "w" in str(a) else opened(p, *a, **k),
    )


def test_a_disk_full_at_the_end_leaves_the_old_output_and_the_state(heads, tmp_path, state, monkeypatch):
    """Once there is space again, calibration goes on."""
    output = tmp_path / "int8.onnx"
    output.write_bytes(b"the old one")
    with monkeypatch.context() as patch:
        full(patch, ".int8.onnx.")
        with pytest.raises(CalibrationError, match=r"cannot write .*int8\.onnx: No space left on device"):
            calibrate(heads, output, images(9))
    assert output.read_bytes() == b"the old one"
    assert {path.name for path in tmp_path.iterdir()} == {"heads.onnx", "int8.onnx"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # NumPy 1 leaves its archive open
def test_a_disk_full_midway_is_reported(heads, tmp_path, state, monkeypatch):
    output = tmp_path / "int8.onnx"
    output.write_bytes(b"the old one")
    full(monkeypatch, ".partial")
    with pytest.raises(CalibrationError, match=r"cannot write .*\.partial: No space left on device"):
        calibrate(heads, output, images(9), state=state())
    assert output.read_bytes() == b"the old one"
    assert {path.name for path in tmp_path.iterdir()} == {"heads.onnx", "int8.onnx"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # NumPy 1 leaves its archive open
def test_a_state_saved_before_the_disk_was_full_is_used_afterwards(heads, tmp_path, state, monkeypatch):
    output = tmp_path / "int8.onnx"
    run_until(heads, output, state(), 4)
    with monkeypatch.context() as patch:
        full(patch, ".int8.onnx.")
        with pytest.raises(CalibrationError, match="No space left"):
            calibrate(heads, output, images(9), state=state())
    again = state()
    calibrate(heads, output, images(9), state=again)
    assert again.resumed >= 4
    assert onnx.load(output).graph.node


def test_the_state_file_is_no_pickle(tmp_path, state):
    """Nothing in the file is executed."""
    np.savez(state().path, key=np.array({"an": "object"}, dtype=object))
    assert state().begin(b"network", ["x"]).num_images == 0


@pytest.mark.slow
def test_a_state_file_with_any_flipped_byte_counts_as_none_or_is_the_same(state):
    """zipfile, zlib and numpy raise errors of a dozen kinds."""
    network, tensors = tiny_net().SerializeToString(), ["image"]
    one = state()
    seen = one.begin(network, tensors)
    seen.histograms["image"].add(images(1)[0])
    seen.image_hashes.append("0" * 64)
    one.write(seen)
    whole, right = one.path.read_bytes(), one.begin(network, tensors)
    assert right.num_images == 1
    fresh = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        one.path.write_bytes(damaged)
        again = one.begin(network, tensors)
        if again.num_images == 0:
            fresh += 1
            continue
        assert np.array_equal(again.histograms["image"].counts, right.histograms["image"].counts)
        assert again.image_hashes == right.image_hashes
    assert fresh > len(whole) / 2

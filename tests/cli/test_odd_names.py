"""Names of files and classes that are no plain text: not UTF-8, or with what rich takes for markup."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd_edge.cli.common import cell, printable
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.stream.video_file import VideoSource
from tests.helpers import small_spec
from tests.models_for_tests import write_tiny

LOOP = ("--no-window", "--every-frame", "--save-json", "-")


@pytest.fixture
def odd(tmp_path):
    """A folder whose name is not UTF-8, and a function that gives such a name in it."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/folder\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    return lambda suffix: folder / os.fsdecode(b"name\xfe" + suffix.encode())


@pytest.mark.slow
def test_every_step_takes_names_that_are_not_utf8(cli, odd, heads_onnx, pictures, tmp_path):
    shutil.copy(heads_onnx, odd(".onnx"))
    odd("photos").mkdir()
    for picture in pictures.iterdir():
        shutil.copy(picture, odd("photos") / os.fsdecode(b"\xfe" + os.fsencode(picture.name)))
    assert cli("inspect", odd(".onnx")).code == 0
    assert cli("check-onnx", odd(".onnx")).code == 0
    for backend in ("openvino", "onnxruntime"):
        output = odd(f".{backend}.engine")
        assert cli("build-engine", odd(".onnx"), "--backend", backend, "-o", output).code == 0
        assert cli("inspect", output).code == 0
        assert cli("run", output, "-c", odd("photos"), *LOOP).code == 0
    saved = ("--save-video", odd(".mp4"), "--save-images", odd("out"))
    assert cli("run", odd(".openvino.engine"), "-c", odd("photos"), "--no-window", *saved).code == 0
    assert len(list(odd("out").iterdir())) == len(list(pictures.iterdir()))
    # The names go into the report's page too.
    wanted = ("--images", odd("photos"), "--no-eval", "--force", "--report", odd(".html"), "-o", odd(".int8.onnx"))
    assert cli("calibrate", odd(".onnx"), *wanted).code == 0
    assert odd(".html").is_file()


def test_a_video_whose_name_is_not_utf8(odd):
    writer = cv2.VideoWriter(str(odd(".avi").parent.parent / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    shutil.copy(odd(".avi").parent.parent / "a.avi", odd(".avi"))
    source = VideoSource(odd(".avi"))
    assert sum(1 for _ in iter(source.read, None)) == 3
    source.close()


NAMES = ("[bold]", "[/red]", "a[0]", "[link=x]b", "\x1b[31mred")


def test_brackets_are_no_markup(cli, tmp_path):
    """``[/red]`` alone ended ``inspect`` with rich's MarkupError, and ``[bold]`` was not shown."""
    onnx = write_tiny(tmp_path / "[/b].onnx", small_spec(labels=NAMES, operating_scores=dict.fromkeys(NAMES, 0.5)))
    done = cli("inspect", onnx)
    assert done.code == 0, done.err
    for name in (*NAMES[:-1], "�[31mred", "[/b].onnx"):
        assert name in done.out
    assert "\x1b" not in done.out


@pytest.mark.slow
def test_brackets_in_the_table_of_calibrate_and_benchmark(cli, data, tmp_path):
    labels = ("[/red]", "[bold]")
    copy = shutil.copytree(data, tmp_path / "[i]set")
    text = (copy / "data.yaml").read_text().replace("[bolt, nut]", '["[/red]", "[bold]"]')
    (copy / "data.yaml").write_text(text)
    onnx = write_tiny(tmp_path / "[/a].onnx", small_spec(labels=labels))
    done = cli("calibrate", onnx, copy, "--force", "-o", tmp_path / "[/b].onnx")
    assert done.code == 0, done.err
    assert all(label in done.out for label in labels)
    build_bundle(onnx, tmp_path / "[c].engine", "openvino")
    done = cli("benchmark", tmp_path / "[c].engine", "--frames", 10, "--warmup", 1, "--rounds", 1)
    assert done.code == 0, done.err
    assert "[c].engine" in done.out
    done = cli("eval", onnx, copy)
    assert all(label in done.out for label in labels)


def test_cells_are_plain():
    assert cell("[red]x\x07").plain == "[red]x�"
    assert cell(Path("[a]")).spans == []
    assert printable("가 é\n") == "가 é�"

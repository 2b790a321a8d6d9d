"""Fixtures that run the program in this process, and the data that it works on."""

from __future__ import annotations

import shutil
import sys
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from ssd_edge import speed
from ssd_edge.cli.main import main


class Done(NamedTuple):
    """Result of a command: exit code, and what it printed."""

    code: int
    out: str
    err: str

    def sentence(self, *words):
        """The sentence of an error; checks exit code 2, an empty stdout and no traceback."""
        assert self.code == 2, self
        assert self.out == ""
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("ssd-edge: ")]
        assert self.err.endswith(f"{line}\n"), self.err
        for word in words:
            assert str(word) in line
        return line


@pytest.fixture
def cli(monkeypatch, capfd):
    """``cli("export", path)`` runs ``ssd-edge export PATH`` and returns its result."""
    # Speed measurements are cut short: the tests do not check their figures.
    monkeypatch.setattr(speed, "SECONDS", 0.005)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ssd-edge", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code
        return Done(0 if code is None else code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A valid YOLO data set: 12 noisy pictures with a bright bolt or nut in each; tests must not write to it."""
    root = tmp_path_factory.mktemp("data") / "set"
    rng = np.random.default_rng(0)
    for k in range(12):
        part = "val" if k % 4 == 0 else "train"
        image = rng.integers(0, 60, (64, 96, 3), np.uint8)
        x, y, label = int(rng.integers(0, 60)), int(rng.integers(0, 40)), k % 2
        image[y : y + 20, x : x + 30, label] = 250
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "images" / part / f"{k}.png"), image)
        text = f"{label} {(x + 15) / 96} {(y + 10) / 64} {30 / 96} {20 / 64}\n"
        (root / "labels" / part / f"{k}.txt").write_text(text)
    (root / "data.yaml").write_text("names: [bolt, nut]\ntrain: images/train\nval: images/val\n")
    return root


@pytest.fixture
def spoilt(data, tmp_path):
    """A copy of the data set that a test may damage."""
    return shutil.copytree(data, tmp_path / "spoilt")


@pytest.fixture(scope="session")
def pictures(data):
    """A plain folder of pictures."""
    return data / "images" / "train"

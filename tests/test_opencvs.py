"""The tests with each OpenCV: what is installed beside it."""

from __future__ import annotations

import sys

from tests import opencvs
from tests.helpers import ROOT


def test_the_other_packages_of_the_base_install(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = [\n  "av>=14.2",\n  "numpy>=1.26",\n  "opencv-python>=4.10",\n]\n')
    assert opencvs.others(project) == ["av>=14.2"]
    assert "rich>=13.8" in opencvs.others()


def test_the_tests_exist():
    assert all((ROOT / path).exists() for path in opencvs.TESTS)


def test_packages_that_cannot_be_installed_are_a_failure(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(opencvs, "ROOT", tmp_path)
    monkeypatch.setattr(opencvs, "find_uv", lambda: "false")
    monkeypatch.setattr(opencvs, "interpreter", lambda version: sys.executable)
    monkeypatch.setattr(sys, "argv", ["opencvs"])
    assert opencvs.main() == 1
    assert "opencv-python-headless==4.5.4.60, numpy==1.26.4 could not be installed" in capsys.readouterr().out


def test_the_python_that_gstreamer_has(tmp_path):
    """Only the system's own can import python3-gi; OpenCV 4.5.4 has no wheels for newer ones than the oldest."""
    for name in ("_gi.cpython-312-aarch64-linux-gnu.so", "_gi_cairo.cpython-312-aarch64-linux-gnu.so", "__init__.py"):
        (tmp_path / name).touch()
    assert opencvs.of_gstreamer(tmp_path) == ["3.12"]
    assert opencvs.pythons("newest", tmp_path) == ["3.12", opencvs.OLDEST]
    assert opencvs.pythons("4.5.4", tmp_path) == [opencvs.OLDEST]
    (tmp_path / "_gi.cpython-39-x86_64-linux-gnu.so").touch()  # a Python that is no longer supported
    assert opencvs.of_gstreamer(tmp_path) == ["3.12"]
    assert opencvs.pythons("newest", tmp_path / "none") == [opencvs.OLDEST]

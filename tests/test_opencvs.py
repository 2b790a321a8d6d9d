"""The tests with each OpenCV: what is installed beside it."""

from __future__ import annotations

from tests import opencvs
from tests.helpers import ROOT


def test_the_other_packages_of_the_base_install(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = [\n  "av>=14.2",\n  "numpy>=1.26",\n  "opencv-python>=4.10",\n]\n')
    assert opencvs.others(project) == ["av>=14.2"]
    assert "rich>=13.8" in opencvs.others()


def test_the_tests_exist():
    assert all((ROOT / path).exists() for path in opencvs.TESTS)

"""Imports are lazy: help is fast, and engines run without the packages that made them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.helpers import ROOT

HEAVY = ("av", "cv2", "faster_coco_eval", "numpy", "onnx", "onnxruntime", "openvino", "pytorch_lightning", "torch")

WITHOUT = """
import sys

FORBIDDEN = {"torch", "onnx", "onnxscript", "pytorch_lightning", "tensorboard"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from ssd_edge.cli.main import main
try:
    main()
finally:
    assert FORBIDDEN.isdisjoint(sys.modules), FORBIDDEN & set(sys.modules)
"""


def python(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return done.returncode, done.stdout, done.stderr


def base_install(*arguments):
    """Run the program as if the extras were not installed."""
    return python(WITHOUT, *arguments)


@pytest.mark.parametrize("module", ["ssd_edge", "ssd_edge.cli.main", "ssd_edge.spec", "ssd_edge.errors"])
def test_a_light_module_imports_nothing_heavy(module):
    code, out, err = python(f"import sys, {module}; print(*set({HEAVY}) & set(sys.modules))")
    assert (code, out, err) == (0, "\n", "")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two pictures with labels in YOLO's layout."""
    root = tmp_path_factory.mktemp("pictures")
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for k in range(2):
        cv2.imwrite(str(root / "images" / f"{k}.png"), np.full((48, 64, 3), 90 * k, np.uint8))
        (root / "labels" / f"{k}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [bolt, nut]\n")
    return root


@pytest.mark.slow
def test_run_needs_neither_torch_nor_onnx(bundle, pictures, tmp_path):
    output = tmp_path / "found.jsonl"
    code, out, err = base_install(
        "run", bundle, "--camera", pictures / "images", "--every-frame", "--no-window", "--save-json", output, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["processed"] == 2
    assert len(output.read_text().splitlines()) == 2


@pytest.mark.slow
def test_eval_needs_neither_torch_nor_onnx(bundle, pictures):
    code, out, err = base_install("eval", bundle, pictures, "--json")
    assert code == 0, err
    assert json.loads(out)["num_images"] == 2


@pytest.mark.slow
def test_benchmark_needs_neither_torch_nor_onnx(bundle, pictures):
    code, out, err = base_install(
        "benchmark", bundle, "--camera", pictures / "images", "--frames", 10, "--warmup", 1, "--rounds", 1, "--json"
    )
    assert code == 0, err
    assert len(json.loads(out)["engines"]) == 1


@pytest.mark.slow
def test_inspect_and_build_engine_need_neither_torch_nor_onnx(heads_onnx, tmp_path):
    code, _, err = base_install("build-engine", heads_onnx, "--output", tmp_path / "a.engine")
    assert code == 0, err
    code, out, err = base_install("inspect", tmp_path / "a.engine", "--json")
    assert code == 0, err
    assert json.loads(out)["spec"]["labels"] == ["bolt", "nut"]


def test_a_spec_needs_no_torch():
    program = """
from ssd_edge.models.catalogue import MODELS
from ssd_edge.models.registry import architecture, make_spec
print([make_spec(name, ["bolt"], table).num_default_boxes for name in MODELS for table in architecture(name).levels])
"""
    code, out, err = python(WITHOUT.partition("from ssd_edge")[0] + program)
    assert (code, json.loads(out)) == (0, [1917, 3234, 8732, 8732, 8732, 24564, 24564, 24564]), err


@pytest.mark.slow
def test_the_selftests_own_tests_need_no_torch():
    """The selftest runs on devices with the base install only, so its tests may import nothing else."""
    program = """
FORBIDDEN.discard("onnx")
import pytest
from ssd_edge.engines.selftest.tools import _ON_A_CPU
tests = (f"tests/engines/{name}" for name in _ON_A_CPU)
sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *tests]))
"""
    code, out, err = python(WITHOUT.partition("from ssd_edge")[0] + program)
    assert code == 0, out + err
    assert "test_kernels.py" in out


@pytest.mark.slow
def test_onnx_heads_run_without_onnx(heads_onnx, pictures):
    code, out, err = base_install("eval", heads_onnx, pictures, "--json")
    assert code == 0, err
    assert json.loads(out)["backend"] == "exact"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("train", "data"), "train"),
        (("export", "model.pt"), "train"),
        (("calibrate", "heads.onnx", "data"), "calibrate"),
        (("import", "model.pth", "--from", "torchvision"), "train"),
        (("import-onnx", "heads.onnx", "spec.json"), "calibrate"),
        (("check-onnx", "heads.onnx"), "calibrate"),
        (("demo",), "train,calibrate"),
    ],
)
def test_a_command_names_the_extra_it_needs(arguments, extra):
    code, out, err = base_install(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("ssd-edge: ")
    assert f"pip install 'ssd-edge[{extra}]'" in err
    assert len(err.splitlines()) == 1


# Layers and links of the project.


@pytest.mark.parametrize("folder", ["calibration", "engines", "cli"])
def test_the_links_are_there(folder):
    link = ROOT / "ssd_edge" / folder
    assert link.is_symlink()
    assert link.readlink().as_posix() == f"../{folder}"
    assert (link / "__init__.py").is_file()


@pytest.mark.slow
def test_no_import_uses_a_bare_folder_name():
    """``import engines`` would take the first such folder on the path; ruff's TID251 also forbids it."""
    for folder in ("ssd_edge", "calibration", "engines", "cli", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module]
                assert not {name.partition(".")[0] for name in names} & {"calibration", "engines", "cli"}, path


def test_the_layers_are_kept():
    pytest.importorskip("importlinter")
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    code, out, err = python(program)
    assert code == 0, out + err

"""``build-engine`` and ``inspect`` for TensorRT, with neither TensorRT nor a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssd_edge.cli.inspect import _graph
from ssd_edge.engines import backends
from ssd_edge.engines.base import BuildOptions, Plan
from ssd_edge.engines.bundle import build as bundle
from ssd_edge.engines.tensorrt import backend
from ssd_edge.errors import BackendError
from tests.helpers import plan_entry, small_spec

ANEW = "measured anew: the bundle's cache is of another TensorRT or GPU"


@pytest.fixture
def asked(monkeypatch):
    """The options that each build gets; a fake build writes an unusable plan."""
    options = []

    def build(onnx, spec, folder, wanted, progress):
        options.append(wanted)
        (folder / backend.PLAN).write_bytes(b"plan")
        facts = {"decode": "library", "timing": ANEW, "convolutions": "8 FP16", "max_batch": "1"}
        return Plan((backend.PLAN,), "10.16.1.11", "FP16", facts)

    monkeypatch.setattr(backend, "build", build)
    monkeypatch.setattr(backend, "incompatibility", lambda plan: "is of no use")
    return options


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("", BuildOptions()),
        ("--precision fp32 --decode python", BuildOptions("FP32", decode="python")),
        ("--workspace 64 --optimisation-level 0", BuildOptions(workspace_mib=64, optimisation_level=0)),
        ("--max-batch 4", BuildOptions(max_batch=4)),
        ("--version-compatible", BuildOptions(version_compatible=True)),
        ("--hardware-compatible ampere-plus", BuildOptions(hardware_compatible="ampere-plus")),
        ("--dla 0", BuildOptions(dla_core=0)),
        ("--dla 1 --strict", BuildOptions(dla_core=1, strict=True)),
    ],
)
def test_each_option_reaches_the_backend(arguments, options, asked, cli, heads_onnx, tmp_path):
    output = tmp_path / "a.engine"
    done = cli("build-engine", heads_onnx, "-o", output, "--backend", "tensorrt", *arguments.split())
    assert done.code == 0, done.err
    assert asked == [options]


def test_an_ignored_timing_cache_is_reported(asked, cli, heads_onnx, tmp_path):
    done = cli("build-engine", heads_onnx, "-o", tmp_path / "a.engine", "--backend", "tensorrt")
    assert f"kernels were {ANEW}" in " ".join(done.err.split())


def test_inspect_shows_a_plan_and_how_to_measure_it_without_ssd_edge(asked, cli, heads_onnx, tmp_path):
    output = tmp_path / "a.engine"
    bundle.build_bundle(heads_onnx, output, "tensorrt")
    done = cli("inspect", output)
    text = "".join(done.out.split())
    for fact in ("decode: library", "convolutions: 8 FP16", "here: is of no use"):
        assert fact.replace(" ", "") in text
    line = backend.trtexec_line(output, bundle.read_manifest(output).plans[0])
    assert f"--loadEngine={output / 'model.plan'} --staticPlugins=libssd_edge_plugin.so" in line
    assert line.replace(" ", "") in text


def test_without_tensorrt_or_a_gpu_it_says_what_to_do(cli, heads_onnx, tmp_path, monkeypatch):
    arguments = ("build-engine", heads_onnx, "-o", tmp_path / "a.engine", "--backend", "tensorrt")
    monkeypatch.setattr(backend, "installed_version", lambda: None)
    cli(*arguments).sentence("TensorRT, which is not installed: pip install 'ssd-edge[tensorrt]'")
    monkeypatch.setattr(backend, "installed_version", lambda: "10.16.1.11")

    def no_driver():
        raise BackendError("there is no NVIDIA driver")

    monkeypatch.setattr(backend, "open_driver", no_driver)
    cli(*arguments).sentence("there is no NVIDIA driver", "build there; --backend tensorrt-rtx builds anywhere")
    assert not list(Path(tmp_path).iterdir())


def test_an_option_of_another_backend_is_refused(cli, heads_onnx, tmp_path):
    cli("build-engine", heads_onnx, "-o", tmp_path / "a.engine", "--dla", "0").sentence(
        "openvino takes no --dla: tensorrt does"
    )


class Opened:
    """An engine that only says whether its work is launched as graphs."""

    graph = "no, for 2 of 4 pieces of work: it waits"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.mark.parametrize(
    ("reason", "error", "said"),
    [
        (None, None, Opened.graph),
        (None, BackendError("the GPU is out of memory"), "not known: the GPU is out of memory"),
        ("needs another GPU", None, "not known: only its GPU can tell"),
    ],
)
def test_inspect_says_whether_a_plan_becomes_a_graph(reason, error, said, tmp_path, monkeypatch):
    """A plan that can run here is opened; another is not."""

    class Backend:
        @staticmethod
        def load(folder, plan, spec):
            assert reason is None
            if error:
                raise error
            return Opened()

    monkeypatch.setattr(backends, "get_backend", lambda name: Backend)
    assert _graph(tmp_path, plan_entry(backend="tensorrt"), small_spec(), reason) == said

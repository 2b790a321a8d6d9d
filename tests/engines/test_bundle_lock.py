"""Several processes at one bundle: writers wait for each other, and what runs or loads meanwhile is whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from ssd_edge import files
from ssd_edge.engines import onnxruntime as ort_backend
from ssd_edge.engines import openvino as openvino_backend
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.bundle.lock import locked, read_steadily, remove_leftovers
from ssd_edge.engines.bundle.manifest import change_spec, read_manifest, write_manifest
from ssd_edge.errors import BundleIntegrityError
from tests.helpers import small_spec
from tests.models_for_tests import write_tiny

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "a.engine")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Paused:
    """A backend's build that waits until it is told to go on; the second build tells it by its note."""

    def __init__(self, monkeypatch):
        self.began, self.go_on = threading.Event(), threading.Event()
        usual = ort_backend.build

        def build(*arguments):
            self.began.set()
            assert self.go_on.wait(30)
            return usual(*arguments)

        monkeypatch.setattr(ort_backend, "build", build)


@pytest.mark.parametrize("existing", [True, False])
def test_two_builds_that_add_lose_no_plan(heads_onnx, copy, tmp_path, monkeypatch, existing):
    if not existing:
        shutil.rmtree(copy)
    paused, notes = Paused(monkeypatch), []

    def note(sentence):
        notes.append(sentence)
        paused.go_on.set()

    first = threading.Thread(target=build_bundle, args=(heads_onnx, copy, "onnxruntime"), kwargs={"add": True})
    first.start()
    assert paused.began.wait(30)
    build_bundle(heads_onnx, copy, "openvino", add=True, note=note)
    first.join()
    assert [plan.backend for plan in read_manifest(copy).plans] == ["openvino", "onnxruntime"]
    assert notes == [f"waiting for process {os.getpid()}, which is writing {copy}"]
    assert names(tmp_path) == ["a.engine"]


MANY = """
import sys
from pathlib import Path
from ssd_edge.engines.bundle.build import build_bundle

build_bundle(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], add=True)
"""


@pytest.mark.slow
def test_many_builds_at_once(heads_onnx, tmp_path):
    output = tmp_path / "a.engine"
    wanted = ["openvino", "onnxruntime"] * 3
    builds = [
        subprocess.Popen([sys.executable, "-c", MANY, heads_onnx, output, one], stderr=subprocess.PIPE)
        for one in wanted
    ]
    assert [build.communicate()[1] for build in builds] == [b""] * 6
    assert {plan.backend for plan in read_manifest(output).plans} == set(wanted)
    assert names(tmp_path) == ["a.engine"]


def test_a_spec_is_changed_under_the_lock(copy):
    """A change that begins while another writes the bundle is made to what the other has written."""
    change = threading.Thread(
        target=change_spec, args=(copy, lambda spec: spec.with_provenance(seen=spec.provenance.get("first", "no")))
    )
    with locked(copy):
        change.start()
        manifest = read_manifest(copy)
        write_manifest(replace(manifest, spec=manifest.spec.with_provenance(first="yes")), copy)
    change.join()
    assert read_manifest(copy).spec.provenance["seen"] == "yes"


def test_the_lock_is_free_where_its_holder_was_killed(copy, tmp_path):
    holder = "import sys\nfrom ssd_edge.engines.bundle.lock import locked\n"
    holder += "from pathlib import Path\nimport os\nwith locked(Path(sys.argv[1])): os._exit(9)\n"
    subprocess.run([sys.executable, "-c", holder, copy], check=False)
    assert names(tmp_path) == [".a.engine.lock", "a.engine"]
    notes = []
    with locked(copy, notes.append):
        assert (tmp_path / ".a.engine.lock").read_text() == str(os.getpid())
    assert notes == []
    assert names(tmp_path) == ["a.engine"]


def test_what_killed_builds_left_is_removed_and_nothing_else(heads_onnx, copy, tmp_path):
    for name in (".a.engine.abcdef_1", ".b.engine.abcdef_1", ".a.engine.keep", ".a.engine.b.engine.abcdef_1"):
        (tmp_path / name / "bundle").mkdir(parents=True)
    (tmp_path / ".a.engine.afile_12").write_text("no folder")
    kept = sorted({*names(tmp_path)} - {".a.engine.abcdef_1"})
    notes = []
    build_bundle(heads_onnx, copy, "onnxruntime", note=notes.append)
    assert names(tmp_path) == kept
    assert notes == ["removed .a.engine.abcdef_1, left behind by a build that was killed"]
    remove_leftovers(copy, notes.append)
    assert len(notes) == 1


@pytest.mark.parametrize("exchange", [True, False], ids=["one step", "two renames"])
@pytest.mark.parametrize("moment", ["before the plan is read", "after it"])
def test_a_load_during_a_replacement_gives_the_new_bundle(copy, tmp_path, monkeypatch, exchange, moment):
    if not exchange:
        monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    other = write_tiny(tmp_path / "other.onnx", small_spec(labels=("face", "cat")), seed=7)
    usual, closed = openvino_backend.load, []

    def replaced_meanwhile(folder, plan, spec):
        monkeypatch.setattr(openvino_backend, "load", usual)
        if moment == "after it":
            engine = usual(folder, plan, spec)
            build_bundle(other, copy, "onnxruntime")
            monkeypatch.setattr(engine, "close", lambda: closed.append(engine))
            return engine
        build_bundle(other, copy, "onnxruntime")
        return usual(folder, plan, spec)

    monkeypatch.setattr(openvino_backend, "load", replaced_meanwhile)
    with load_bundle(copy) as engine:
        assert engine.backend == "onnxruntime"
        assert engine.spec.labels == ("face", "cat")
    assert len(closed) == (moment == "after it")


def test_a_bundle_that_is_gone_for_a_moment_is_waited_for(copy, tmp_path):
    """Where two folders cannot be exchanged in one step, the name is free between two renames."""
    away = tmp_path / "away"
    copy.rename(away)
    (tmp_path / ".a.engine.lock").write_text("1")
    threading.Timer(0.05, away.rename, (copy,)).start()
    assert read_manifest(copy).spec.labels
    shutil.rmtree(copy)
    (tmp_path / ".a.engine.lock").unlink()
    with pytest.raises(BundleIntegrityError, match="is not there"):
        read_manifest(copy)


def test_a_bundle_is_read_no_more_than_twice(copy):
    reads = []

    def read():
        reads.append(1)
        (copy / f"file {len(reads)}").write_text("")
        raise BundleIntegrityError("no")

    with pytest.raises(BundleIntegrityError):
        read_steadily(copy, read)
    assert len(reads) == 2


OVERWRITTEN = """
import sys
from pathlib import Path
import numpy as np
from ssd_edge.engines.bundle.load import load_bundle

folder = Path(sys.argv[1])
with load_bundle(folder) as engine:
    images = np.ones((1, 3, *engine.spec.input_size), np.float32)
    before = [array.copy() for array in engine.submit(images)()]
    for file in folder.iterdir():
        file.write_bytes(b"")
    after = engine.submit(images)()
    assert all(np.array_equal(one, other) for one, other in zip(before, after))
print("the same")
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_running_engine_outlives_files_overwritten_in_place(heads_onnx, tmp_path, backend):
    """A plan that is mapped into memory would kill the process with SIGBUS."""
    build_bundle(heads_onnx, tmp_path / "a.engine", backend)
    done = subprocess.run(
        [sys.executable, "-c", OVERWRITTEN, tmp_path / "a.engine"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


def test_a_running_engine_outlives_a_rebuild(heads_onnx, copy, tmp_path):
    with load_bundle(copy) as engine:
        images = np.ones((1, 3, *engine.spec.input_size), np.float32)
        before = [array.copy() for array in engine.submit(images)()]
        build_bundle(write_tiny(tmp_path / "other.onnx", small_spec(), seed=7), copy, "openvino")
        assert all(np.array_equal(one, other) for one, other in zip(before, engine.submit(images)(), strict=True))

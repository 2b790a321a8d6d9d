"""A swap in a running service, with real candidates' processes, and its socket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
import threading

import pytest

from ssd_edge.errors import ServiceError
from ssd_edge.service.control import Control, ask, files_in, socket_of
from ssd_edge.service.reading import read_service
from ssd_edge.service.running import Service
from ssd_edge.swap.remote import PROGRAM
from tests.helpers import ROOT
from tests.service.running import Kept, Running, until

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")

SECONDS = 120
CONTRACT = {
    "share": 1.0,
    "frames": 20,
    "seconds": "1ms",
    "detections": 1,
    "slower": 1000,  # no test depends on the machine's speed
    "probation_frames": 60,
    "probation_seconds": "1ms",
}


@pytest.fixture
def swapping(tmp_path, proven_bundle):
    """``swapping(script)`` runs a service in this thread and a script in another; returns what the camera gave."""
    path = tmp_path / "s.yaml"

    def run(script, model=proven_bundle, **settings):
        camera = {"source": "synthetic:1", "size": "96x72", "fps": 40, "buffer": "drop-oldest:1000", "min_score": 0.35}
        described = {"model": str(model), "swap": CONTRACT, "cameras": {"a": camera}, **settings}
        path.write_text(json.dumps({**described, "outputs": {"json": "{camera}.jsonl"}}))
        service, failed = Service(read_service(path), log := Kept()), []

        def act():
            try:
                script(service, path, log)
            except BaseException as error:
                failed.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=act)
        report = service.run(on_report=lambda _: None if thread.ident else thread.start(), duration=SECONDS)
        thread.join()
        if failed:
            raise failed[0]
        lines = [line for file in sorted(tmp_path.glob("a*.jsonl")) for line in file.read_text().splitlines()]
        indices = [json.loads(line)["index"] for line in lines]
        assert indices == list(range(len(indices)))
        assert set(report.cameras["a"].ledger) <= {"left"}
        return log

    return run


@pytest.fixture(scope="session")
def proven_bundle(tmp_path_factory):
    """A tiny model with a proof, as a bundle; tests must not change it."""
    return built(tmp_path_factory.mktemp("proven"), "tiny")


def built(folder, name, **changes):
    from ssd_edge.data.synthetic import Conveyor
    from ssd_edge.engines.bundle.build import build_bundle
    from ssd_edge.engines.proof.prove import keep_proof
    from ssd_edge.graph.heads import write_heads
    from tests.helpers import small_spec
    from tests.models_for_tests import tiny_model

    onnx, bundle, spec = folder / f"{name}.onnx", folder / f"{name}.engine", small_spec(**changes)
    write_heads(tiny_model(spec), spec, onnx)
    conveyor = Conveyor(1, (96, 72))
    keep_proof(onnx, [conveyor.frame(20 * k)[0] for k in range(8)])
    build_bundle(onnx, bundle, "openvino")
    return bundle


def planted(kind, late=40):
    return (sys.executable, str(ROOT / "benchmarks" / "swap_candidate.py"), kind, str(late))


def events(path):
    return [json.loads(line)["event"] for line in path.with_name("s.yaml.swaps.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_good_one_takes_over_and_bad_ones_do_not(swapping, tmp_path, proven_bundle):
    new = shutil.copytree(proven_bundle, tmp_path / "new.engine")
    others = built(tmp_path, "others", labels=("nut", "bolt"))
    damaged = shutil.copytree(proven_bundle, tmp_path / "damaged.engine")
    (damaged / "heads.bin").write_bytes(b"")

    def script(service, path, log):
        def tried(model, program=PROGRAM):
            service.candidates_program = program
            *_, last = ask(path, {"swap": str(model)})
            return last["event"], last["text"]

        event, why = tried(others)
        assert event == "refused"
        assert "its classes are nut, bolt, and those that run are bolt, nut" in why
        event, why = tried(damaged)
        assert event == "refused"
        assert "heads.bin" in why
        event, why = tried(new, planted("crashes at its first frame"))
        assert event == "refused"
        assert "died of SIGSEGV" in why
        event, why = tried(new, planted("shifted boxes"))
        assert event == "refused"
        assert "without a match" in why
        event, why = tried(new, planted("crashes at frame 500"))
        assert event == "went back"
        assert "died of SIGSEGV" in why
        assert service.candidates_program
        event, why = tried(new)
        assert event == "kept"
        (status,) = ask(path, {"status": True})
        assert status == {"model": str(new), "tried": None, "last": {"event": "kept", "text": why}}
        os.kill(os.getpid(), signal.SIGHUP)  # the file still names the first one, which has not changed
        until(lambda: log.has("nothing changed"))
        assert next(ask(path, {"status": True}))["model"] == str(new)

    log = swapping(script)
    assert "took over" in events(tmp_path / "s.yaml")
    assert not log.has("a mistake in ssd-edge")
    assert not socket_of(tmp_path / "s.yaml").exists()


@pytest.mark.slow
def test_the_newest_of_a_folder_starts_and_a_newer_one_is_tried(swapping, tmp_path, proven_bundle):
    folder = tmp_path / "models"
    for name in ("v9.engine", "v10.engine"):
        shutil.copytree(proven_bundle, folder / name)

    def script(service, path, log):
        assert next(ask(path, {"status": True}))["model"] == str(folder / "v10.engine")
        shutil.copytree(proven_bundle, folder / "v11.engine")
        until(lambda: next(ask(path, {"status": True}))["model"] == str(folder / "v11.engine"))

    swapping(script, folder, watch_models=True)


@pytest.mark.slow
def test_the_live_page_goes_on_over_an_exchange(swapping, tmp_path, proven_bundle):
    """Zones can be drawn while the engine is tried, while it is on probation, and after it was kept."""
    pytest.importorskip("uvicorn", reason="the extra page is not installed")
    new = shutil.copytree(proven_bundle, tmp_path / "new.engine")
    happened = []

    def script(service, path, log):
        running = Running(None, None, log)
        for one in ask(path, {"swap": str(new)}):
            happened.append(one["event"])
            zone = {"name": f"{len(happened)}", "points": [[0, 0], [1, 0], [1, 1]]}
            status, _ = running.page("PUT", "/api/cameras/a/places", {"zones": [zone], "lines": []})
            assert status == 200, one
        assert running.page("PUT", "/api/cameras/a/score", {"score": 0.1})[0] == 200
        seen = running.number("a")
        until(lambda: running.number("a") > seen + 10)
        assert running.condition("a") == "live"
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: log.has("the file was read again: nothing changed"))

    log = swapping(script, page=0)
    assert happened[-2:] == ["took over", "kept"]
    (camera,) = read_service(tmp_path / "s.yaml").cameras
    assert [zone["name"] for zone in camera.watch["zones"]] == [f"{len(happened)}"]
    assert not log.has("a mistake in ssd-edge")


def test_an_end_of_the_service_is_no_verdict(swapping, tmp_path, proven_bundle):
    def script(service, path, log):
        answers = ask(path, {"swap": str(proven_bundle)})
        assert next(answers)["event"] == "tried"
        with pytest.raises(ServiceError, match="is being tried: wait for its end"):
            list(ask(path, {"swap": str(proven_bundle)}))

    swapping(script, swap={**CONTRACT, "frames": 10**6})
    assert events(tmp_path / "s.yaml")[-1] == "ended"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"swap": "relative.engine"}, "with an absolute path"),
        ({"swap": "/tmp/a\0b"}, "with an absolute path"),
        ({"swap": ["/a"]}, "with an absolute path"),
        ({"shutdown": True}, "a request is"),
        ({"swap": "/no/such.engine"}, "there is no engine /no/such.engine"),
    ],
)
def test_requests_that_cannot_be(tmp_path, request_, why):
    from ssd_edge.service.swaps import Swaps
    from ssd_edge.swap.contract import Contract
    from ssd_edge.swap.journal import Journal

    swaps = Swaps(None, Contract, Journal(tmp_path / "j"), Kept())
    with Control(tmp_path / "s.yaml", swaps.answers), pytest.raises(ServiceError, match=why):
        list(ask(tmp_path / "s.yaml", request_))


def test_the_socket_is_the_users_own_and_one_service_has_it(tmp_path):
    file = tmp_path / ("deep" * 30) / "s.yaml"  # longer than a socket's name may be
    file.parent.mkdir()
    with pytest.raises(ServiceError, match=r"no service of .* answers"):
        list(ask(file, {}))
    with Control(file, lambda request: iter([{"told": dict(request)}])):
        assert stat.S_IMODE(socket_of(file).stat().st_mode) == 0o600
        assert files_in(file.parent) == [file]
        assert list(ask(file, {"a": 1})) == [{"told": {"a": 1}}]
        with pytest.raises(ServiceError, match="runs already"):
            Control(file, lambda request: iter([]))
    assert not socket_of(file).exists()

"""The live page of a service: cameras that come and go, zones that go into its file, and who may see it."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
from contextlib import closing

import pytest

pytest.importorskip("starlette", reason="the extra page is not installed")
pytest.importorskip("uvicorn", reason="the extra page is not installed")

from ssd_edge.errors import PageError, SourceError
from ssd_edge.service.reading import read_service
from tests.service.running import SECONDS, Unplugged, indices, synthetic, until
from tests.web import chromium

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX"),
    pytest.mark.slow,
]

EVERYWHERE = {"name": "all of it", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}
TOKEN = "a-token-of-16-or-more"

MINE = """\
page: 0   # any port
cameras:
  # at the door
  a:
    source: synthetic:1
    size: 96x72
    fps: 20
    min_score: 0.01   # of a model that has learnt nothing
    buffer: drop-oldest:1000
    watch:
      # the press
      zones:
        - name: press   # left
          points: [[0, 0], [0.2, 0], [0.2, 0.2]]
  b: {source: 'synthetic:2', size: 96x72, fps: 20, buffer: 'drop-oldest:1000'}   # no zones yet
outputs:
  json: "{camera}.jsonl"   # of both
"""


def places(running, name):
    camera = running.shown()[name]
    return {key: [{k: v for k, v in one.items() if k != "counts"} for one in camera[key]] for key in ("zones", "lines")}


def counted(folder, name):
    lines = [line for path in sorted(folder.glob(f"{name}-*.jsonl")) for line in path.read_text().splitlines()]
    return json.loads(lines[-1]).get("counts", {})


def test_a_zone_drawn_on_the_page_stands_in_the_file_and_counts_and_no_frame_is_lost(service, tmp_path):
    def script(running):
        until(lambda: running.processed("a") >= 5 and running.processed("b") >= 5)
        before = places(running, "a")
        assert [zone["name"] for zone in before["zones"]] == ["press"]
        status, state = running.page(
            "PUT", "/api/cameras/a/places", {**before, "zones": [*before["zones"], EVERYWHERE]}
        )
        assert (status, state["file"]) == (200, "service.yaml")
        assert running.page("PUT", "/api/cameras/b/places", {"zones": [EVERYWHERE], "lines": []})[0] == 200
        until(lambda: counted(tmp_path, "a").get("all of it", {}).get("entered"))
        running.reload()
        assert running.log.lines[-1] == ("config", "the file was read again: nothing changed")
        seen = running.processed("a"), running.processed("b")
        until(lambda: running.processed("a") >= seen[0] + 5 and running.processed("b") >= seen[1] + 5)

    report, _ = service(MINE, script)
    text = service.path.read_text()
    assert re.findall("#.*", text) == re.findall("#.*", MINE)
    a, b = read_service(service.path).cameras
    assert [zone["name"] for zone in a.watch["zones"]] == ["press", "all of it"]
    assert [zone["name"] for zone in b.watch["zones"]] == ["all of it"]
    for name in ("a", "b"):
        seen = indices(tmp_path, name)
        assert seen == list(range(len(seen)))
        assert set(report.cameras[name].ledger) <= {"left"}


def test_a_watch_file_takes_zones_unless_cameras_share_it(service, tmp_path):
    own, shared = tmp_path / "own.yaml", tmp_path / "shared.yaml"
    own.write_text("# of a\nmargin: 0.02\n")
    shared.write_text("margin: 0.03\n")

    def script(running):
        until(lambda: len(running.shown()) == 4)
        assert {name: camera["file"] for name, camera in running.shown().items()} == {
            "a": "own.yaml", "b": None, "c": None, "d": None
        }  # fmt: skip
        for name in "abcd":
            assert running.page("PUT", f"/api/cameras/{name}/places", {"zones": [EVERYWHERE], "lines": []})[0] == 200
        running.reload()
        assert running.log.has("the file was read again: nothing changed")
        assert [len(camera["zones"]) for camera in running.shown().values()] == [1, 1, 1, 1]

    variable = {"zones": [{**EVERYWHERE, "name": "${PLACE}"}]}
    watches = {"a": "own.yaml", "b": "shared.yaml", "c": "shared.yaml", "d": variable}
    service.environment["PLACE"] = "the yard"
    service({name: synthetic(seed, watch=watches[name]) for seed, name in enumerate(watches)}, script, page=0)
    assert own.read_text().startswith("# of a\nmargin: 0.02\nzones:\n  - name: all of it\n")
    assert shared.read_text() == "margin: 0.03\n"
    assert "${PLACE}" in service.path.read_text()
    assert "all of it" not in service.path.read_text()


def test_what_a_person_changed_and_nobody_has_read_yet_is_not_overwritten(service):
    def script(running):
        until(lambda: running.processed("a") >= 3)
        changed = service.path.read_text().replace("[0.2, 0.2]", "[0.3, 0.3]")
        service.path.write_text(changed)
        status, answer = running.page("PUT", "/api/cameras/a/places", {"zones": [EVERYWHERE], "lines": []})
        assert (status, "service.yaml was changed by someone else" in answer["error"]) == (409, True)
        assert service.path.read_text() == changed
        running.reload()
        assert running.log.has("the file was read again: changed a")
        until(lambda: running.shown().get("a", {}).get("zones"))
        assert running.shown()["a"]["zones"][0]["points"][2] == [0.3, 0.3]
        assert running.page("PUT", "/api/cameras/a/places", {"zones": [EVERYWHERE], "lines": []})[0] == 200

    service(MINE, script)
    assert "all of it" in service.path.read_text()


def test_cameras_that_a_reload_adds_and_removes_appear_and_go(service):
    def script(running):
        until(lambda: running.shown().keys() == {"a", "b"})
        assert running.page("PUT", "/api/cameras/a/score", {"score": 0.1})[0] == 200
        running.reload({"b": synthetic(2), "c": synthetic(3)}, page=0)
        until(lambda: running.shown().keys() == {"b", "c"})
        until(lambda: running.page("GET", "/api/cameras/a/snapshot")[0] == 404)
        until(lambda: running.processed("c") >= 3)
        running.reload({"a": synthetic(1), "c": synthetic(3)}, page=0)
        until(lambda: running.shown().keys() == {"a", "c"})
        assert running.shown()["a"]["score"] is None

    report, log = service({"a": synthetic(1), "b": synthetic(2)}, script, page=0)
    assert not [message for event, message in log.lines if event == "page"]
    assert report.exchanges == 0  # scores for the page were asked for from the start


def test_a_camera_that_fails_is_lost_on_the_page_and_comes_back_as_it_was(service, sources):
    opened = []

    def source():
        opened.append(1)
        if len(opened) == 2:
            hold.wait(SECONDS)
        return Unplugged(20 if len(opened) == 1 else 10000, 0.05)

    sources["it"], hold = source, threading.Event()

    def script(running):
        try:
            until(lambda: "a" in running.shown())
            assert running.page("PUT", "/api/cameras/a/score", {"score": 0.25})[0] == 200
            assert running.page("PUT", "/api/cameras/a/places", {"zones": [EVERYWHERE], "lines": []})[0] == 200
            until(lambda: running.condition("a") == "lost")
        finally:
            hold.set()
        until(lambda: running.condition("a") == "live")
        assert running.shown()["a"]["score"] == 0.25
        assert [zone["name"] for zone in running.shown()["a"]["zones"]] == ["all of it"]
        running.reload()
        assert running.log.has("nothing changed")

    service({"a": {"source": "it"}}, script, page=0)


def test_a_camera_that_was_never_there_is_lost_on_the_page_and_takes_zones_until_it_comes(service, sources):
    plugged_in, begun = threading.Event(), []

    def absent():
        begun.append(service.running.condition("a"))
        if not plugged_in.is_set():
            raise SourceError("nobody answers at rtsp://admin:hunter2@10.1.2.3/")
        return Unplugged(10000, 0.05)

    sources.update({"it": absent, "another": absent})

    def script(running):
        assert begun[0] == "starting"
        until(lambda: running.condition("a") == "lost")
        assert running.page("GET", "/api/cameras/a/snapshot")[0] == 404
        assert running.page("PUT", "/api/cameras/a/places", {"zones": [EVERYWHERE], "lines": []})[0] == 200
        running.reload()
        assert running.log.has("the file was read again: nothing changed")
        running.write({"a": read_as_written(), "b": {"source": "another"}}, page=0)
        running.reload()
        until(lambda: running.condition("b") == "lost")
        assert "hunter2" not in json.dumps(running.page("GET", "/api/state")[1])
        plugged_in.set()
        until(lambda: (running.condition("a"), running.condition("b")) == ("live", "live"))
        assert [zone["name"] for zone in running.shown()["a"]["zones"]] == ["all of it"]

    def read_as_written():
        (camera,) = read_service(service.path).cameras
        return {"source": "it", "watch": camera.watch}

    service({"a": {"source": "it"}}, script, wait=True, page=0)


def test_a_token_of_a_file_or_of_the_environment_opens_the_page(service, tmp_path):
    (tmp_path / "page.token").write_text(f"{TOKEN}\n")

    def script(running):
        until(lambda: running.processed("a") >= 3)
        assert running.page("GET", "/api/state")[0] == 401
        assert running.page("GET", "/api/state", Authorization=f"Bearer {TOKEN}")[0] == 200
        told = running.page("GET", "/api/state", Authorization=f"Bearer {TOKEN}")[1]
        assert str(tmp_path) not in json.dumps(told)

    service.environment["PAGE_TOKEN"] = TOKEN
    for token in ({"token": "${PAGE_TOKEN}"}, {"token_file": "page.token"}):
        _, log = service({"a": synthetic(1)}, script, page={"address": "0.0.0.0:0", **token})
        assert TOKEN not in repr(log.lines)


def test_a_page_that_cannot_be_served_ends_the_start(service):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(PageError, match=f"the page cannot be served on 127.0.0.1:{port}: .*choose another port"):
            service({"a": synthetic(1)}, lambda running: None, page=port)
    service.environment["PAGE_TOKEN"] = "short"
    with pytest.raises(PageError, match=r"page's token in page\.token of the service's file has 5 characters"):
        service({"a": synthetic(1)}, lambda running: None, page={"token": "${PAGE_TOKEN}"})


@pytest.mark.skipif(chromium.found() is None, reason="no Chromium is installed")
def test_a_browser_sees_cameras_come_and_go_and_draws_into_the_file(service):
    def script(running):
        with chromium.Chromium() as browser:
            browser.size(1280, 900)
            browser.open(f"http://{running.page_address()}/")
            names = "[...document.querySelectorAll('.camera h2')].map((one) => one.textContent).join()"
            browser.wait(names, lambda text: text == "a,b")
            text = service.path.read_text()
            service.path.write_text(text.replace("  b: {source: 'synthetic:2'", "  c: {source: 'synthetic:3'"))
            running.reload()
            browser.wait(names, lambda text: text == "a,c")
            browser.run("location.hash = '#camera=c'")
            browser.wait(names, lambda text: text == "c")
            browser.wait("Number(document.querySelector('.picture')?.dataset.frame ?? 0) > 3")
            browser.click("[data-do=edit]")
            browser.click("[data-do=zone]")
            browser.drag(".editor", (0.1, 0.1), (0.9, 0.9))
            browser.wait("document.querySelectorAll('.places li').length === 1")
            browser.click(".editing .primary")
            browser.wait("document.querySelector('#said').textContent.startsWith('Saved in service.yaml')")
            assert browser.errors == []
        running.reload()
        assert running.log.lines[-1] == ("config", "the file was read again: nothing changed")

    service(MINE, script)
    assert re.findall("#.*", service.path.read_text()) == re.findall("#.*", MINE)
    assert read_service(service.path).cameras[1].watch["zones"][0]["name"] == "zone 1"


@pytest.mark.skipif(chromium.found() is None, reason="no Chromium is installed")
def test_a_browser_sees_a_camera_that_was_never_there_as_lost_and_then_its_pictures(service, sources):
    plugged_in = threading.Event()

    def source():
        if not plugged_in.is_set():
            raise SourceError("nobody answers")
        return Unplugged(10000, 0.05)

    sources["absent"] = source

    def script(running):
        with chromium.Chromium() as browser:
            browser.size(1280, 900)
            browser.open(f"http://{running.page_address()}/#camera=a")
            badge, frame = "document.querySelector('.camera .badge')?.textContent", "document.querySelector('.picture')"
            browser.wait(badge, lambda text: text == "lost")
            note = browser.run("document.querySelector('.note').textContent")
            assert note == "Camera not there; ssd-edge keeps trying."
            plugged_in.set()
            browser.wait(badge, lambda text: text == "live")
            browser.wait(f"Number({frame}.dataset.frame ?? 0) > 3")
            assert browser.run("document.querySelector('.note').hidden")
            assert browser.errors == []

    service({"a": {"source": "absent"}}, script, wait=True, page=0)

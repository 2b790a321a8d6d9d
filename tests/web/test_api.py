"""The page's endpoints over real sockets: what they give, and whom they refuse."""

from __future__ import annotations

import http.client
import json
import re
import socket
import stat
from contextlib import suppress
from time import monotonic, sleep

import cv2
import numpy as np
import pytest

from ssd_edge.cli.page_options import PageCommand
from ssd_edge.errors import PageError
from ssd_edge.web import patience
from ssd_edge.web.address import parse_address
from ssd_edge.web.app import read_static
from ssd_edge.web.page import open_page
from ssd_edge.web.tokens import read_token

TOKEN = "a-token-of-16-or-more"


class Client:
    """Requests to a page, one connection each."""

    def __init__(self, running, **headers):
        self._address, self._headers = running.page.address, headers

    def __call__(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        named = {name.replace("_", "-"): value for name, value in {**self._headers, **headers}.items()}
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            if path.startswith(("/api/events", "/api/stream")) and answer.status == 200 and method == "GET":
                return answer.status, answer.headers, answer.read(2000)
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def put(self, path, value, **headers):
        status, _, body = self("PUT", path, json.dumps(value), Content_Type="application/json", **headers)
        return status, json.loads(body)


def wait_for(condition, seconds=30.0):
    until = monotonic() + seconds
    while not (value := condition()):
        assert monotonic() < until
        sleep(0.02)
    return value


@pytest.fixture
def running(run_page):
    one = run_page()
    wait_for(lambda: one.views["belt"].newest)
    return one


@pytest.fixture
def ask(running):
    return Client(running)


def test_the_page_comes_with_everything_that_it_names(ask):
    status, headers, page = ask("GET", "/")
    assert status == 200
    left, seen = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.decode()), set()
    while left:
        path = left.pop()
        if path not in seen:
            seen.add(path)
            status, headers, text = ask("GET", path)
            assert (status, headers["Cache-Control"]) == (200, "no-cache")
            left += [f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', text.decode())]
    assert len(seen) == 9


def test_every_answer_has_the_headers_that_keep_others_out(ask):
    for path in ("/", "/static/main.js", "/api/state", "/nothing", "/api/cameras/belt/snapshot"):
        _, headers, _ = ask("GET", path)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "server" not in headers


def test_no_script_or_style_is_inline():
    for name, content in read_static().items():
        if name.endswith(".html"):
            assert not re.search(rb"<script(?![^>]*src=)|<style|\son\w+=|style=", content), name
        assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b""), name
        assert b"https://" not in content, name


def test_pictures_come_as_motion_jpeg_with_the_frames_number(running, ask):
    _, headers, _ = ask("GET", "/api/stream?camera=belt")
    assert headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    connection = http.client.HTTPConnection(*running.page.address, timeout=30)
    connection.request("GET", "/api/stream")
    answer = connection.getresponse()
    numbers, sums = [], set()
    for _ in range(3):
        assert answer.readline() == b"--frame\r\n"
        head = dict(line.rstrip().split(b": ", 1) for line in iter(answer.readline, b"\r\n"))
        assert head[b"X-Camera"] == b"belt"
        jpeg = answer.read(int(head[b"Content-Length"]))
        assert answer.read(2) == b"\r\n"
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (480, 640, 3)
        numbers.append(int(head[b"X-Frame"]))
        sums.add(int(picture.astype(np.int64).sum()))
    connection.close()
    assert numbers == sorted(set(numbers))
    assert len(sums) == 3


def test_nobody_compresses_pictures_when_nobody_looks(running, monkeypatch):
    calls = []
    real = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *arguments: calls.append(1) or real(*arguments))
    hub = running.page._hub
    wait_for(lambda: hub.board.readers.total() == 0)
    calls.clear()
    number = running.views["belt"].newest.number
    wait_for(lambda: running.views["belt"].newest.number > number + 5)
    assert calls == []
    with socket.create_connection(running.page.address) as one, socket.create_connection(running.page.address) as two:
        for client in (one, two):
            client.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: hub.board.readers["picture belt"] == 2)
        start, number = len(calls), running.views["belt"].newest.number
        wait_for(lambda: len(calls) > start + 5)
        assert len(calls) - start <= running.views["belt"].newest.number - number + 2  # once for both
    wait_for(lambda: hub.board.readers["picture belt"] == 0)


def test_no_picture_is_compressed_for_a_client_that_still_has_one_to_read(running, monkeypatch):
    calls = []
    real = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *arguments: calls.append(1) or real(*arguments))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(running.page.address)
        served = next(iter(wait_for(lambda: running.page._server.server_state.connections)))
        served.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: served.flow is not None and served.flow.write_paused)
        made, number = len(calls), running.views["belt"].newest.number
        wait_for(lambda: running.views["belt"].newest.number > number + 5)
        assert len(calls) <= made + 1  # which begins to wait for the client to read
        client.settimeout(30)
        while len(calls) <= made + 1:
            client.recv(1 << 16)
    wait_for(lambda: running.page._hub.board.waiting.total() == 0)


def test_a_camera_that_is_forgotten_leaves_no_picture(running, ask):
    board = running.page._hub.board
    for name in ("dock", "belt"):
        if name not in running.views:
            running.add(name)
        wait_for(lambda name=name: running.views[name].newest)
        ask("GET", f"/api/stream?camera={name}")
        assert f"picture {name}" in board._values
    running.page.forget("dock")
    wait_for(lambda: "picture dock" not in board._values)
    assert "picture belt" in board._values
    assert ask("GET", "/api/stream?camera=dock")[0] == 404


def test_events_tell_history_state_numbers_and_boxes(running):
    connection = http.client.HTTPConnection(*running.page.address, timeout=30)
    connection.request("GET", "/api/events")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    seen = {}
    while set(seen) != {"history", "state", "status", "numbers", "boxes"}:
        line = answer.readline().decode()
        if line.startswith("event: "):
            kind = line[7:].strip()
        elif line.startswith("data: "):
            seen[kind] = json.loads(line[6:])
    connection.close()
    numbers = seen["numbers"]["cameras"]["belt"]
    assert numbers["sent"] == numbers["shown"] + sum(numbers["ledger"].values())
    assert seen["numbers"]["machine"]["watts"] == 12.0
    assert seen["status"]["belt"]["condition"] == "live"
    label, score, x1, y1, x2, y2, counts, number = seen["boxes"]["belt"]["boxes"][0]
    assert 0 <= x1 < x2 <= 1
    assert 0 <= y1 < y2 <= 1
    assert (counts, number) == (1, None)
    assert score >= 0.5
    assert label in range(len(seen["state"]["labels"]))


@pytest.mark.parametrize("boxes", ["0", "1"])
def test_a_snapshot_has_full_size_and_boxes_if_wanted(ask, boxes):
    status, headers, jpeg = ask("GET", f"/api/cameras/belt/snapshot?boxes={boxes}")
    assert status == 200
    assert headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''belt-")
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (480, 640, 3)


def test_zones_and_scores_apply_to_the_running_camera(running, ask):
    zone = {"name": "all", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}
    status, state = ask.put("/api/cameras/belt/places", {"zones": [zone], "lines": []})
    assert status == 200, state
    assert (state["watched"], state["file"]) == (True, None)
    wait_for(lambda: running.views["belt"].tuning.watch.counts["all"]["entered"])
    _, _, text = ask("GET", "/api/cameras/belt/watch")
    assert b"- name: all\n" in text
    status, state = ask.put("/api/cameras/belt/score", {"score": 1.0})
    assert (status, state["score"]) == (200, 1.0)


@pytest.mark.parametrize(
    ("path", "value", "status"),
    [
        ("/api/cameras/belt/places", {"zones": [], "lines": [], "path": "/etc/passwd"}, 400),
        ("/api/cameras/belt/places", {"zones": [{"name": "a", "points": [[0, 0], [2, 0], [1, 1]]}], "lines": []}, 400),
        ("/api/cameras/belt/places", {"zones": [{"name": "a", "points": [[0, 0], [0, 0], [1, 1]]}], "lines": []}, 422),
        ("/api/cameras/belt/places", {"zones": [], "lines": [{"name": "a\nb", "points": [[0, 0], [1, 0]]}]}, 400),
        ("/api/cameras/belt/places", [], 400),
        ("/api/cameras/belt/score", {"score": 0.01}, 409),
        ("/api/cameras/belt/score", {"score": "NaN"}, 400),
        ("/api/cameras/nobody/score", {"score": 0.5}, 404),
        ("/api/cameras/..%2f..%2fetc/score", {"score": 0.5}, 404),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence_and_the_loop_goes_on(running, ask, path, value, status):
    got, answer = ask.put(path, value)
    assert got == status
    assert list(answer) == ["error"]
    assert "\n" not in answer["error"]
    number = running.views["belt"].newest.number
    wait_for(lambda: running.views["belt"].newest.number > number)
    assert running.views["belt"].tuning.watch is None
    assert running.said == []


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "//etc/passwd", "/static/index.html"]
)
def test_no_path_leads_out_of_the_front_end(ask, path):
    status, _, body = ask("GET", path)
    assert status == 404
    assert set(json.loads(body)) == {"error"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:8080"}, 421),
        ({"Host": "localhost:9000"}, 200),  # a tunnel
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_sites_get_nothing(ask, headers, status):
    assert ask("GET", "/api/state", **headers)[0] == status


def test_another_sites_form_changes_nothing(running, ask):
    address = running.page.address
    own = {"Origin": f"http://{address}", "Sec_Fetch_Site": "same-origin"}
    assert ask.put("/api/cameras/belt/score", {"score": 0.6}, Origin="http://evil.example")[0] == 403
    body = '{"score": 0.6}'
    assert ask("PUT", "/api/cameras/belt/score", body, Content_Type="text/plain", **own)[0] == 415
    assert running.views["belt"].tuning.score is None
    assert ask.put("/api/cameras/belt/score", {"score": 0.6}, **own)[0] == 200


def test_a_body_that_is_too_long_is_refused(ask):
    assert ask("PUT", "/api/cameras/belt/score", b" " * 100_000, Content_Type="application/json")[0] == 413
    parts = iter([b" " * 50_000, b" " * 50_000])
    assert ask("PUT", "/api/cameras/belt/score", parts, Content_Type="application/json")[0] == 413


def test_a_head_that_is_too_long_is_refused(running):
    # it may be cut off before all is sent
    with suppress(ConnectionError), socket.create_connection(running.page.address, timeout=30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"x" * 300_000)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    wait_for(lambda: not running.page._server.server_state.connections)


@pytest.fixture
def locked(run_page):
    one = run_page(TOKEN)
    wait_for(lambda: one.views["belt"].newest)
    return one


def test_nothing_is_seen_without_the_token(locked, caplog):
    ask = Client(locked)
    for method, path in [
        ("GET", "/api/state"),
        ("GET", "/api/events"),
        ("GET", "/api/stream"),
        ("GET", "/api/cameras/belt/snapshot"),
        ("GET", "/static/main.js"),
        ("GET", "/openapi.json"),
        ("PUT", "/api/cameras/belt/score"),
    ]:
        assert ask(method, path)[0] == 401, path
    status, _, page = ask("GET", "/")
    assert status == 200
    assert b"belt" not in page
    assert b'name="token"' in page


def test_the_token_is_exchanged_for_a_cookie_that_scripts_do_not_see(locked, capfd, caplog):
    ask = Client(locked, Content_Type="application/x-www-form-urlencoded")
    assert ask("POST", "/login", "token=wrong")[0] == 403
    assert ask("POST", "/login", f"token={TOKEN}", Origin="http://evil.example")[0] == 403
    status, headers, _ = ask("POST", "/login", f"token={TOKEN}")
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    session = cookie.partition(";")[0]
    assert ask("GET", "/api/state", Cookie=session)[0] == 200
    assert ask("GET", "/api/state", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask("GET", "/api/state", Authorization="Bearer wrong")[0] == 401
    assert ask("GET", f"/api/state?token={TOKEN}")[0] == 401
    told = capfd.readouterr()
    assert TOKEN not in told.out + told.err + caplog.text


def test_other_machines_need_a_token(monkeypatch, tmp_path):
    with pytest.raises(PageError, match="needs a token: --page-token-file"):
        open_page(parse_address("0.0.0.0:0"), ("bolt",))
    with open_page(parse_address("0.0.0.0:0"), ("bolt",), TOKEN) as page:
        assert page.address.port
    monkeypatch.setenv("SSD_EDGE_PAGE_TOKEN", "short")
    with pytest.raises(PageError, match="has 5 characters, but needs at least 16"):
        read_token(None)
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(stat.S_IRUSR)
    assert read_token(file) == TOKEN
    with pytest.raises(PageError, match="cannot read the page's token"):
        read_token(tmp_path / "none")


def test_an_address_in_use_is_said(running):
    with pytest.raises(PageError, match="cannot be served on 127"):
        open_page(running.page.address, ("bolt",))


@pytest.mark.parametrize(
    ("arguments", "spelled"),
    [
        (["--page"], ["--page", "127.0.0.1:8080"]),
        (["--page", "x.engine"], ["--page", "127.0.0.1:8080", "x.engine"]),
        (["--page", "8000", "x.engine"], ["--page", "8000", "x.engine"]),
        (["--page", "0.0.0.0:8000"], ["--page", "0.0.0.0:8000"]),
        (["--page", "--json"], ["--page", "127.0.0.1:8080", "--json"]),
    ],
)
def test_page_needs_no_address(monkeypatch, arguments, spelled):
    got = []
    monkeypatch.setattr("typer.core.TyperCommand.parse_args", lambda self, context, words: got.extend(words))
    PageCommand(name="run").parse_args(None, arguments)
    assert got == spelled


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1.2.3.4:", "70000", "1.2.3.4:99999", "host:80", "[::1]", "1 2"])
def test_an_address_that_is_none_is_said(text):
    with pytest.raises(PageError, match=r"port or IP:PORT"):
        parse_address(text)


def test_there_is_room_for_so_many_clients_and_no_more(running, ask, monkeypatch):
    monkeypatch.setattr(patience, "MOST_CLIENTS", 5)
    clients = [socket.create_connection(running.page.address) for _ in range(5)]
    try:
        wait_for(lambda: len(running.page._server.server_state.connections) == 5)
        status, headers, _ = ask("GET", "/")
        assert (status, headers["Retry-After"]) == (503, "5")
    finally:
        for client in clients:
            client.close()
    wait_for(lambda: not running.page._server.server_state.connections)
    assert ask("GET", "/")[0] == 200


UNFINISHED = (
    b"PUT /api/cameras/belt/score HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: loc", UNFINISHED])
def test_a_client_that_sends_too_slowly_is_cut_off(running, monkeypatch, sent):
    monkeypatch.setattr(patience, "_REQUEST_SECONDS", 0.3)
    with socket.create_connection(running.page.address, timeout=30) as client:
        client.sendall(sent)
        with suppress(ConnectionResetError):
            assert client.recv(100) == b""
    wait_for(lambda: not running.page._server.server_state.connections)


def test_a_client_that_does_not_read_is_cut_off_and_costs_no_memory(running, monkeypatch):
    monkeypatch.setattr(patience, "_READING_SECONDS", 0.5)
    connections = running.page._server.server_state.connections
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(running.page.address)
        client.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: running.page._hub.board.readers["picture belt"] == 1)
        waiting = 0
        until = monotonic() + 60
        while connections and monotonic() < until:
            waiting = max([waiting, *(one.transport.get_write_buffer_size() for one in list(connections))])
            sleep(0.02)
        assert not connections
        assert waiting < 500_000
    wait_for(lambda: running.page._hub.board.readers["picture belt"] == 0)


def test_closing_the_page_ends_its_streams_and_threads(run_page):
    one = run_page()
    wait_for(lambda: one.views["belt"].newest)
    with socket.create_connection(one.page.address, timeout=30) as client:
        client.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(100)
        thread = one.page._thread
        one.page.close()
        assert not thread.is_alive()
    one.page.close()


def test_the_openapi_document_has_every_endpoint(running):
    app = running.page._server.config.app
    paths = {route.path for route in app._app.routes} - {"/static/{name}"}
    document = json.loads(read_static()["openapi.json"])
    assert set(document["paths"]) == paths
    for route in app._app.routes:
        if route.path in document["paths"]:
            methods = {name.upper() for name in document["paths"][route.path]} - {"PARAMETERS"}
            assert methods == route.methods - {"HEAD"}

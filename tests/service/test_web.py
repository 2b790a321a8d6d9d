"""The pages for programs that look after the service, asked over real connections."""

from __future__ import annotations

import json
import socket
import threading
from http.client import HTTPConnection
from time import monotonic

import pytest

from ssd_edge.errors import ServiceError
from ssd_edge.service import web
from ssd_edge.service.web import Address, Pages, parse_address


@pytest.fixture
def well():
    return [True]


@pytest.fixture
def pages(well):
    with Pages(Address("127.0.0.1", 0), lambda: "up 1\n", lambda: (well[0], {"status": "é"})) as served:
        yield served


def asked(pages, path, method="GET", body=None):
    connection = HTTPConnection(*pages.address, timeout=10)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read().decode()


def test_metrics_are_given(pages):
    status, headers, text = asked(pages, "/metrics?x=1")
    assert (status, text) == (200, "up 1\n")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_health_is_told_by_the_status(pages, well):
    assert asked(pages, "/healthz")[0] == 200
    well[0] = False
    status, headers, text = asked(pages, "/healthz")
    assert (status, headers["Content-Type"], json.loads(text)) == (503, "application/json", {"status": "é"})


def test_head_gives_no_body(pages):
    status, headers, text = asked(pages, "/metrics", "HEAD")
    assert (status, headers["Content-Length"], text) == (200, "5", "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_sent(pages, method):
    status, headers, _ = asked(pages, "/metrics", method, "x" * 1000)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd"])
def test_other_paths_are_not_found(pages, path):
    assert asked(pages, path)[0] == 404


def test_slow_clients_are_cut_off(pages, monkeypatch):
    monkeypatch.setattr(web, "_PATIENCE", 0.5)
    with socket.create_connection(pages.address, timeout=0.1) as slow:
        began = monotonic()
        while monotonic() - began < 20:
            try:
                slow.sendall(b"G")
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert monotonic() - began < 20
    assert asked(pages, "/metrics")[0] == 200


def test_clients_that_hold_on_shut_out_others_for_a_while_only(pages, monkeypatch):
    monkeypatch.setattr(web, "_PATIENCE", 1)
    holding = [socket.create_connection(pages.address) for _ in range(web._MOST_CLIENTS)]
    before = threading.active_count()
    try:
        more = [socket.create_connection(pages.address, timeout=20) for _ in range(20)]
        assert [one.recv(1) for one in more] == [b""] * 20
        assert threading.active_count() <= before + web._MOST_CLIENTS
    finally:
        for one in (*holding, *more):
            one.close()
    deadline = monotonic() + 20
    while True:
        try:
            assert asked(pages, "/metrics")[0] == 200
            break
        except OSError:
            assert monotonic() < deadline


def test_a_fault_in_a_page_ends_one_answer_only():
    told = [RuntimeError("planted")]

    def metrics():
        if told:
            raise told.pop()
        return "up 1\n"

    with Pages(Address("127.0.0.1", 0), metrics, lambda: (True, {})) as pages:
        assert asked(pages, "/metrics")[::2] == (500, "RuntimeError: planted\n")
        assert asked(pages, "/metrics")[0] == 200


def test_a_port_in_use_is_an_error(pages):
    with pytest.raises(ServiceError, match=rf"metrics cannot be served on 127\.0\.0\.1:{pages.address.port}: Address"):
        Pages(pages.address, str, lambda: (True, {}))


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("9090", "127.0.0.1:9090", True),
        ("localhost:9090", "127.0.0.1:9090", True),
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("[::1]:65535", "[::1]:65535", True),
        ("0.0.0.0:9090", "0.0.0.0:9090", False),
        ("192.168.1.4:9090", "192.168.1.4:9090", False),
    ],
)
def test_addresses(text, address, loopback):
    parsed = parse_address(text)
    assert (str(parsed), parsed.is_loopback) == (address, loopback)


@pytest.mark.parametrize(
    "text", ["", "0", "65536", "host:9090", "::1:9090", "1.2.3:4", "300.0.0.1:9", ":9090", "9090x"]
)
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match="is a port or IP:PORT, such as 9090"):
        parse_address(text)

"""The service's socket, on which ``ssd-edge swap`` asks for another engine: for this machine and this user alone.

A socket of Unix beside the service's file, which only the service's user and root can open. A request is one line of
JSON, and the answer one or more. It names paths of this machine; nothing is sent through it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from ssd_edge.errors import ServiceError, SsdEdgeError

_MOST_BYTES = 1 << 16
_MOST_CLIENTS = 4
_PATIENCE = 5.0  # seconds for a request
_BEAT = 0.5

Answers = Callable[[Mapping[str, Any]], Iterator[Mapping[str, Any]]]
"""Answers a request; raises SsdEdgeError to refuse it."""


def socket_of(file: Path) -> Path:
    """Return the socket of the service of a file."""
    return file.with_name(f".{file.name}.control")


def files_in(folder: Path) -> list[Path]:
    """Return the files of the services in a folder that have a socket."""
    sockets = sorted(folder.glob(".*.control"))
    return [one.with_name(one.name[1:].removesuffix(".control")) for one in sockets if one.is_socket()]


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name for a socket that is shorter than the 107 bytes that a socket's name may have."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").exists():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class Control(AbstractContextManager["Control"]):
    """Serves the socket in threads of its own until it is closed.

    Args:
        file: the service's file.
        answers: answers requests; called by several threads.

    Raises:
        ServiceError: the socket cannot be made, or another service of this file runs.
    """

    def __init__(self, file: Path, answers: Answers) -> None:
        self._path, self._answers = socket_of(file), answers
        self._closed = threading.Event()
        self._clients = threading.BoundedSemaphore(_MOST_CLIENTS)
        self._server = self._bound(file)
        self._server.settimeout(_BEAT)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving, and remove the socket; may be called twice."""
        if not self._closed.is_set():
            self._closed.set()
            self._thread.join()
            self._server.close()
            with suppress(OSError):
                self._path.unlink()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _bound(self, file: Path) -> socket.socket:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if self._path.is_socket():
                other = _connected(self._path)
                if other is not None:
                    other.close()
                    raise ServiceError(f"another service of {file} runs already, and has its engine exchanged")
                self._path.unlink()  # of a process that has died
            # The mode is set before anybody can connect: nothing listens yet.
            with _short(self._path) as name:
                server.bind(name)
            self._path.chmod(0o600)
            server.listen(_MOST_CLIENTS)
        except OSError as error:
            server.close()
            raise ServiceError(f"{self._path} cannot be made: {error.strerror or error}") from None
        except BaseException:
            server.close()
            raise
        return server

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                continue
            if self._clients.acquire(blocking=False):
                threading.Thread(target=self._client, args=(client,), name="control client", daemon=True).start()
            else:
                client.close()

    def _client(self, client: socket.socket) -> None:
        try:
            with closing(client), suppress(OSError):
                client.settimeout(_PATIENCE)
                for answer in self._answered(client):
                    client.sendall(json.dumps(answer).encode() + b"\n")
        finally:
            self._clients.release()

    def _answered(self, client: socket.socket) -> Iterator[Mapping[str, Any]]:
        with client.makefile("rb") as lines:
            line = lines.readline(_MOST_BYTES)
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            yield {"error": "a request is one JSON object on one line"}
            return
        try:
            yield from self._answers(request)
        except SsdEdgeError as error:
            yield {"error": str(error)}


def _connected(path: Path) -> socket.socket | None:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            client.connect(name)
    except OSError:
        client.close()
        return None
    return client


def ask(file: Path, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Ask the service of a file; yields its answers as they come.

    Raises:
        ServiceError: no service of this file runs, or it refused.
    """
    path = socket_of(file)
    client = _connected(path)
    if client is None:
        who = " (this user may not open it)" if path.exists() and not os.access(path, os.W_OK) else ""
        raise ServiceError(
            f"no service of {file} answers at {path}{who}: start it with ssd-edge run --config {file}, and ask as its "
            "user or with sudo"
        )
    with closing(client), client.makefile("rwb") as stream:
        stream.write(json.dumps(request).encode() + b"\n")
        stream.flush()
        for line in stream:
            answer = json.loads(line)
            if "error" in answer:
                raise ServiceError(answer["error"])
            yield answer

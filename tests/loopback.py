"""A web server on loopback, and a cache of its own for what is downloaded from it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def serving(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    files: Mapping[str, bytes],
    announced: Mapping[str, int | None] | None = None,
) -> Iterator[str]:
    """Serve files by name, and set the user's cache to ``folder/cache``.

    Args:
        monkeypatch: restores the environment.
        folder: receives the cache.
        files: contents by name.
        announced: lengths that are announced in place of the true ones; None for no length.

    Yields:
        The server's address, without a slash at its end.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("no_proxy", "*")

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if name not in files:
                self.send_error(404)
                return
            length = (announced or {}).get(name, len(files[name]))
            self.send_response(200)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(files[name])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

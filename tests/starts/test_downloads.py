"""Downloads from a server on loopback: kept once checked; cut, altered or refused ones leave nothing in the cache."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssd_edge.errors import ModelError
from ssd_edge.starts.downloads import COCO, IMAGENET, Download, fetched
from tests.loopback import serving

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


FILES = {
    "whole.pth": CONTENT,
    "cut.pth": CONTENT[:-1000],
    "altered.pth": CONTENT[:-1] + b"x",
    "unmeasured.pth": CONTENT,
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of a server; cut.pth is announced as longer than it is, unmeasured.pth with no length."""
    with serving(monkeypatch, tmp_path, FILES, {"cut.pth": len(CONTENT), "unmeasured.pth": None}) as address:
        yield address


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["whole.pth", "unmeasured.pth"])
@pytest.mark.parametrize("digits", [8, 64])
def test_a_file_is_downloaded_once(server, tmp_path, monkeypatch, name, digits):
    download = Download(f"{server}/{name}", DIGEST[:digits])
    reported: list[tuple[int, int]] = []
    path = fetched(download, lambda done, total, stage="": reported.append((done, total)))
    assert path == tmp_path / "cache/ssd-edge/starts" / name
    assert path.read_bytes() == CONTENT
    assert reported[-1] == (250, 250 if name == "whole.pth" else 0)
    with monkeypatch.context() as offline:
        offline.setattr("urllib.request.urlopen", None)
        assert fetched(download) == path
    assert cached(tmp_path) == [path]


def test_a_file_of_the_cache_that_is_not_the_published_one_is_downloaded_again(server, tmp_path):
    download = Download(f"{server}/whole.pth", DIGEST)
    download.place.parent.mkdir(parents=True)
    download.place.write_bytes(CONTENT[:-1])
    assert fetched(download).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cut.pth", "cannot download .*/cut.pth: it .* after 255000 .*bytes; without a network, put the file at "),
        ("altered.pth", f"gave is not the published file and was not kept: its SHA-256 is .*, and {DIGEST} was"),
        ("none.pth", "cannot download .*/none.pth: the server answered 404 Not Found; without a network, put "),
    ],
)
def test_what_is_not_the_published_file_is_not_kept(server, tmp_path, name, sentence):
    """An older file there stays as it was."""
    for before in (False, True):
        download = Download(f"{server}/{name}", DIGEST)
        if before:
            download.place.write_bytes(b"older")
        with pytest.raises(ModelError, match=sentence) as caught:
            fetched(download)
        assert "\n" not in str(caught.value)
        assert [path.read_bytes() for path in cached(tmp_path)] == [b"older"] * before


def test_without_a_network_the_sentence_says_where_the_file_belongs(server, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    download = Download(f"http://127.0.0.1:{port}/whole.pth", DIGEST)
    with pytest.raises(ModelError, match=f"Connection refused; without a network, put the file at {download.place}"):
        fetched(download)
    download.place.write_bytes(CONTENT)
    assert fetched(download) == download.place


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(ModelError, match=r"cannot download .*: Not a directory"):
        fetched(Download(f"{server}/whole.pth", DIGEST))


def test_published_names_hold_the_first_digits():
    """torchvision's convention: eight digits of the SHA-256 at the end of a file's name."""
    for download in (*COCO.values(), *IMAGENET.values()):
        assert download.url.startswith("https://")
        digits = download.url.rpartition("-")[2].removesuffix(".pth")
        assert len(digits) == 8
        assert download.sha256.startswith(digits)

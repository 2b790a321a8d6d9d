"""Download published weights once, check them, and keep them in the user's cache."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ssd_edge.errors import ModelError
from ssd_edge.files import sha256, user_cache, written_whole
from ssd_edge.models.catalogue import MODELS
from ssd_edge.progress import Progress, no_progress

_SERVER = "https://download.pytorch.org/models"
_BLOCK = 1 << 16
_TIMEOUT = 30.0
"""Seconds without a byte after which a download is given up."""


@dataclass(frozen=True)
class Download:
    """A published file.

    Attributes:
        url: where it is.
        sha256: its SHA-256 in hex; or the first digits of it, at least eight, where only the file's name tells them.
    """

    url: str
    sha256: str

    @property
    def place(self) -> Path:
        """Its path in the user's cache."""
        return user_cache() / "starts" / self.url.rpartition("/")[2]


_SSDLITE320 = Download(
    f"{_SERVER}/ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
    "a79551df90c79834bcd3bb3845ef9d966b5449a3a9b2833ae8404778ca5d65d2",
)

COCO = {
    "ssd300_vgg16": Download(
        f"{_SERVER}/ssd300_vgg16_coco-b556d3b4.pth", "b556d3b43ab6c3f63d81bfb8835fe8756ac22da664357da100dccf96b6a6b42d"
    ),
    "ssdlite320_mobilenet_v3_large": _SSDLITE320,
    "ssdlite320_mobilenet_v3_reduced": _SSDLITE320,  # what the file's network is called here
}
"""torchvision's detectors trained on COCO, by model."""
COCO_MODEL = "ssdlite320_mobilenet_v3_large"
"""The one that is taken where no model is asked for."""

IMAGENET = {
    "ssdlite300_mobilenet_v2": Download(
        f"{_SERVER}/mobilenet_v2-b0353104.pth", "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
    ),
    "ssdlite320_mobilenet_v3_large": Download(f"{_SERVER}/mobilenet_v3_large-8738ca79.pth", "8738ca79"),
    "ssd300_vgg16": Download(f"{_SERVER}/vgg16-397923af.pth", "397923af"),
    "ssd512_vgg16": Download(f"{_SERVER}/vgg16-397923af.pth", "397923af"),
}
"""torchvision's classifiers trained on ImageNet, whose backbone is that of the model; by model."""


class Start(NamedTuple):
    """What a training begins with, as files.

    Attributes:
        detector: a whole detector, see ``open_start``.
        backbone: a backbone's weights in torchvision's layout.
    """

    detector: Path | None = None
    backbone: Path | None = None


def start_files(start: str, model: str, progress: Progress = no_progress) -> Start:
    """Return the file that ``train --start`` names; ``coco`` and ``imagenet`` are downloaded unless they are cached.

    Args:
        start: ``coco``, ``imagenet``, or the path of a detector.
        model: the network to train.
        progress: called with KiB done and KiB in all.

    Raises:
        ModelError: nothing is published for the model; or as in ``fetched``.
    """
    published = {"coco": COCO, "imagenet": IMAGENET}.get(start)
    if published is None:
        return Start(detector=Path(start))
    if model not in published:
        models = ", ".join(name for name in published if name in MODELS)
        raise ModelError(
            f"--start {start} is there for {models}, and not for {model}: choose one of these with --model"
        )
    file = fetched(published[model], progress)
    return Start(detector=file) if start == "coco" else Start(backbone=file)


def fetched(download: Download, progress: Progress = no_progress) -> Path:
    """Return a file of the cache; download it first if it is not there, or not what was published.

    Args:
        download: the file.
        progress: called with KiB done and KiB in all.

    Raises:
        ModelError: there is no network, the download was cut, or the file is not the published one; none is kept then.
    """
    place = download.place
    if place.is_file() and sha256(place).startswith(download.sha256):
        return place
    try:
        with written_whole(place) as partial:
            digest = _receive(download, partial, progress)
            if not digest.startswith(download.sha256):
                raise ModelError(
                    f"what {download.url} gave is not the published file and was not kept: its SHA-256 is {digest}, "
                    f"and {download.sha256} was expected: try again, without a proxy in between"
                )
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise ModelError(
            f"cannot download {download.url}: {_reason(error)}; without a network, put the file at {place}"
        ) from None
    return place


class _Answer(Protocol):
    def read(self, size: int) -> bytes: ...


def _receive(download: Download, partial: Path, progress: Progress) -> str:
    """Write what the server sends to a file; return its SHA-256.

    Raises:
        OSError, http.client.HTTPException: the server cannot be reached, refuses, or sends less than it announced.
    """
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(download.url, timeout=_TIMEOUT) as answer, partial.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        for block in _blocks(answer):
            file.write(block)
            digest.update(block)
            done += len(block)
            progress(done >> 10, total >> 10)
    if total and done != total:
        raise ConnectionError(f"it ended after {done} of {total} bytes")
    return digest.hexdigest()


def _blocks(answer: _Answer) -> Iterator[bytes]:
    while block := answer.read(_BLOCK):
        yield block


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(getattr(error.reason, "strerror", None) or error.reason)
    if isinstance(error, http.client.IncompleteRead):
        return f"it was cut after {len(error.partial)} bytes"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__

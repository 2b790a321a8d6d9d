"""The Dockerfiles, as far as that can be seen without Docker."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from ssd_edge.service.web import Address, Pages
from tests.helpers import ROOT

FILES = sorted((ROOT / "docs" / "docker").glob("Dockerfile.*[!e]"))
KNOWN = set("ARG CMD COPY ENTRYPOINT ENV FROM HEALTHCHECK RUN SHELL STOPSIGNAL USER WORKDIR".split())  # noqa: SIM905


def instructions(path):
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def last(path, name):
    return [rest for word, rest in instructions(path) if word == name][-1]


def test_these_are_the_images():
    assert [path.name for path in FILES] == ["Dockerfile.cpu", "Dockerfile.jetson", "Dockerfile.rtx"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_image_runs_a_service_and_not_as_root(path):
    assert {word for word, _ in instructions(path)} <= KNOWN
    assert last(path, "USER") == "1000"
    assert json.loads(last(path, "ENTRYPOINT")) == ["ssd-edge"]
    assert json.loads(last(path, "CMD")) == ["run", "--config", "service.yaml"]
    assert path.with_name(f"{path.name}.dockerignore").read_text().splitlines()[1] == "*"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("well", [True, False])
def test_the_health_check_asks_the_service(path, well):
    program, *words = json.loads(last(path, "HEALTHCHECK").split("CMD", 1)[1])
    assert program == "python"
    with Pages(Address("127.0.0.1", 0), str, lambda: (well, {})) as pages:
        told = [word.replace(":9090", f":{pages.address.port}") for word in words]
        assert told != words
        done = subprocess.run([sys.executable, *told], capture_output=True, timeout=60, check=False)
    assert (done.returncode == 0) is well

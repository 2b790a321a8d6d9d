from __future__ import annotations

import json
import os
import shutil
import signal
import threading

import pytest

from ssd_edge.service import cameras
from ssd_edge.service.reading import read_service
from ssd_edge.service.running import Service
from tests.service.running import SECONDS, Kept, Running, free_port


@pytest.fixture
def service(tmp_path, bundle, monkeypatch):
    """``service(cameras, script)`` runs a service in this thread and a script in another; returns report and log."""
    model = shutil.copytree(bundle, tmp_path / "tiny.engine")
    path, port, environment = tmp_path / "service.yaml", free_port(), {}

    def write(described, **settings):
        if isinstance(described, str):  # cameras and settings, as a person writes them
            path.write_text(f"model: {model}\nmetrics: {port}\n{described}")
            return
        path.write_text(json.dumps({"model": str(model), "metrics": port, "cameras": described, **settings}))

    def run(described, script, wait=False, **settings):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        write(described, **settings)
        running = run.running = Running(write, port, Kept())
        failed: list[BaseException] = []

        def act():
            try:
                script(running)
            except BaseException as error:
                failed.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=act)
        one = Service(read_service(path), running.log, wait)
        try:
            report = one.run(on_report=lambda now: running.begin(thread, now), duration=3 * SECONDS)
        finally:
            if thread.ident is not None:
                thread.join()
        if failed:
            raise failed[0]
        return report, running.log

    run.model, run.path, run.environment = model, path, environment
    return run


@pytest.fixture
def sources(monkeypatch):
    """Sources by what the file calls them; each is a function, called at each opening."""
    known = {}
    monkeypatch.setattr(cameras, "open_source", lambda uri, **_: known[uri]())
    monkeypatch.setattr(cameras, "FIRST_DELAY", 0.05)
    monkeypatch.setattr("ssd_edge.service.check.problems_of_camera", lambda camera: [])
    return known

"""``ssd-edge cameras``: what it lists, for people and for scripts."""

from __future__ import annotations

import json

import pytest

from tests.machine.machines import agx_orin_7, laptop, rtx_desktop


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Let the program run on another machine."""

    def move(make):
        host = make(tmp_path)
        monkeypatch.setattr("ssd_edge.machine.host.this_host", lambda: host)

    return move


def test_formats_sizes_and_rates(cli, on):
    on(rtx_desktop)
    done = cli("cameras")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert done.code == 0
    assert lines == [
        "/dev/video0: HD Pro Webcam C920: YUYV to 2560×1472, MJPG to 1920×1080; --camera 0",
        "format size frames per second",
        "YUYV 2560×1472 2",
        "MJPG 1920×1080 30, 14.985",
        "/dev/video10: OBS Virtual Camera; --camera 10",
    ]


def test_json(cli, on):
    on(rtx_desktop)
    first, second = json.loads(cli("cameras", "--json").out)["cameras"]
    assert (first["device"], first["camera"]) == ("/dev/video0", "HD Pro Webcam C920")
    assert first["modes"] == [
        {"format": "YUYV", "size": "2560×1472", "rates": [2.0]},
        {"format": "MJPG", "size": "1920×1080", "rates": [30.0, 14.985]},
    ]
    assert second["modes"] == []


def test_a_csi_camera_comes_with_its_pipeline(cli, on):
    on(agx_orin_7)
    assert "nvarguscamerasrc sensor-id=0" in cli("cameras").out
    (camera,) = json.loads(cli("cameras", "--json").out)["cameras"]
    assert camera["pipeline"].startswith("nvarguscamerasrc")
    assert camera["modes"] == []


def test_a_machine_without_cameras(cli, on):
    on(laptop)
    done = cli("cameras")
    assert (done.code, done.out) == (0, "")
    assert "--camera synthetic draws one" in done.err
    assert json.loads(cli("cameras", "--json").out) == {"cameras": []}

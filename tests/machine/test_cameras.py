"""Cameras: which nodes give frames, how they are opened, and why one cannot be used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ssd_edge.machine.cameras import csi_pipeline, probe, video_devices
from tests.machine.machines import OPENCV, agx_orin_6, agx_orin_7, but, laptop, machine, rtx_desktop

USB = {"captures": True, "card": "Camera", "bus": "usb-1", "formats": {}}


def camera(root, answer, name="Integrated Camera"):
    files = {"/dev/video0": "", "/sys/class/video4linux/video0/name": name}
    return machine(root, files, children={"v4l2": {"video0": answer}})


def test_usb_cameras(tmp_path):
    """A camera's second node is for metadata, and is not listed."""
    c920, obs = probe(rtx_desktop(tmp_path))
    assert (c920.name, obs.name) == ("/dev/video0", "/dev/video10")
    assert c920.value == "HD Pro Webcam C920: YUYV to 2560×1472, MJPG to 1920×1080; --camera 0"
    assert c920.facts["formats"] == {"YUYV": (2560, 1472), "MJPG": (1920, 1080)}
    assert obs.value == "OBS Virtual Camera; --camera 10"


def test_a_csi_camera_is_opened_by_a_pipeline(tmp_path):
    (finding,) = probe(agx_orin_7(tmp_path))
    assert (finding.value, finding.state) == ("imx219 9-0010 on CSI, sensor 0", "fine")
    assert finding.facts["pipeline"] == csi_pipeline(0, in_bgr=True)
    assert finding.remedy.command == f"ssd-edge run NAME.engine --camera '{csi_pipeline(0, in_bgr=True)}'"


def test_csi_cameras_are_counted_from_0_among_themselves(tmp_path):
    host = agx_orin_7(tmp_path)
    for number, name in {0: "USB Camera", 1: "vi-output, imx219 9-0010", 2: "vi-output, imx219 10-0010"}.items():
        (tmp_path / "dev" / f"video{number}").touch()
        folder = tmp_path / "sys" / "class" / "video4linux" / f"video{number}"
        folder.mkdir(exist_ok=True)
        (folder / "name").write_text(name)
    host = but(host, children={"v4l2": {"video0": USB, "video1": USB, "video2": USB}})
    values = [finding.value for finding in probe(host)]
    assert values == ["USB Camera; --camera 0", "imx219 9-0010 on CSI, sensor 0", "imx219 10-0010 on CSI, sensor 1"]


def test_a_csi_camera_needs_gstreamer_of_python_or_of_opencv(tmp_path):
    host = agx_orin_6(tmp_path)
    (finding,) = probe(host)
    assert finding.state == "problem"
    assert "this Python has no GStreamer" in finding.remedy.advice
    assert finding.remedy.command.startswith("sudo apt install python3-gi ")
    (finding,) = probe(replace(host, has_module=lambda name: name == "gi"))
    assert finding.state == "fine"
    assert finding.facts["pipeline"] == csi_pipeline(0)
    assert csi_pipeline(0).endswith("nvvidconv ! video/x-raw,format=NV12 ! appsink drop=1")
    (finding,) = probe(but(host, children={"opencv": {**OPENCV, "gstreamer": True}}))
    assert finding.state == "fine"


def test_a_csi_camera_needs_nvidias_plugin(tmp_path):
    host = agx_orin_7(tmp_path)
    (tmp_path / "usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstnvarguscamerasrc.so").unlink()
    (finding,) = probe(host)
    assert (finding.state, finding.remedy.command) == ("problem", "sudo apt install nvidia-l4t-gstreamer")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [("Permission denied", "sudo usermod -aG video $USER"), ("No such device", "plug it in again")],
)
def test_a_camera_that_cannot_be_opened(tmp_path, error, remedy):
    (finding,) = probe(camera(tmp_path, {"error": error}))
    assert finding.value == f"Integrated Camera cannot be opened: {error}"
    assert finding.state == "problem"
    assert remedy in str(finding.remedy)


def test_a_camera_that_does_not_say_its_sizes(tmp_path):
    (finding,) = probe(camera(tmp_path, {**USB, "formats": {"H264": [0, 0], "MJPG": [640, 480]}}, name=""))
    assert finding.value == "Camera: H264, MJPG to 640×480; --camera 0"


def test_no_camera(tmp_path):
    (finding,) = probe(laptop(tmp_path))
    assert finding.value == "none; --camera synthetic draws one"
    (tmp_path / "metadata").mkdir()
    (finding,) = probe(camera(tmp_path / "metadata", {"captures": False, "card": "", "bus": "", "formats": {}}))
    assert finding.value == "none that gives frames"


def test_devices_of_other_systems(tmp_path):
    assert video_devices(machine(tmp_path, {"/dev/video0": ""}, system="Darwin")) == []

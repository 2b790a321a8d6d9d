"""What is said where no aarch64 Python can be made; that one is, and behaves, all tests that it runs show."""

from __future__ import annotations

import platform

import pytest

from tests.aarch64 import root


def test_missing_tools_are_named_with_the_apt_line(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(root, "_there", lambda name: name == "mmdebstrap")
    line = "apt-get install qemu-user-static debian-archive-keyring g\\+\\+-aarch64-linux-gnu$"
    with pytest.raises(root.SetUpError, match=line):
        root.make(tmp_path / "python")
    assert not list(tmp_path.iterdir())


def test_an_arm_machine_needs_none(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(root.SetUpError, match="this machine is one: make test"):
        root.make(tmp_path / "python")

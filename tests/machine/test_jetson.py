"""JetPack, power mode and clocks."""

from __future__ import annotations

import pytest

from ssd_edge.machine import jetson
from ssd_edge.machine.host import Ran, UnansweredError
from tests.machine.machines import NVPMODEL_CONF, agx_orin_6, agx_orin_7, but, laptop, machine


def everything(host):
    return {finding.name: finding for finding in (*jetson.probe(host), *jetson.probe_power(host))}


def test_jetpack_6(tmp_path):
    findings = everything(agx_orin_6(tmp_path))
    assert findings["JetPack"].value == "6.2, Jetson Linux 36.4.3"
    assert findings["JetPack"].facts == {"l4t": "36.4.3", "jetpack": "6.2", "components": True}
    mode = findings["power mode"]
    assert mode.value == "MODE_30W (2); there are MAXN (0), MODE_15W (1), MODE_50W (3)"
    assert (mode.state, mode.remedy.command) == ("note", "sudo nvpmodel -m 0")
    assert mode.facts["modes"] == {"MAXN": 0, "MODE_15W": 1, "MODE_30W": 2, "MODE_50W": 3}
    assert findings["GPU clock"].value.startswith("306 of 625 MHz")
    assert not findings["GPU clock"].facts["held"]


def test_jetpack_7(tmp_path):
    """nvpmodel requires root there, so the mode is read from what it stores for the next start."""
    findings = everything(agx_orin_7(tmp_path))
    assert findings["JetPack"].value == "7.2, Jetson Linux 39.2.0"
    assert (findings["power mode"].value, findings["power mode"].state) == ("MAXN (0)", "fine")
    assert findings["GPU clock"].value == "held at 1300 MHz"


def test_other_machines_have_no_jetson_findings(tmp_path):
    assert everything(laptop(tmp_path)) == {}


@pytest.mark.parametrize(
    ("revision", "jetpack"),
    [  # https://developer.nvidia.com/embedded/jetpack-archive
        ("R39 (release), REVISION: 2.1", "7.2.1"),
        ("R39 (release), REVISION: 2.0", "7.2"),
        ("R38 (release), REVISION: 4.0", "7.1"),
        ("R38 (release), REVISION: 2.2", "7.0"),
        ("R36 (release), REVISION: 5.0", "6.2.2"),
        ("R36 (release), REVISION: 4.7", "6.2.1"),
        ("R36 (release), REVISION: 4.4", "6.2.1"),
        ("R36 (release), REVISION: 4.3", "6.2"),
        ("R36 (release), REVISION: 4.0", "6.1"),
        ("R36 (release), REVISION: 3.0", "6.0"),
        ("R35 (release), REVISION: 4.1", "5"),
        ("R32 (release), REVISION: 7.1", "4"),
    ],
)
def test_jetpack_by_its_linux(tmp_path, revision, jetpack):
    (finding, *_) = jetson.probe(machine(tmp_path, {"/etc/nv_tegra_release": f"# {revision}, GCID: 1\n"}))
    assert finding.facts["jetpack"] == jetpack
    assert (finding.state, finding.remedy.command) == ("note", jetson.INSTALL)


def test_a_jetpack_of_the_future(tmp_path):
    (finding, *_) = jetson.probe(
        machine(tmp_path, {"/etc/nv_tegra_release": "# R45 (release), REVISION: 1.0, GCID: 1\n"})
    )
    assert "Jetson Linux 45.1.0 of JetPack unknown" in finding.value


@pytest.mark.parametrize(
    "out",
    [
        "NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_50W\n3\n",
        "NV Fan Mode:quiet\nNV Power Mode: MODE_50W\n3",
    ],
)
def test_answers_of_nvpmodel(tmp_path, out):
    host = but(agx_orin_6(tmp_path), commands={"nvpmodel": Ran(0, out, "")})
    assert everything(host)["power mode"].facts["mode"] == "MODE_50W"


def test_the_fastest_mode_has_not_always_the_number_0(tmp_path):
    """On an Orin Nano with JetPack 6.2, mode 0 is 15W."""
    conf = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
    files = {"/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3,\n", "/etc/nvpmodel.conf": conf}
    host = machine(tmp_path, files, {"nvpmodel": Ran(0, "NV Power Mode: 15W\n0\n", "")})
    assert everything(host)["power mode"].remedy.command == "sudo nvpmodel -m 2"


@pytest.mark.parametrize("status", ["", "pmode:0009", "nonsense"])
def test_an_unknown_power_mode(tmp_path, status):
    files = {
        "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3,\n",
        "/etc/nvpmodel.conf": NVPMODEL_CONF,
        "/var/lib/nvpmodel/status": status,
    }
    host = machine(tmp_path, files, {"nvpmodel": UnansweredError("nvpmodel gave no answer within 2 s")})
    assert everything(host)["power mode"].state == "unknown"


def test_packages_that_were_removed_do_not_count(tmp_path):
    assert "libnvinfer8" not in jetson.system_packages(agx_orin_6(tmp_path))

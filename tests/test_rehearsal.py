"""The rehearsal of the device pages: what it reads in a page, what it calls wrong, and one machine from end to end."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from rehearsal.camera import in_nv12
from rehearsal.expected import EXPECTED, for_command
from rehearsal.machines import JETSON, MACHINES
from rehearsal.model import write_model
from rehearsal.pages import Command, beside, commands, fits, messages, shown
from rehearsal.planted import PLANTED, Planted, not_planted, play_planted
from rehearsal.play import judged, parsed, play
from rehearsal.player import Player, Ran
from rehearsal.setting import Fault, Setting
from rehearsal.system import answer

from ssd_edge.pixels import RawFrame, packed, to_bgr
from tests.helpers import COMPILER, ROOT
from tests.machine.machines import agx_orin_7
from tests.tensorrt.bindings import _libraries, run_over

PAGE = """\
# A page

Some words with `sudo reboot` in them:

    cat /etc/release        # R36 (release) is old
    sudo apt update && sudo apt install one
    pip install 'a==1.*'    # JetPack 6.2: its driver
    pip install 'a==2.*'    # JetPack 7.2, instead
    ssd-edge doctor --backend tensorrt

On JetPack 7.2 the last command answers

    tensorrt can run here

```
    a block
```

| message | what to do |
|---|---|
| `it is … broken` | `pip install b`, or `--dla 0` |
"""


def test_commands_of_a_page() -> None:
    assert commands(PAGE) == [
        Command("cat /etc/release"),
        Command("sudo apt update && sudo apt install one"),
        Command("pip install 'a==1.*'", "JetPack 6.2"),
        Command("pip install 'a==2.*'", "JetPack 7.2"),
        Command("ssd-edge doctor --backend tensorrt", "", "tensorrt can run here", "JetPack 7.2"),
    ]
    assert commands(PAGE)[1].parts == ["sudo apt update", "sudo apt install one"]
    assert commands("") == []
    assert beside(PAGE) == ["sudo reboot", "pip install b"]
    assert messages(PAGE) == ["it is … broken"]
    assert shown(PAGE) == ["    a block"]


@pytest.mark.parametrize(
    ("pattern", "said", "right"),
    [
        ("TensorRT … on Orin", "TensorRT 10.3.0 on Orin", True),
        ("TensorRT … on Orin", "TensorRT 10.3.0\non Orin", False),
        ("a (b) c", "x a (b) c y", True),
        ("a (b) c", "a b c", False),
        ("two words", "two\n     words", True),
        ("…", "", True),
    ],
)
def test_patterns(pattern: str, said: str, right: bool) -> None:
    """… stands for anything on its line; a space for any white space, since tables are folded."""
    assert fits(pattern, said) is right


def test_each_message_is_provoked_and_each_command_has_an_output() -> None:
    assert not_planted() == []
    assert {one.machine for one in PLANTED} == set(MACHINES)
    for name, machine in MACHINES.items():
        for command in commands((ROOT / machine.page).read_text()):
            if command.only in {"", machine.only} and command.text.startswith("ssd-edge"):
                assert command.answer or for_command(command.text, machine, name), (name, command.text)
    for page, expected in EXPECTED.items():
        texts = [part for command in commands((ROOT / page).read_text()) for part in command.parts]
        for one in expected:
            assert any(for_command(text, machine, name) for text in texts for name, machine in MACHINES.items()), one


@pytest.fixture
def player(tmp_path: Path) -> Player:
    """JetPack 7.2 with this Python, and an empty folder."""
    bindings = ROOT / ".venv" / "tensorrt-10"
    return Player(
        "jetpack-7.2", MACHINES["jetpack-7.2"], tmp_path, Path(sys.executable), bindings, given=Path(sys.executable)
    )


DOCTOR = Command("ssd-edge doctor --backend tensorrt", "", "TensorRT 10.16.2.1 on Orin", "JetPack 7.2")


@pytest.mark.parametrize(
    ("text", "ran", "wrong"),
    [
        (DOCTOR.text, Ran("run", 0, "tensorrt can run here: TensorRT 10.16.2.1 on Orin"), ""),
        (
            DOCTOR.text,
            Ran("run", 0, "TensorRT 10.3.0 on Orin"),
            "the page answers 'TensorRT 10.16.2.1 on Orin', it says",
        ),
        (DOCTOR.text, Ran("run", 2, "ssd-edge: no\n\n"), "exit code 2: ssd-edge: no"),
        ("ssd-edge selftest x", Ran("run", 0, "failed   kernels: one\n"), "failed   kernels: one"),
        ("ssd-edge verify x", Ran("run", 0, "right   openvino FP32"), "is not in 'right   openvino FP32'"),
    ],
)
def test_what_is_wrong_is_said(player: Player, text: str, ran: Ran, wrong: str) -> None:
    command = DOCTOR if text == DOCTOR.text else Command(text)
    said = judged(text, command, player, ran, (ROOT / JETSON).read_text())
    assert said.startswith(wrong) if "exit" in wrong or not wrong else wrong in said
    assert bool(said) == bool(wrong)


def test_a_promise_that_the_page_does_not_make(player: Player) -> None:
    text = "ssd-edge build-engine parts.int8.onnx"
    out = (
        "parts.engine: tensorrt 10.16.2.1, INT8 (5 INT8 convolutions), 0.5 MiB\n"
        "  proof holds: 24 of 24 detections in 8 images match\nnext: ssd-edge run parts.engine --camera 0"
    )
    assert judged(text, Command(text), player, Ran("run", 0, out), (ROOT / JETSON).read_text()) == ""
    assert "the page does not have" in judged(text, Command(text), player, Ran("run", 0, out), "another page")


def test_a_planted_fault_of_which_the_page_says_nothing(player: Player) -> None:
    fault = Planted("a fault", "jetpack-7.2", "no such message", "ssd-edge doctor", Fault())
    (result,) = play_planted(player, (fault, *PLANTED[:1]))
    assert result.wrong == "the page does not have 'no such message'"


def test_the_systems_commands(tmp_path: Path) -> None:
    machine, host = MACHINES["jetpack-7.2"], agx_orin_7(tmp_path)

    def say(command: str) -> tuple[int, str, str]:
        said = answer(command, machine, host)
        assert said is not None
        return said

    assert say("sudo apt install python3-gi nvidia-jetpack") == (0, "", "")
    assert say("sudo apt install nvidia-l4t-gstreamer") == (0, "", "nvidia-l4t-gstreamer on R39")
    assert say("sudo apt install python3-tensorrt") == (100, "E: Unable to locate package python3-tensorrt", "")
    assert say("cat /etc/nv_tegra_release")[1].startswith("# R39 (release), REVISION: 2.0")
    assert say("cat /etc/none")[0] == 1
    assert say("nvidia-smi")[0] == 127, "R39 has none here"
    assert say("sudo nvpmodel -m 9")[0] == 1
    assert answer("ssd-edge doctor", machine, host) is None


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("ssd-edge calibrate --least-products 512", ""),
        ("python3 -m venv .venv", ""),
        ("ssd-edge bild", "there is no command bild"),
        ("ssd-edge run --cammera", "there is no option --cammera"),
    ],
)
def test_lines_of_sentences_are_parsed(command: str, wrong: str) -> None:
    assert parsed(command) == wrong


def test_a_setting_reaches_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault(packages={"cuda-bindings": None}, without=("/a",), device={"major": 7})
    setting = Setting("rtx-4090", "/shared", "/photos", fault=fault)
    for name, value in setting.variables().items():
        monkeypatch.setenv(name, value)
    assert Setting.of_this_process() == setting


def test_pictures_in_nv12() -> None:
    """Grey has no colour to lose; two roundings of a level each."""
    grey = np.repeat(np.random.default_rng(1).integers(0, 256, (6, 8, 1), np.uint8), 3, axis=2)
    back = to_bgr(RawFrame(in_nv12(grey), packed("NV12", (6, 8))))
    assert np.abs(back.astype(int) - grey).max() <= 2


@pytest.mark.slow
def test_a_jetson_from_end_to_end(player: Player) -> None:
    """JetPack 7.2 in this environment, whose pip lines are not run; measurements are short."""
    run_over(10, "")  # or skipped
    if not shutil.which(COMPILER):
        pytest.skip(f"no {COMPILER} for the emulated driver")
    write_model(player.folder)
    player.libraries, player.short = _libraries(10), True
    results = list(play(player))
    assert [one for one in results if one.wrong] == []
    assert [one.command for one in results if one.how == "run"] == [
        command.text
        for command in commands((ROOT / JETSON).read_text())
        if command.text.startswith("ssd-edge") and command.only in {"", "JetPack 7.2"}
    ]

from __future__ import annotations

from pathlib import Path

import pytest

from ssd_edge.data.synthetic import LABELS as PARTS
from ssd_edge.errors import WatchError
from ssd_edge.tracking.plan import Line, Plan, Zone
from ssd_edge.tracking.tracker import Settings
from ssd_edge.tracking.watch_file import WatchReader

LABELS, SCORES = ("bolt", "nut", "washer"), (0.5, 0.4, 0.3)
ZONE = "zones:\n  - name: press\n    points: [[0.1, 0.1], [0.5, 0.1], [0.5, 0.9]]\n"


def read(tmp_path: Path, text: str) -> Plan:
    file = tmp_path / "watch.yaml"
    file.write_text(text, "utf-8")
    return WatchReader(file).plan(LABELS, SCORES)


def test_a_whole_file(tmp_path: Path) -> None:
    text = """
        frame: 640x480
        classes: {bolt: 0.7, nut: }
        tracking: {low: 0.2, lost: 2}
        margin: 0
        zones:
          - {name: press, points: [[0, 0], [320, 0], [320, 480]], classes: [nut], min_time: 1.5, anchor: centre}
          - {name: Wäge, points: [[0, 0], [64, 0], [64, 48]]}
        lines:
          - {name: gate, points: [[320, 0], [320, 480]]}
    """
    assert read(tmp_path, text) == Plan(
        Settings((0.7, 0.4, 0.3), 0.2, 2.0),
        frozenset({0, 1}),
        (
            Zone("press", ((0, 0), (0.5, 0), (0.5, 1)), frozenset({1}), "centre", 1.5),
            Zone("Wäge", ((0, 0), (0.1, 0), (0.1, 0.1))),
        ),
        (Line("gate", ((0.5, 0), (0.5, 1))),),
        0.0,
        (480, 640),
    )


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "tracking.md"
    example = page.read_text("utf-8").split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "watch.yaml"
    file.write_text(example, "utf-8")
    plan = WatchReader(file).plan(PARTS, [0.5] * len(PARTS))
    assert [place.name for place in (*plan.zones, *plan.lines)] == ["press", "outlet", "gate"]


def test_what_is_not_named_is_as_usual(tmp_path: Path) -> None:
    assert read(tmp_path, "margin: 0.01\n") == Plan(Settings(SCORES))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("zonez: []\n", "line 1: there is no setting 'zonez'; did you mean zones?"),
        (ZONE + "    min_tmie: 3\n", "line 4: there is no setting 'min_tmie'; did you mean min_time?"),
        ("tracking:\n  qqq: 3\n", "line 2: there is no setting 'qqq'; there are lost, low"),
        ("zones:\n  - points: [[0, 0], [1, 0], [1, 1]]\n", "line 2: zones[0] needs name"),
        (ZONE.replace("0.9]", "x]"), "line 3: zones[0].points[2][1] is of the wrong type: Expected float, got str"),
        (ZONE.replace(", 0.9]", "]"), "line 3: zones[0].points[2] is of the wrong type: Expected array of length 2"),
        (
            ZONE + "    anchor: left\n",
            "line 4: zones[0].anchor must be one of bottom, centre, top: Inv",
        ),
        ("classes: {bolt: high}\n", "line 1: classes.bolt is of the wrong type: Expected float | null, got str"),
        (ZONE.replace("0.9", "1.9"), "line 3: the zone 'press' has the point [0.5, 1.9] outside the frame (0 … 1, as"),
        (
            "frame: 9x9\n" + ZONE.replace("0.9", "9.1"),
            "line 4: the zone 'press' has the point [0.5, 9.1] outside the fr",
        ),
        (ZONE.replace("0.9", ".nan"), "line 3: the zone 'press' has the point [0.5, nan] outside the frame"),
        (ZONE.replace("0.9", ".inf"), "line 3: the zone 'press' has the point [0.5, inf] outside the frame"),
        (ZONE.replace(", [0.5, 0.9]", ""), "line 3: the zone 'press' has 2 points, but needs at least 3"),
        (ZONE.replace("0.9]", "0.9], [0.3, 0]"), "line 3: the zone 'press' crosses itself: side 1 meets side 3"),
        (ZONE + ZONE[7:], "line 4: another zone 'press' has that name already"),
        (
            ZONE + "lines:\n  - name: press\n    points: [[0, 0], [1, 1]]\n",
            "line 5: another zone 'press' has that name",
        ),
        ("lines:\n  - name: a\n    points: [[0, 0]]\n", "line 3: the line 'a' has 1 point, but needs 2"),
        ("lines:\n  - name: a\n    points: [[0, 0], [0, 0]]\n", "line 3: the line 'a' has the same point twice"),
        ("classes: {blot: 0.5}\n", "line 1: the model has no class 'blot'; did you mean bolt?"),
        (ZONE + "    classes: [nut, nat]\n", "line 4: the model has no class 'nat'; did you mean nut?"),
        ("classes: {nut: }\n" + ZONE + "    classes: [bolt]\n", "line 5: 'press' counts 'bolt', which is not among"),
        ("classes:\n  bolt: 1.5\n", "line 2: classes.bolt must lie between 0 and 1, but is 1.5"),
        ("margin: .nan\n", "line 1: margin must lie between 0 and 1, but is nan"),
        ("tracking: {low: -1}\n", "line 1: tracking.low must lie between 0 and 1, but is -1"),
        ("tracking: {lost: .inf}\n", "line 1: tracking.lost must be 0 seconds or more, but is inf"),
        (ZONE + "    min_time: -1\n", "line 4: zones[0].min_time must be 0 seconds or more, but is -1"),
        ("frame: wide\n", "line 1: frame: a size is WIDTHxHEIGHT in pixels, such as 512x288, but got 'wide'"),
        ("margin: 0\nmargin: 1\n", "line 2: 'margin' was given before, in line 1"),
        ("a: {\n", "line 2: the watch file is no YAML"),
        ("", "the watch file {file} must hold settings, one KEY: VALUE a line, but holds None"),
        ("a: &a [*a]\n", "line 1: there is no setting 'a'"),
        ("a: !!python/object/apply:os.system [ls]\n", "the watch file is no YAML"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(WatchError) as raised:
        read(tmp_path, text)
    assert sentence.replace("{file}", str(tmp_path / "watch.yaml")) in str(raised.value)
    assert str(tmp_path / "watch.yaml") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WatchError, match=r"cannot read the watch file .*none\.yaml: No such file"):
        WatchReader(tmp_path / "none.yaml")
    with pytest.raises(WatchError, match=r"cannot read the watch file .*: Is a directory"):
        WatchReader(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WatchError, match="is not text in UTF-8"):
        WatchReader(tmp_path / "a.yaml")


def test_aliases_that_would_fill_the_memory_do_not(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 8)}]" for k in range(1, 12)]
    with pytest.raises(WatchError, match="there is no setting 'a0'"):
        read(tmp_path, "\n".join(lines))

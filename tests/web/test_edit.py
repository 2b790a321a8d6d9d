"""Zones and lines in a YAML file that a person wrote: what changes, and what stays."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.errors import PageError, WatchError
from ssd_edge.tracking.watch_edit import with_places
from ssd_edge.web.store import WatchStore, as_yaml
from ssd_edge.web.tuning import Tuning
from tests.helpers import small_spec

MINE = """\
# my watch
frame: 640x480   # pixels
zones:
  # the press
  - name: press   # here
    points: [[260, 70], [460, 70], [500, 420]]
    min_time: 1.5  # s
  # the outlet
  - name: outlet
    points:
      - [0, 250]
      - [110, 250]
      - [110, 440]

# the lines
lines:
  - {name: gate, points: [[150, 40], [150, 440]]}
# end
"""
TRIANGLE = {"name": "new", "points": [[0, 0], [1, 0], [1, 1]]}


def places(text):
    content = yaml.safe_load(text)
    return {"zones": content["zones"], "lines": content["lines"]}


def test_nothing_changes_where_nothing_does():
    assert with_places(MINE, places(MINE)) == MINE


def test_only_the_changed_zone_is_written_anew():
    new = places(MINE)
    new["zones"][1] = {**new["zones"][1], "points": [[1, 2], [3, 4], [5, 9]]}
    text = with_places(MINE, new)
    assert text.replace("    points: [[1, 2], [3, 4], [5, 9]]\n", "") == MINE.replace(
        "    points:\n      - [0, 250]\n      - [110, 250]\n      - [110, 440]\n", ""
    )


def test_a_zone_that_is_gone_takes_its_comments_along():
    new = places(MINE)
    del new["zones"][0]
    assert with_places(MINE, new) == MINE.replace(
        "  # the press\n  - name: press   # here\n    points: [[260, 70], [460, 70], [500, 420]]\n"
        "    min_time: 1.5  # s\n",
        "",
    )


@pytest.mark.parametrize(
    "text",
    [
        "margin: 0.1",
        "margin: 0.1\n# end\n",
        "{margin: 0.1}",
        "{margin: 0.1, zones: [], lines: []}",
        "zones:\nlines:\n",
        "zones: []\nlines: []\nmargin: 0.1\n",
        'zones:\n- name: "a"\n  points: [[0, 0], [1, 0], [1, 1]]\n',
    ],
)
def test_every_form_of_a_file_takes_a_zone_and_a_line(text):
    line = {"name": "gate: über", "points": [[0, 0], [1, 1]]}
    new = with_places(text, {"zones": [TRIANGLE], "lines": [line]})
    before = yaml.safe_load(text)
    assert yaml.safe_load(new) == {**before, "zones": [TRIANGLE], "lines": [line]}
    empty = with_places(new, {"zones": [], "lines": []})
    assert yaml.safe_load(empty) == {**before, "zones": [], "lines": []}


def test_a_watch_that_is_a_part_of_another_file():
    text = (
        "cameras:\n  a:\n    watch:\n      zones:\n      - name: x\n        points: [[0,0],[1,0],[1,1]]\n    fps: 3\n"
    )
    new = with_places(text, {"zones": [TRIANGLE], "lines": []}, ("cameras", "a", "watch"))
    assert yaml.safe_load(new) == {"cameras": {"a": {"watch": {"zones": [TRIANGLE]}, "fps": 3}}}
    with pytest.raises(WatchError, match=r"no settings to change at cameras\.b\.watch"):
        with_places(text, {"zones": [TRIANGLE], "lines": []}, ("cameras", "b", "watch"))


PARENTS = [
    "cameras:\n  a:\n    source: x   # there\n    # of b\n  b:\n    source: y\n",
    "cameras:\n  a:\n    outputs:\n      json:   # none\n# end",
    "cameras:\n  a:\n    watch:   # nothing yet\n    source: x\n",
    "cameras:\n  a:\n    watch: ~  # nothing yet\n    source: x\n",
    "cameras:\n  a: {source: x}   # a\n  b: {source: y}\n",
    "cameras:\n  a: {source: x, watch: , fps: 3}\n",
    '{"cameras": {"a": {"source": "x"}}}',
    "cameras:\n  a:\n    source: x",
]


@pytest.mark.parametrize("text", PARENTS)
def test_a_watch_that_is_not_there_yet_is_written_beside_the_other_settings(text):
    inside = ("cameras", "a", "watch")
    before = yaml.safe_load(text)
    assert with_places(text, {"zones": [], "lines": []}, inside) == text
    new = with_places(text, {"zones": [TRIANGLE], "lines": []}, inside)
    after = yaml.safe_load(new)
    assert after["cameras"]["a"].pop("watch") == {"zones": [TRIANGLE]}
    before["cameras"]["a"].pop("watch", None)
    assert after == before
    assert re.findall("#.*", new) == re.findall("#.*", text)


def test_a_camera_that_is_all_alias_gets_no_watch_in_the_wrong_place():
    text = "usual: &usual {source: x}\ncameras:\n  a: *usual\n"
    with pytest.raises(WatchError, match="without aliases"):
        with_places(text, {"zones": [TRIANGLE], "lines": []}, ("cameras", "a", "watch"))


def test_a_file_with_aliases_is_refused_and_not_spoilt():
    text = "zones: &all\n- name: x\n  points: [[0,0],[1,0],[1,1]]\nlines: *all\n"
    with pytest.raises(WatchError, match="without aliases"):
        with_places(text, {"zones": [TRIANGLE], "lines": []})


_names = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
_points = st.lists(st.lists(st.floats(0, 1).map(lambda x: round(x, 4)), min_size=2, max_size=2), min_size=3, max_size=5)
_zones = st.lists(
    st.fixed_dictionaries({"name": _names, "points": _points}), max_size=4, unique_by=lambda zone: zone["name"]
)


@given(first=_zones, second=_zones)
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_is_read_again(first, second):
    once = with_places(MINE, {"zones": first, "lines": []})
    twice = with_places(once, {"zones": second, "lines": []})
    assert yaml.safe_load(twice) == {"frame": "640x480", "zones": second, "lines": []}
    assert yaml.safe_load(as_yaml({"margin": 0.1, "zones": first})) == {
        "margin": 0.1,
        **({"zones": first} if first else {}),
    }


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "watch.yaml"
    path.write_text(MINE)
    return path


def test_places_that_come_back_from_the_page_leave_the_file_as_it_is(mine):
    tuning = Tuning(small_spec(), None, WatchStore(mine))
    tuning.change_places(tuning.places())
    assert mine.read_text() == MINE


def test_points_are_written_in_the_files_unit_and_counts_go_on(mine):
    tuning = Tuning(small_spec(), None, WatchStore(mine))
    old = tuning.watch
    tally = old._places[0].tally
    new = tuning.places()
    zone = {"name": "new", "points": [[0.5, 0.5], [1.0, 0.5], [1.0, 1.0]], "anchor": "centre", "classes": ["nut"]}
    tuning.change_places({"zones": [*new["zones"], zone], "lines": new["lines"]})
    assert yaml.safe_load(mine.read_text())["zones"][2] == {
        "name": "new",
        "points": [[320.0, 240.0], [640.0, 240.0], [640.0, 480.0]],
        "classes": ["nut"],
        "anchor": "centre",
    }
    assert tuning.watch is not old
    assert tuning.watch._places[0].tally is tally
    assert tuning.watch._tracker is old._tracker


@pytest.mark.parametrize(
    ("zone", "sentence"),
    [
        ({"points": [[0, 0], [1, 1], [1, 0], [0, 1]]}, "crosses itself"),
        ({"points": [[0, 0], [1, 1], [1, 0]], "classes": ["gear"]}, "no class 'gear'"),
        ({"name": "gate", "points": [[0, 0], [1, 1], [1, 0]]}, "has that name already"),
    ],
)
def test_what_cannot_be_watched_is_refused_and_nothing_changes(mine, zone, sentence):
    tuning = Tuning(small_spec(), None, WatchStore(mine))
    before, watch = tuning.places(), tuning.watch
    with pytest.raises(WatchError, match=sentence) as error:
        tuning.change_places({"zones": [{"name": "new", **zone}], "lines": before["lines"]})
    assert str(mine.parent) not in str(error.value)
    assert mine.read_text() == MINE
    assert tuning.watch is watch


def test_a_file_that_someone_else_changed_is_not_overwritten(mine):
    tuning = Tuning(small_spec(), None, WatchStore(mine))
    mine.write_text(MINE + "margin: 0.05\n")
    with pytest.raises(PageError, match="changed by someone else"):
        tuning.change_places({"zones": [], "lines": []})
    assert mine.read_text() == MINE + "margin: 0.05\n"


def test_what_someone_else_changed_beside_the_watch_stays(tmp_path):
    """Two cameras of one file each write their own part of it, and a person a third one."""
    path = tmp_path / "service.yaml"
    path.write_text("cameras:\n  a: {source: x}\n  b:\n    source: y\n    watch: {margin: 0.02}\n")
    first = Tuning(small_spec(), None, WatchStore(path, ("cameras", "a", "watch")))
    second = Tuning(small_spec(), None, WatchStore(path, ("cameras", "b", "watch"), {"margin": 0.02}))
    assert first.watch is None
    first.change_places({"zones": [TRIANGLE], "lines": []})
    path.write_text(path.read_text() + "  c: {source: z}   # new\n")
    second.change_places({"zones": [TRIANGLE], "lines": []})
    written = {key: TRIANGLE[key] for key in ("name", "points")}
    assert yaml.safe_load(path.read_text())["cameras"] == {
        "a": {"source": "x", "watch": {"zones": [written]}},
        "b": {"source": "y", "watch": {"margin": 0.02, "zones": [written]}},
        "c": {"source": "z"},
    }
    assert path.read_text().endswith("  c: {source: z}   # new\n")
    path.write_text(path.read_text().replace("0.02", "0.03"))
    with pytest.raises(PageError, match=r"service\.yaml was changed by someone else"):
        second.change_places({"zones": [], "lines": []})
    first.change_places({"zones": [], "lines": []})
    assert first.store.part == {"zones": []}


def test_a_file_that_cannot_be_written_stays_and_so_does_what_is_watched(mine, monkeypatch):
    tuning = Tuning(small_spec(), None, WatchStore(mine))
    watch = tuning.watch

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ssd_edge.web.store.write_text_whole", full)
    with pytest.raises(PageError, match="cannot be written: No space left"):
        tuning.change_places({"zones": [], "lines": []})
    assert mine.read_text() == MINE
    assert tuning.watch is watch


def test_without_a_file_zones_last_for_the_run_and_can_be_taken_along():
    tuning = Tuning(small_spec())
    assert tuning.watch is None
    tuning.change_places({"zones": [TRIANGLE], "lines": []})
    assert tuning.watch.plan.zones[0].name == "new"
    assert yaml.safe_load(tuning.as_yaml()) == {"zones": [TRIANGLE]}


def test_a_score_from_the_page_is_stronger_than_the_files(tmp_path):
    path = tmp_path / "watch.yaml"
    path.write_text("classes: {bolt: 0.9, nut: }\n")
    tuning = Tuning(small_spec(), 0.4, WatchStore(path))
    assert tuple(tuning.watch.plan.settings.begin) == pytest.approx((0.9, 0.4))
    tuning.change_score(0.3)
    assert tuple(tuning.watch.plan.settings.begin) == pytest.approx((0.3, 0.3))
    tuning.change_score(None)
    assert tuple(tuning.watch.plan.settings.begin) == pytest.approx((0.9, 0.5))
    with pytest.raises(PageError, match=r"between 0\.1 and 1"):
        tuning.change_score(0.05)

"""The journal, and engines by version in a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ssd_edge.errors import ModelError
from ssd_edge.swap.journal import Journal, identity
from ssd_edge.swap.versions import STABLE, Watched, natural, newest, start_model, versions


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "s.yaml.swaps.jsonl")


def test_lines_are_kept_and_an_unfinished_one_is_passed_over(journal):
    assert list(journal.entries()) == []
    journal.write("started", Path("a"), "1")
    with journal.path.open("ab") as file:
        file.write(b'{"event": "tri')
    journal.write("refused", Path("b"), "2", "too slow")
    assert [one["event"] for one in journal.entries()] == ["started", "refused"]
    assert journal.unfit() == {"2": "too slow"}


def test_a_crash_on_probation_is_remembered_and_an_end_of_the_service_is_not(journal):
    for event in ("started", "tried", "took over"):
        journal.write(event, Path("b"), "2")
    assert journal.unfit() == {}
    journal.write("started", Path("a"), "1")
    assert journal.unfit() == {"2": "the process ended while it was on probation"}
    for event in ("tried", "took over", "ended", "started"):
        journal.write(event, Path("b"), "2")
    assert journal.unfit() == {}


def test_versions_are_ordered_as_people_do():
    names = ["v10.engine", "v9.engine", "v9.1.engine", "V1.engine"]
    assert sorted(names, key=natural) == ["V1.engine", "v9.engine", "v9.1.engine", "v10.engine"]
    dates = ["2026-11-02.engine", "2026-2-13.engine", "2026-2-3.engine"]
    assert sorted(dates, key=natural, reverse=True) == dates
    assert natural("V2") == natural("v2.engine")


def test_the_newest_that_is_whole_and_not_refused(tmp_path, bundle, journal):
    folder = tmp_path / "models"
    for name in ("v1.engine", "v2.engine", "v10.engine", ".v11.engine"):
        shutil.copytree(bundle, folder / name)
    assert versions(folder)[0].name == "v10.engine"
    (folder / "v10.engine" / "heads.bin").write_bytes(b"")
    assert newest(folder, {}).name == "v2.engine"
    assert start_model(folder, journal).name == "v2.engine"
    assert start_model(folder / "v1.engine", journal).name == "v1.engine"
    journal.write("refused", folder / "v2.engine", identity(bundle), "slow")
    with pytest.raises(ModelError, match="holds none that is whole and was not refused"):
        start_model(folder, journal)


def test_a_newer_one_is_noticed_once_it_is_complete(tmp_path, bundle, journal):
    folder, now = tmp_path / "models", [0.0]
    shutil.copytree(bundle, folder / "v1.engine")
    watched = Watched(journal, lambda: now[0])

    def look():
        now[0] += STABLE
        return watched.look(folder, folder / "v1.engine")

    assert look() is None
    new = folder / "v2.engine"
    new.mkdir()
    for file in sorted(bundle.iterdir(), reverse=True):
        assert look() is None
        shutil.copy(file, new / file.name)
    whole = (new / "heads.bin").read_bytes()
    (new / "heads.bin").write_bytes(whole[:-1])
    assert [look() for _ in range(4)] == [None] * 4
    (new / "heads.bin").write_bytes(whole)
    assert look() is None
    assert look() == new
    manifest = json.loads((new / "manifest.json").read_text())
    assert manifest["plans"]
    journal.write("refused", new, identity(new), "slow")
    assert [look() for _ in range(3)] == [None] * 3


def test_an_exchange_for_an_older_one_or_one_from_elsewhere_is_not_undone(tmp_path, bundle, journal):
    folder, now = tmp_path / "models", [0.0]
    for name in ("v0.engine", "v1.engine", "v2.engine"):
        shutil.copytree(bundle, folder / name)

    def looks(watched, working):
        for _ in range(2):
            now[0] += STABLE
            found = watched.look(folder, working)
        return found

    watched = Watched(journal, lambda: now[0])
    assert looks(watched, tmp_path / "first.engine") == folder / "v2.engine", "the folder is new"
    for working in (folder / "v2.engine", folder / "v1.engine", tmp_path / "other.engine"):
        assert looks(watched, working) is None
    shutil.copytree(bundle, folder / "v3.engine")
    assert looks(watched, tmp_path / "other.engine") == folder / "v3.engine"

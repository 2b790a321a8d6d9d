"""Names of recordings sort in their order, never collide, and are told from all other files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssd_edge.outputs import series as module
from ssd_edge.outputs.series import Series


def begun(series: Series, about: str = "", at: float | None = None) -> str:
    path, file = series.begin(".mp4", about, at)
    file.close()
    return path.name


def test_names_have_number_time_and_what_it_is_about(tmp_path: Path) -> None:
    series = Series(tmp_path, "out", [".mp4"])
    assert begun(series, at=1_785_498_619.9) == "out-00000001-20260731T115019Z.mp4"
    assert begun(series, "door-entered", 0.0) == "out-00000002-19700101T000000Z-door-entered.mp4"


def test_order_holds_through_restarts_and_clocks_that_jump(tmp_path: Path) -> None:
    names = []
    for at in (5000.0, 1000.0, 9000.0, 9000.0, 0.0):
        names.append(begun(Series(tmp_path, "out", [".mp4"]), at=at))
    assert names == sorted(names)
    assert len(set(names)) == 5
    listed = Series(tmp_path, "out", [".mp4"]).listed()
    assert [recording.paths[0].name for recording in listed] == names


def test_numbers_go_on_after_all_were_removed(tmp_path: Path) -> None:
    series = Series(tmp_path, "out", [".mp4"])
    for number in range(1, 4):
        name = begun(series)
        assert f"-{number:08d}-" in name
        (tmp_path / name).unlink()


def test_two_that_begin_at_once_do_not_take_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Series(tmp_path, "out", [".mp4"]), Series(tmp_path, "out", [".mp4"])
    monkeypatch.setattr(second, "listed", list)  # it has not seen the other's
    assert begun(first, at=0.0) != begun(second, at=0.0)
    assert len(list(tmp_path.iterdir())) == 2


def test_only_files_of_ours_are_listed(tmp_path: Path) -> None:
    series = Series(tmp_path, "my.out+", [".mp4", ".json"])
    ours = begun(series, "a-b")
    (tmp_path / ours.replace(".mp4", ".json")).write_text("12345")
    stamp = "00000007-20260731T115019Z"
    others = [
        *(
            "my.out+.mp4",
            f"my.out+-{stamp}.avi",
            f"my.out+-{stamp}.mp4.part",
            f"my_out+-{stamp}.mp4",
            f"out-{stamp}.mp4",
        ),
        *(
            f"xmy.out+-{stamp}.mp4",
            "my.out+-7-20260731T115019Z.mp4",
            "my.out+-00000007-2026.mp4",
            f"my.out+-{stamp}x.mp4",
        ),
    ]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / f"my.out+-{stamp}-folder.mp4").mkdir()
    (tmp_path / f"my.out+-{stamp}-link.mp4").symlink_to(tmp_path / "my.out+.mp4")
    (recording,) = series.listed()
    assert [path.name for path in recording.paths] == [ours.replace(".mp4", ".json"), ours]
    assert (recording.number, recording.size) == (1, 5)


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert Series(tmp_path / "none", "out", [".mp4"]).listed() == []


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    name = begun(Series(tmp_path, "불" * 80, [".mp4"]))
    assert len(name.encode()) < 143
    assert re.fullmatch(r"불+-00000001-\d{8}T\d{6}Z\.mp4", name)
    assert len(Series(tmp_path, "불" * 80, [".mp4"]).listed()) == 1
    assert module.shortened("불" * 80, 90) == "불" * 30

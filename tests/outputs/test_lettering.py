"""Class names in any script on frames, and names of the files that a sink writes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageDraw

from ssd_edge.detections import Detections
from ssd_edge.loop.run import run_loop
from ssd_edge.outputs import fonts, lettering
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.file_names import numbered_name
from ssd_edge.outputs.images import Images
from ssd_edge.outputs.lettering import Name, extent, names_not_shown, names_of, write
from ssd_edge.stream.files import ImageSource
from tests.helpers import shared

ACCENTS = "Größe ñandú Žluťoučký"
CYRILLIC = "Дефект шва"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget what was found about fonts before and after a test that changes it."""

    def forget() -> None:
        for cached in (names_of, fonts.font_with, fonts._font_files, fonts.opened, lettering._opencv_has):
            getattr(cached, "cache_clear", lambda: None)()

    forget()
    yield
    forget()


@pytest.fixture
def old_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as OpenCV before 5, whose fonts hold ASCII only."""
    monkeypatch.setattr(lettering, "_opencv_has", str.isascii)


@pytest.fixture
def no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "font_with", lambda _: None)


def font_for(text: str) -> Path:
    path = fonts.font_with(text)
    if path is None:
        pytest.skip(f"no font of this machine has {text}")
    return path


def one(box: tuple[float, float, float, float]) -> Detections:
    return Detections(np.float32([box]), np.float32([0.5]), np.int64([0]))


def test_ascii_is_drawn_by_opencv() -> None:
    assert names_of(("bolt", "nut M3")) == (Name("bolt"), Name("nut M3"))
    assert names_of(()) == ()
    assert names_not_shown(("bolt", "")) == ""


@pytest.mark.skipif(int(cv2.__version__.partition(".")[0]) < 5, reason="OpenCV's own fonts hold ASCII only before 5")
def test_opencv_5_draws_many_scripts_itself() -> None:
    labels = ("불량", "缺陷品", CYRILLIC, ACCENTS)
    assert names_of(labels) == tuple(map(Name, labels))
    pictures = [annotate(np.zeros((120, 320, 3), np.uint8), one((10, 60, 300, 100)), (label,)) for label in labels]
    unknown = annotate(np.zeros((120, 320, 3), np.uint8), one((10, 60, 300, 100)), ("??",))
    assert all(not np.array_equal(picture, unknown) for picture in pictures)


@pytest.mark.usefixtures("old_opencv")
@pytest.mark.parametrize("label", [ACCENTS, CYRILLIC])
def test_a_font_of_the_system_is_used_where_opencv_has_no_glyph(label: str) -> None:
    path = font_for(label + " 0123456789.")
    assert names_of((label, "bolt")) == (Name(label, path), Name("bolt"))
    assert names_not_shown((label,)) == ""


@pytest.mark.usefixtures("old_opencv")
def test_the_written_pixels_are_pillows() -> None:
    """White on black, the picture is the opacity that Pillow's own drawing gives."""
    path = font_for(CYRILLIC)
    name = Name(CYRILLIC, path)
    picture = np.zeros((60, 300, 3), np.uint8)
    write(picture, name, CYRILLIC, (20, 40), 0.7, (255, 255, 255))
    right = PillowImage.new("L", (300, 60))
    ImageDraw.Draw(right).text((20, 40), CYRILLIC, 255, fonts.opened(path, 20), anchor="ls")  # 0.7 · 21 · 1.35
    assert np.abs(picture.astype(int) - np.asarray(right, int)[..., None]).max() <= 1
    rows, columns = np.nonzero(picture[..., 0])
    room = extent(name, CYRILLIC, 0.7)
    assert columns.max() < 20 + room.width
    assert 40 - room.height <= rows.min()
    assert rows.max() < 40 + room.depth
    assert room.height > 10


@pytest.mark.usefixtures("old_opencv")
@pytest.mark.parametrize("start", [(-500, 20), (-20, 20), (290, 20), (500, 20), (5, -50), (5, 3), (5, 70), (5, 500)])
def test_what_lies_outside_is_cut_off(start: tuple[int, int]) -> None:
    name = Name(ACCENTS, font_for(ACCENTS))
    wide = np.full((300, 1000, 3), 9, np.uint8)
    write(wide, name, ACCENTS, (start[0] + 300, start[1] + 100), 0.7, (0, 200, 0))
    picture = np.full((60, 300, 3), 9, np.uint8)
    write(picture, name, ACCENTS, start, 0.7, (0, 200, 0))
    if -250 < start[0] < 600 and -90 < start[1] < 150:
        np.testing.assert_array_equal(picture, wide[100:160, 300:600])
    else:
        assert (picture == 9).all()


@pytest.mark.usefixtures("old_opencv")
@pytest.mark.parametrize("box", [(0, 0, 5, 5), (150, 110, 160, 120), (0, 115, 160, 120)])
def test_tags_stay_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    font_for(CYRILLIC)
    image = np.zeros((120, 160, 3), np.uint8)
    picture = annotate(image, one(box), (CYRILLIC,))
    assert (picture != 0).any(axis=2).sum() > 500
    annotate(np.zeros((3, 3, 3), np.uint8), one((0, 0, 3, 3)), (CYRILLIC,))  # smaller than any tag


@pytest.mark.usefixtures("old_opencv", "no_font")
def test_without_a_font_names_become_latin_or_numbers() -> None:
    labels = ("불량", "Größe", "ñandú", "bolt", "Æble Łódź", "Дефект")
    shown = [name.text for name in names_of(labels)]
    assert shown == ["class 1", "Grosse", "nandu", "bolt", "AEble Lodz", "class 6"]
    sentence = names_not_shown(labels)
    assert "불량 as class 1, Größe as Grosse, ñandú as nandu, Æble Łódź as AEble Lodz, Дефект as class 6" in sentence
    assert "bolt" not in sentence
    assert sentence.count("\n") == 0
    assert "and 2 more" in names_not_shown(tuple("가나다라마바사"))


@pytest.mark.usefixtures("old_opencv", "no_font")
def test_names_without_a_font_are_drawn_as_their_numbers() -> None:
    image = np.zeros((120, 320, 3), np.uint8)
    detections = one((10, 60, 300, 100))
    np.testing.assert_array_equal(annotate(image, detections, ("불량",)), annotate(image, detections, ("class 1",)))


def test_decomposed_names_and_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_opencv_has", lambda _: True)
    names = names_of((unicodedata.normalize("NFD", "불량"), "a\nb\tc", "\udcba"))
    assert [name.text for name in names] == ["불량", "a b c", " "]


@pytest.mark.usefixtures("no_font")
def test_scripts_from_right_to_left_are_not_left_to_opencv() -> None:
    assert [name.text for name in names_of(("عيب", "פגם"))] == ["class 1", "class 2"]


def test_files_that_are_no_fonts_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path, tmp_path / "absent"])
    assert fonts.font_with("a") is None
    fonts.font_with.cache_clear()
    fonts._font_files.cache_clear()
    (tmp_path / "a.ttf").write_text("no font")
    (tmp_path / "b.ttf").touch()
    assert fonts.font_with("a") is None


def test_a_font_without_a_glyph_is_passed_over() -> None:
    path = font_for("a")
    assert fonts._has(path, "a b")
    assert not fonts._has(path, "a\U0010fffd")  # for private use: no font of a system has it


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any) -> Any:
        raise ImportError("No module named 'PIL'")

    monkeypatch.setattr(fonts, "opened", absent)
    assert fonts.font_with("é") is None


# File names.


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (None, "000007.jpg"),
        ("a.png", "000007-a.jpg"),
        ("a.b.png", "000007-a.b.jpg"),
        (unicodedata.normalize("NFD", "불량 0.jpg"), "000007-불량 0.jpg"),
        ("12:30:05.png", "000007-12_30_05.jpg"),
        ('<a>|"b"?*.png', "000007-_a___b___.jpg"),
        ("a\nb.png", "000007-a_b.jpg"),
        ("... .png", "000007.jpg"),
        (os.fsdecode(b"\xff\xfe.jpg"), "000007-__.jpg"),
        ("a" * 300 + ".png", "000007-" + "a" * 129 + ".jpg"),
        ("가" * 83 + ".png", "000007-" + "가" * 43 + ".jpg"),  # 249 bytes and the suffix
        ("a" * 128 + "q\u0323\u0301.png", "000007-" + "a" * 128 + ".jpg"),  # q with its two marks has five bytes
    ],
)
def test_names_of_files(source: str | None, name: str) -> None:
    assert numbered_name(7, source) == name
    assert len(name.encode()) <= 140


def test_pictures_of_any_name_are_written(tmp_path: Path, make_detector: Any) -> None:
    names = ["가" * 83 + ".png", unicodedata.normalize("NFD", "불량 1.png"), "z.png"]
    if os.name == "posix":
        names.append(os.fsdecode(b"\xba\xd2.png"))
    _, data = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "in").mkdir()
    written = []
    for name in names:
        try:
            (tmp_path / "in" / name).write_bytes(data.tobytes())
        except OSError:  # this file system refuses it
            continue
        written.append(tmp_path / "in" / name)
    source, sink = ImageSource(tmp_path / "in", written), Images(tmp_path / "out", ("bolt", "nut"))
    report = run_loop(make_detector(), source, [sink])
    assert report.processed == len(written)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        numbered_name(i, path.name) for i, path in enumerate(written)
    ]


def test_reported_names(tmp_path: Path, make_detector: Any) -> None:
    folder = shared("cases/24-long-name")
    files = sorted(folder.iterdir())
    run_loop(make_detector(), ImageSource(folder, files), [Images(tmp_path, ("bolt", "nut"))])
    assert len(list(tmp_path.iterdir())) == 2

"""Files written completely or not at all, and folders that are exchanged."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from pathlib import Path

import pytest

from ssd_edge import files
from ssd_edge.files import replace_folder, sha256, shortened, write_text_whole, written_whole
from ssd_edge.machine.host import this_host


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_sha256(tmp_path, size):
    """The reference is hashlib on the whole content; sizes lie around that of a block."""
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(content[:size])
    assert sha256(tmp_path / "a") == hashlib.sha256(content[:size]).hexdigest()


def test_a_file_is_written_and_nothing_is_left_beside_it(tmp_path):
    with written_whole(tmp_path / "deep" / "er" / "a.txt") as partial:
        partial.write_text("new")
        assert not (tmp_path / "deep/er/a.txt").exists()
    assert (tmp_path / "deep/er/a.txt").read_text() == "new"
    assert len(list((tmp_path / "deep/er").iterdir())) == 1


def test_a_file_is_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with written_whole(tmp_path / "a.txt") as partial:
        partial.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")

    def fail():
        with written_whole(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    file = tmp_path / "a.txt"
    file.write_text("old")
    file.chmod(mode)
    write_text_whole(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("name", ["가" * 85, "a" * 255, "x" * 251 + ".txt"])
def test_a_name_as_long_as_the_system_allows(tmp_path, name):
    with written_whole(tmp_path / name) as partial:
        partial.write_text("new")
    assert (tmp_path / name).read_text() == "new"


def test_names_are_shortened_to_whole_letters():
    assert shortened("가나.jpg") == "가나.jpg"
    assert shortened("가나다", 8) == "가나"
    assert shortened("", 8) == ""
    assert shortened("\udcb0\udca1") == "\udcb0\udca1"


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match=r"a\.txt"), written_whole(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.fixture
def on_disk(monkeypatch):
    """List what is brought to the disk or renamed, in order: names of what is synced, and ``old -> new``."""
    steps = []
    fsync, replace, exchanged = os.fsync, Path.replace, files._exchanged

    def logged_fsync(descriptor):
        steps.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def logged_replace(self, target):
        steps.append(f"{self.name} -> {Path(target).name}")
        return replace(self, target)

    def logged_exchange(first, second):
        steps.append(f"{first.name} <> {second.name}")
        return exchanged(first, second)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "replace", logged_replace)
    monkeypatch.setattr(files, "_exchanged", logged_exchange)
    return steps


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are read from /proc")


@needs_proc
def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, on_disk):
    with written_whole(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert on_disk == [partial.name, f"{partial.name} -> a.txt", tmp_path.name]


@needs_proc
def test_a_folder_is_on_the_disk_before_it_takes_its_name(folders, on_disk, tmp_path):
    new, old = folders
    (new / "deep").mkdir()
    (new / "deep" / "file").write_text("1")
    replace_folder(new, old)
    assert on_disk[:5] == ["which", "new", "file", "deep", "new <> old"]
    assert on_disk[-1] == tmp_path.name


def test_a_disk_that_does_not_take_the_file_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")

    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"), written_whole(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_file_system_that_cannot_sync_is_no_error(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fail)
    with written_whole(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("name", ["x" * 255, "가" * 85])
def test_a_name_of_the_greatest_length(tmp_path, name):
    with written_whole(tmp_path / name) as partial:
        partial.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.fixture
def folders(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "which").write_text(name)
    return tmp_path / "new", tmp_path / "old"


def test_a_folder_takes_a_free_name(folders, tmp_path):
    new, _ = folders
    replace_folder(new, tmp_path / "name")
    assert (tmp_path / "name" / "which").read_text() == "new"
    assert not new.exists()


@pytest.mark.parametrize("exchange", [True, False], ids=["one step", "two renames"])
def test_folders_change_places(folders, monkeypatch, exchange):
    new, old = folders
    if not exchange:
        monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    replace_folder(new, old)
    assert (old / "which").read_text() == "new"
    assert (new / "which").read_text() == "old"
    assert {path.name for path in new.parent.iterdir()} == {"new", "old"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="renameat2 is Linux's")
def test_linux_changes_places_in_one_step(folders, monkeypatch):
    """If the file system supports it, Python's rename is not needed."""
    new, old = folders
    if not files._exchanged(new, old):
        pytest.skip("this file system cannot exchange two names")
    assert (old / "which").read_text() == "new"


def test_no_exchange_with_a_missing_folder(tmp_path):
    assert not files._exchanged(tmp_path / "a", tmp_path / "b")


def test_the_old_folder_comes_back_where_the_second_rename_fails(folders, monkeypatch):
    new, old = folders
    monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    original = type(new).replace

    def replace(self, target):
        if self == new:
            raise PermissionError("no")
        return original(self, target)

    monkeypatch.setattr(type(new), "replace", replace)
    with pytest.raises(PermissionError):
        replace_folder(new, old)
    assert (old / "which").read_text() == "old"
    assert (new / "which").read_text() == "new"


def test_a_user_without_a_home_has_no_cache(monkeypatch, tmp_path):
    """In a container a user may have neither HOME nor an entry in /etc/passwd."""

    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    cached = files.user_cache() / "kernels" / "one"
    assert not cached.exists()
    with pytest.raises(OSError, match=r"Not a directory|File exists"), written_whole(cached):
        pass
    assert this_host().home == Path("/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.user_cache() == tmp_path / "ssd-edge"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_names_the_file(tmp_path):
    """Python's error of a write names none, and the partial's name says nothing to a user."""

    def write():
        with written_whole(tmp_path / "a.txt"), Path("/dev/full").open("w") as full:
            full.write("more")

    with pytest.raises(OSError, match="No space left") as error:
        write()
    assert error.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(OSError, match="No such file") as error, written_whole(tmp_path / "a.txt"):
        pass
    assert error.value.filename == str(tmp_path / "a.txt")

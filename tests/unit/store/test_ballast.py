"""The ballast takes real room, only where there is plenty, and gives it back when asked."""

import os
from pathlib import Path

import pytest

from arwd import fs
from arwd.store.ballast import SIZE, Ballast


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ballast"


def test_it_takes_real_room_and_gives_it_back(path: Path) -> None:
    ballast = Ballast(path)
    assert ballast.make()
    assert path.stat().st_blocks * 512 >= SIZE == path.stat().st_size
    made = path.stat()
    assert ballast.make()
    assert path.stat() == made
    assert ballast.release()
    assert not path.exists()
    assert not ballast.release()
    assert ballast.make()


@pytest.mark.parametrize("length", [0, 1000, SIZE])
def test_one_that_takes_no_room_is_made_anew(path: Path, length: int) -> None:
    path.touch()
    os.truncate(path, length)
    assert Ballast(path).make()
    assert path.stat().st_blocks * 512 >= SIZE


def test_a_link_in_its_place_is_replaced_and_not_followed(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    path.symlink_to(other)
    assert Ballast(path).make()
    assert not other.exists()


def test_where_there_is_little_room_it_takes_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "free_bytes", lambda _: 2 * SIZE - 1)
    assert not Ballast(path).make()
    assert not path.exists()


def test_what_cannot_be_allocated_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert not Ballast(path).make()
    assert not path.exists()


def test_a_directory_in_its_place_is_nobodys_fault(path: Path) -> None:
    path.mkdir()
    assert not Ballast(path).make()
    assert not Ballast(path).release()

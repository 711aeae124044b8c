"""The commit point of a directory: all of the new one, or all of the old one, whatever the disk does."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from arwd import fs
from arwd.errors import PartChanged, StorageError
from arwd.store import identity, placing
from arwd.store.control import Checked, CheckedFile

OLD = {"a": b"old", "sub/b": b"older"}
NEW = {"a": b"new", "c": b"newer"}


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


def read(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def checked(directory: Path, files: dict[str, bytes]) -> Checked:
    found: tuple[CheckedFile, ...] = tuple(
        identity.as_checked(name, "0" * 64, (directory / name).stat()) for name in files
    )
    return Checked(sha256="", bytes=0, inode=directory.stat().st_ino, mtime_ns=0, files=found)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return write(tmp_path / "m.part", NEW)


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return write(tmp_path / "m", OLD)


def own(final: Path) -> set[Path]:
    return {final / name for name in OLD}


def refusing(monkeypatch: pytest.MonkeyPatch, name: str, on: int = 1) -> None:
    """The disk refuses the call of that number."""
    real: Callable[..., object] = getattr(fs, name)
    calls: list[object] = []

    def refuse(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == on:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    monkeypatch.setattr(fs, name, refuse)


def test_a_directory_gets_its_name_in_one_step(tmp_path: Path, part: Path) -> None:
    placing.place(part, tmp_path / "m", checked(part, NEW), None)
    assert (read(tmp_path / "m"), sorted(os.listdir(tmp_path))) == (NEW, ["m"])


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_directory_takes_the_place_of_the_one_before(
    tmp_path: Path, part: Path, final: Path, monkeypatch: pytest.MonkeyPatch, *, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(fs, "exchange", lambda *_: False)
    placing.place(part, final, checked(part, NEW), own(final))
    assert (read(final), sorted(os.listdir(tmp_path))) == (NEW, ["m"])


@pytest.mark.parametrize("can_exchange", [True, False])
def test_what_the_disk_does_not_make_durable_has_not_happened(
    tmp_path: Path, part: Path, final: Path, monkeypatch: pytest.MonkeyPatch, *, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(fs, "exchange", lambda *_: False)
    refusing(monkeypatch, "fsync_directory")
    wanted = checked(part, NEW)
    with pytest.raises(OSError, match="Input/output"):
        placing.place(part, final, wanted, own(final))
    assert (read(final), read(part), sorted(os.listdir(tmp_path))) == (OLD, NEW, ["m", "m.part"])
    placing.place(part, final, wanted, own(final))
    assert read(final) == NEW


def test_where_names_cannot_change_places_a_refused_rename_takes_nothing_away(
    tmp_path: Path, part: Path, final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs, "exchange", lambda *_: False)
    refusing(monkeypatch, "rename_without_replacing")
    with pytest.raises(OSError, match="Input/output"):
        placing.place(part, final, checked(part, NEW), own(final))
    assert (read(final), read(part)) == (OLD, NEW)


def test_one_that_is_in_place_already_stays_and_what_it_replaced_goes(tmp_path: Path, part: Path, final: Path) -> None:
    wanted = checked(part, NEW)
    assert fs.exchange(part, final)  # an earlier life came so far
    placing.place(part, final, wanted, own(final))
    assert (read(final), sorted(os.listdir(tmp_path))) == (NEW, ["m"])


def test_between_the_two_steps_of_a_replacement_a_crash_loses_nothing(tmp_path: Path, part: Path, final: Path) -> None:
    wanted = checked(part, NEW)
    final.rename(tmp_path / ".m.old.part.json.tmp")  # an earlier life came so far
    placing.place(part, final, wanted, own(final))
    assert read(final) == NEW


@pytest.mark.parametrize("names", [["a"], ["a", "c", "d"]])
def test_a_directory_that_is_not_as_it_was_checked_gets_no_name(tmp_path: Path, part: Path, names: list[str]) -> None:
    wanted = checked(part, NEW)
    for name in names:
        (part / name).write_bytes(b"changed")
    with pytest.raises(PartChanged):
        placing.place(part, tmp_path / "m", wanted, None)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("theirs", ["sub/mine", "mine"])
def test_what_somebody_put_into_the_old_directory_stops_its_replacement(part: Path, final: Path, theirs: str) -> None:
    (final / theirs).write_bytes(b"mine")
    with pytest.raises(StorageError, match=theirs):
        placing.place(part, final, checked(part, NEW), own(final))
    assert (read(final), read(part)) == (OLD | {theirs: b"mine"}, NEW)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_a_name_that_somebody_else_has_is_left_to_him(tmp_path: Path, part: Path, kind: str) -> None:
    final = tmp_path / "m"
    match kind:
        case "file":
            final.write_bytes(b"theirs")
        case "directory":
            final.mkdir()
        case "link":
            final.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        placing.place(part, final, checked(part, NEW), None)
    assert read(part) == NEW


def test_a_directory_may_take_the_place_of_a_file(tmp_path: Path, part: Path) -> None:
    final = tmp_path / "m"
    final.write_bytes(b"one file")
    placing.place(part, final, checked(part, NEW), {final})
    assert (read(final), sorted(os.listdir(tmp_path))) == (NEW, ["m"])


def test_a_file_may_take_the_place_of_a_directory(tmp_path: Path, final: Path) -> None:
    part = tmp_path / "m.part"
    part.write_bytes(b"one file")
    status = part.stat()
    wanted = Checked(sha256="", bytes=8, inode=status.st_ino, mtime_ns=status.st_mtime_ns)
    placing.place(part, final, wanted, own(final))
    assert (final.read_bytes(), sorted(os.listdir(tmp_path))) == (b"one file", ["m"])

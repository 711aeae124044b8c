"""A damaged database is set aside, never deleted, and what can be saved from it goes on. Everything is said aloud."""

import os
import sqlite3
from pathlib import Path

import pytest

from arwd.database import Change, Database, health, salvage, schema
from arwd.errors import StorageError
from arwd.jobs import ledger
from arwd.states import State
from arwd.store import library
from tests.unit.samples import job, model

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arwd.db"


def name(number: int) -> str:
    return f"job_{number:010x}"


async def filled(path: Path, *changes: Change) -> None:
    opened = Database(path)
    jobs = [
        job(job_id=name(number), id=f"m{number}", state=State.FAILED if number == 7 else State.QUEUED)
        for number in range(200)
    ]
    models = [model(id=f"model {number}", name=f"{number}.gguf") for number in range(100)]
    await opened.write(*map(ledger.record, jobs), *map(library.record, models), *changes)
    opened.close()


def mark(name: str, value: int) -> Change:
    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute("INSERT OR REPLACE INTO marks (name, value) VALUES (?, ?)", (name, value))

    return change


def flip(path: Path, offset: int, mask: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= mask
    path.write_bytes(data)


def wreck(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(b"\xff" * PAGE)


def marks(opened: Database) -> dict[str, int]:
    return opened.read_now(lambda cursor: dict(cursor.execute("SELECT name, value FROM marks")))


def set_aside(path: Path) -> list[str]:
    """What was set aside, but for what SQLite keeps beside it."""
    return sorted(each.name for each in path.parent.glob("*corrupt*") if not each.name.endswith(("-wal", "-shm")))


async def test_a_byte_within_a_record_is_found_and_all_other_rows_are_saved(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(path, mark("ids_reserved", 42))
    # Its page is as good as before: SQLite itself sees nothing.
    flip(path, path.read_bytes().index(b"job_id\xae" + name(13).encode()) + 20)
    damaged = path.read_bytes()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    opened = Database(path)
    saved = {each.job_id for each in opened.read_now(ledger.load)}
    assert len(saved) == 198
    assert not saved & {name(13), name(7)}
    assert len(opened.read_now(library.load)) == 100
    assert marks(opened)["ids_reserved"] == 42
    assert f"ended:{name(7)}" in marks(opened)
    assert "rebuilt" not in marks(opened)
    opened.close()
    (aside,) = set_aside(path)
    assert (path.parent / aside).read_bytes() == damaged
    for words in ("1 rows of jobs", aside, "100 models and 198 unfinished jobs", "there may have been more"):
        assert words in caplog.text
    Database(path).close()
    assert len(set_aside(path)) == 1


async def test_what_comes_before_and_after_a_wrecked_page_is_saved(path: Path) -> None:
    await filled(path)
    data = path.read_bytes()
    wreck(path, data.index(name(100).encode()) // PAGE)
    opened = Database(path)
    saved = {each.job_id for each in opened.read_now(ledger.load)}
    assert {name(0), name(199)} <= saved
    assert name(100) not in saved
    assert len(opened.read_now(library.load)) == 100
    opened.close()


async def test_two_that_are_damaged_in_the_same_second_do_not_meet(path: Path) -> None:
    for count in (1, 2, 3):
        await filled(path)
        wreck(path, 0)
        Database(path).close()
        assert len(set_aside(path)) == count


@pytest.mark.parametrize("offset", [18, 60, 63], ids=["write version", "user_version", "its last byte"])
async def test_a_header_that_looks_like_another_fault_is_damage_all_the_same(path: Path, offset: int) -> None:
    await filled(path)
    flip(path, offset, 0x40)
    opened = Database(path)
    assert len(set_aside(path)) == 1
    await opened.write(mark("a", 1))
    opened.close()


async def test_an_index_that_disagrees_with_its_table_is_found(path: Path) -> None:
    await filled(path)
    whole, wanted = path.read_bytes(), name(13).encode()
    places = [at for at in range(len(whole)) if whole.startswith(wanted, at)]
    assert len(places) == 3  # the row's key, its record, and the index
    for count, at in enumerate(places, start=1):
        path.write_bytes(whole)
        flip(path, at + 13)
        opened = Database(path)
        assert len(opened.read_now(ledger.load)) >= 198
        opened.close()
        assert len(set_aside(path)) == count


async def test_tables_that_are_not_those_that_were_made_are_found(path: Path) -> None:
    await filled(path)
    connection = schema.connect(path)
    connection.execute("DROP TRIGGER jobs_changed")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    opened = Database(path)
    assert len(opened.read_now(ledger.load)) == 199
    opened.close()
    assert len(set_aside(path)) == 1


async def test_a_log_without_its_database_is_set_aside(path: Path) -> None:
    log = path.with_name("arwd.db-wal")
    for make in (lambda: None, path.touch):
        path.unlink(missing_ok=True)
        make()
        log.write_bytes(b"frames of a database that is gone")
        Database(path).close()
    kept = [each.read_bytes() for each in path.parent.glob("*corrupt*-wal")]
    assert kept == [b"frames of a database that is gone"] * 2


async def test_an_empty_file_is_said_to_be_empty(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.touch()
    Database(path).close()
    assert "is empty" in caplog.text
    assert set_aside(path) == []


async def test_a_first_start_says_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Database(path).close()
    Database(path).close()
    assert caplog.record_tuples == []


async def killed(path: Path, *changes: Change) -> Path:
    """A database whose last changes are in its log only, as a kill leaves it."""
    await filled(path)
    opened = Database(path)
    for change in changes:
        await opened.write(change)
    left = path.parent / "left"
    left.mkdir()
    for name in ("arwd.db", "arwd.db-wal"):
        (left / name).write_bytes((path.parent / name).read_bytes())
    opened.close()
    return left / "arwd.db"


async def test_what_a_kill_leaves_is_whole(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = await killed(path, mark("rebuilt", 1), mark("last", 1))
    opened = Database(left)
    assert {"rebuilt", "last"} <= marks(opened).keys()
    opened.close()
    assert caplog.record_tuples == []


@pytest.mark.parametrize("what", ["flipped", "salted", "cut", "emptied", "removed"])
async def test_a_log_that_lost_its_end_makes_us_ask_the_files(
    path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    left = await killed(path, mark("rebuilt", 1), mark("last", 1))
    log = health.log_of(left)
    frames = (log.stat().st_size - 32) // (24 + PAGE)
    match what:
        case "flipped":
            flip(log, log.stat().st_size - PAGE)
        case "salted":
            flip(log, 32 + (frames - 1) * (24 + PAGE) + 8)
        case "cut":
            os.truncate(log, log.stat().st_size - 512)
        case "emptied":
            os.truncate(log, 0)
        case _:
            log.unlink()
    opened = Database(left)
    assert "rebuilt" not in marks(opened)
    assert "last" not in marks(opened)
    opened.close()
    assert "log cannot be read" in caplog.text
    assert set_aside(left) == []


async def test_a_kill_before_the_new_one_takes_its_place_costs_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(path)
    wreck(path, path.read_bytes().index(name(100).encode()) // PAGE)

    def die(source: Path, target: Path) -> None:
        if Path(target) == path:
            raise OSError("killed")
        rename(source, target)

    rename = os.rename
    monkeypatch.setattr(os, "rename", die)
    with pytest.raises(StorageError, match="aside"):
        Database(path)
    assert not path.exists()
    monkeypatch.setattr(os, "rename", rename)
    opened = Database(path)
    assert len(opened.read_now(library.load)) == 100
    opened.close()


async def test_what_cannot_be_set_aside_is_left_with_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path)
    wreck(path, 0)
    before = path.read_bytes()

    def refuse(_: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(salvage, "set_aside", refuse)
    with pytest.raises(StorageError, match=r"cannot set the damaged database .*arwd\.db aside: Permission denied"):
        Database(path)
    assert path.read_bytes() == before


async def test_a_database_that_somebody_else_writes_to_is_not_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, **(named | {"timeout": 0.0})))
    other = connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError, match="locked"):
        Database(path)
    other.close()
    assert set_aside(path) == []


@pytest.mark.parametrize(
    ("code", "is_damage"),
    [
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_NOTADB, True),
        (sqlite3.SQLITE_ERROR, True),
        (sqlite3.SQLITE_CORRUPT_INDEX, True),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_IOERR_READ, False),
        (sqlite3.SQLITE_CANTOPEN, False),
        (sqlite3.SQLITE_PERM, False),
        (sqlite3.SQLITE_BUSY, False),
    ],
)
def test_not_every_error_is_damage(path: Path, code: int, *, is_damage: bool) -> None:
    error = sqlite3.OperationalError()
    error.sqlite_errorcode = code
    assert health.is_damage(error, path) is is_damage


@pytest.mark.parametrize("may_write", [True, False])
def test_read_only_is_damage_only_where_one_may_write(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, may_write: bool
) -> None:
    error = sqlite3.OperationalError()
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY
    monkeypatch.setattr(os, "access", lambda *_: may_write)
    assert health.is_damage(error, path) is may_write


async def test_damage_while_it_runs_is_a_storage_error_and_the_writer_lives(path: Path) -> None:
    await filled(path)
    opened = Database(path)
    wreck(path, path.read_bytes().index(name(100).encode()) // PAGE)
    with pytest.raises(StorageError):
        await opened.read(ledger.load)
    await opened.write(mark("a", 1))
    opened.close()

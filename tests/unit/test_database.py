"""What is enqueued first is committed first, and a unit that fails takes nobody with it."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from arwd.database import Change, Database, health, schema
from arwd.errors import DiskFull, StorageError

PATIENCE = 5.0
RELEASED = schema.MIGRATIONS
# A table of our own on top: what the rooms keep is theirs to change.
MIGRATIONS = (*RELEASED, "CREATE TABLE notes (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;")


@pytest.fixture(autouse=True)
def _schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arwd.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Database]:
    made = Database(path)
    yield made
    made.close()


def note(name: str, value: int) -> Change:
    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute("INSERT INTO notes (name, value) VALUES (?, ?)", (name, value))

    return change


def fail(cursor: sqlite3.Cursor) -> None:
    cursor.execute("INSERT INTO nowhere VALUES (1)")


def refuse(cursor: sqlite3.Cursor) -> None:
    raise StorageError("the disk is full")


def notes(cursor: sqlite3.Cursor) -> dict[str, int]:
    return dict(cursor.execute("SELECT name, value FROM notes"))


async def test_what_was_written_can_be_read_once_its_future_ends(opened: Database) -> None:
    await opened.write(note("a", 1), note("b", 2))
    assert await opened.read(notes) == {"a": 1, "b": 2}


async def test_units_are_applied_in_the_order_in_which_they_were_enqueued(opened: Database) -> None:
    order: list[int] = []
    units = [opened.write(lambda _, n=n: order.append(n)) for n in range(1_000)]
    await asyncio.gather(*units)
    assert order == list(range(1_000))


async def test_futures_end_in_the_order_of_their_units(opened: Database) -> None:
    order: list[int] = []
    units = [opened.write(note(str(n), n)) for n in range(600)]
    for n, unit in enumerate(units):
        unit.add_done_callback(lambda _, n=n: order.append(n))
    await asyncio.gather(*units)
    await asyncio.sleep(0)
    assert order == list(range(600))


@pytest.mark.parametrize("broken", [fail, refuse])
async def test_a_unit_that_fails_takes_nobody_with_it(opened: Database, broken: Change) -> None:
    before, failing, after = (
        opened.write(note("before", 1)),
        opened.write(note("half", 1), broken, note("other half", 1)),
        opened.write(note("after", 1)),
    )
    with pytest.raises(StorageError):
        await failing
    await asyncio.gather(before, after)
    assert await opened.read(notes) == {"before": 1, "after": 1}


async def test_a_unit_with_a_fault_of_its_own_takes_nobody_with_it_either(opened: Database) -> None:
    # SQLite's whole numbers end at 2^63: the driver raises OverflowError, which is no sqlite3.Error.
    failing = opened.write(note("too large", 2**63))
    after = opened.write(note("after", 1))
    done, _ = await asyncio.wait([failing, after], timeout=PATIENCE)
    assert done == {failing, after}
    assert isinstance(failing.exception(), Exception)
    assert await opened.read(notes) == {"after": 1}


async def test_a_failure_names_the_file_and_keeps_its_cause(opened: Database) -> None:
    with pytest.raises(StorageError, match=r"arwd\.db: no such table: nowhere") as caught:
        await opened.write(fail)
    assert isinstance(caught.value.__cause__, sqlite3.Error)


async def test_when_the_commit_fails_everyone_in_it_hears_so_and_the_next_may_succeed(
    opened: Database, path: Path
) -> None:
    opened._writer.execute("PRAGMA busy_timeout = 0")
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        results = await asyncio.gather(*(opened.write(note(str(n), n)) for n in range(3)), return_exceptions=True)
        other.execute("ROLLBACK")
    other.close()
    assert [type(result) for result in results] == [StorageError] * 3
    await opened.write(note("later", 1))
    assert await opened.read(notes) == {"later": 1}


async def test_cancelling_the_future_does_not_take_the_unit_back(opened: Database) -> None:
    opened.write(note("a", 1)).cancel()
    await opened.write(note("b", 2))
    assert await opened.read(notes) == {"a": 1, "b": 2}


async def test_closing_commits_what_is_queued(path: Path) -> None:
    opened = Database(path)
    units = [opened.write(note(str(n), n)) for n in range(300)]
    opened.close()
    await asyncio.gather(*units)
    again = Database(path)
    assert len(again.read_now(notes)) == 300
    again.close()


def test_units_written_by_a_loop_that_is_gone_are_committed_all_the_same(path: Path) -> None:
    opened = Database(path)
    held = threading.Event()

    async def write() -> None:
        opened.write(lambda _: held.wait(PATIENCE) and None, note("a", 1))

    asyncio.run(write())
    held.set()
    opened.close()
    again = Database(path)
    assert again.read_now(notes) == {"a": 1}
    again.close()


async def test_a_reader_cannot_write(opened: Database) -> None:
    with pytest.raises(StorageError, match="readonly"):
        await opened.read(note("a", 1))


async def test_a_broken_query_is_a_storage_error(opened: Database) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        await opened.read(fail)


async def test_a_reader_sees_no_half_of_a_unit(opened: Database) -> None:
    in_the_middle, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(_: sqlite3.Cursor) -> None:
        loop.call_soon_threadsafe(in_the_middle.set)
        go_on.wait(PATIENCE)

    unit = opened.write(note("a", 1), wait, note("b", 2))
    await asyncio.wait_for(in_the_middle.wait(), PATIENCE)
    assert await opened.read(notes) == {}
    go_on.set()
    await unit
    assert await opened.read(notes) == {"a": 1, "b": 2}


def version_of(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


async def test_opening_twice_migrates_once_and_loses_nothing(path: Path) -> None:
    first = Database(path)
    await first.write(note("a", 1))
    first.close()
    assert version_of(path) == len(MIGRATIONS)
    second = Database(path)
    assert second.read_now(notes) == {"a": 1}
    second.close()
    assert version_of(path) == len(MIGRATIONS)


def test_every_released_migration_applies_to_an_empty_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", RELEASED)
    for _ in range(2):
        Database(path).close()
        assert version_of(path) == len(RELEASED)


async def test_only_new_migrations_are_applied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(path).close()
    added = "CREATE TABLE added (value INTEGER); INSERT INTO added VALUES (42);"
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, added))
    for _ in range(2):
        opened = Database(path)
        assert opened.read_now(lambda cursor: cursor.execute("SELECT value FROM added").fetchall()) == [(42,)]
        opened.close()
    assert version_of(path) == len(MIGRATIONS) + 1


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(path).close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);"))
    with pytest.raises(StorageError, match="no such table: nowhere"):
        Database(path)
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS)
    assert version_of(path) == len(MIGRATIONS)
    opened = Database(path)
    tables = opened.read_now(lambda cursor: cursor.execute("SELECT name FROM sqlite_master").fetchall())
    assert ("half",) not in tables
    opened.close()


async def test_a_file_of_a_newer_arwd_is_refused_and_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE later (value INTEGER);"))
    Database(path).close()
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=rf"newer arwd \(schema {len(MIGRATIONS) + 1}, this one knows"):
        Database(path)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*corrupt*"))


async def test_a_database_without_seals_is_given_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript(f"{RELEASED[0]} PRAGMA user_version = 1;")
        connection.execute("INSERT INTO marks VALUES ('ids_reserved', 42)")
    connection.close()
    opened = Database(path)
    query = "SELECT value FROM marks WHERE name = 'ids_reserved' AND seal = seal(name, value)"
    assert opened.read_now(lambda cursor: cursor.execute(query).fetchall()) == [(42,)]
    opened.close()
    assert not list(path.parent.glob("*corrupt*"))


async def test_every_insert_and_every_update_is_sealed(opened: Database) -> None:
    def change(cursor: sqlite3.Cursor) -> None:
        event = (7, "t", "k", None, "job_1", 0, b"{}")
        cursor.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", event)
        cursor.execute("UPDATE events SET data = 'x'")
        cursor.execute("INSERT INTO models (id, record) VALUES ('m', 'old')")
        cursor.execute("INSERT OR REPLACE INTO models (id, record) VALUES ('m', 'new')")
        job = (
            "INSERT INTO jobs VALUES ('j', 'm', 1, 0, NULL, ?, NULL) ON CONFLICT DO UPDATE SET record = excluded.record"
        )
        cursor.executemany(job, [(b"old",), (b"new",)])

    await opened.write(change)
    opened.close()
    connection = schema.connect(opened._path)
    health.check(connection)
    assert connection.execute("SELECT count(*) FROM events WHERE seal IS NULL").fetchone() == (0,)
    connection.close()


class Ballast:
    """Room that was kept back on a disk which is full from now on."""

    def __init__(self, opened: Database) -> None:
        self.released = 0
        self.is_enough = True
        self._writer = opened._writer
        (pages,) = self._writer.execute("PRAGMA page_count").fetchone()
        self._writer.execute(f"PRAGMA max_page_count = {pages}")

    def release(self) -> bool:
        self.released += 1
        if self.is_enough:
            self._writer.execute("PRAGMA max_page_count = 100000")
        return self.is_enough


def fill(cursor: sqlite3.Cursor) -> None:
    cursor.execute("INSERT INTO models (id, record) VALUES ('large', zeroblob(1000000))")


@pytest.mark.parametrize("is_enough", [True, False])
async def test_on_a_full_disk_the_same_batch_is_committed_again_once_there_is_room(
    opened: Database, *, is_enough: bool
) -> None:
    ballast = Ballast(opened)
    ballast.is_enough = is_enough
    opened._make_room = ballast.release
    told: list[str] = []
    units = [
        opened.write(note("before", 1), after=lambda: told.append("before")),
        opened.write(fill, after=lambda: told.append("large")),
        opened.write(note("after", 1)),
    ]
    results = await asyncio.gather(*units, return_exceptions=True)
    if is_enough:
        assert results == [None] * 3
        assert told == ["before", "large"]
        assert await opened.read(notes) == {"before": 1, "after": 1}
    else:
        assert [type(result) for result in results if result is not None] == [DiskFull] * (3 - results.count(None))
        assert isinstance(results[1], DiskFull)
        assert "full" in str(results[1])
        assert "large" not in told
    assert ballast.released == 1
    await opened.write(note("later", 1))


def test_a_directory_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="cannot open"):
        Database(path)


def test_a_commit_is_on_the_disk_when_it_is_told(opened: Database) -> None:
    (synchronous,) = opened._writer.execute("PRAGMA synchronous").fetchone()
    (mode,) = opened._writer.execute("PRAGMA journal_mode").fetchone()
    assert (synchronous, mode) == (2, "wal")

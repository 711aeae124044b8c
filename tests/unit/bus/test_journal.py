"""Milestones on disk: what is recorded comes back, what is too old or too much goes, and it is known up to where."""

import datetime
import sqlite3
from collections.abc import Iterator

import pytest

from arwd.bus import journal
from arwd.database import schema
from arwd.events import Event
from tests.unit.samples import event


@pytest.fixture
def cursor() -> Iterator[sqlite3.Cursor]:
    connection = sqlite3.connect(":memory:")
    schema.define_seal(connection)
    schema.migrate(connection)
    yield connection.cursor()
    connection.close()


def days_ago(days: float) -> str:
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def kept(cursor: sqlite3.Cursor) -> list[int]:
    return [found.id for found in journal.load_recent(cursor, 1_000)]


def record(cursor: sqlite3.Cursor, *events: Event) -> None:
    for made in events:
        journal.record(made)(cursor)


def test_a_milestone_comes_back_as_it_was(cursor: sqlite3.Cursor) -> None:
    made = [
        event(1, is_final=True, data='{"id":"ü"}'.encode()),
        event(2, model_id=None, job_id=None),
    ]
    record(cursor, *made)
    assert journal.load_recent(cursor, 10) == made


def test_the_newest_come_back_oldest_first(cursor: sqlite3.Cursor) -> None:
    record(cursor, *map(event, range(1, 8)))
    assert [found.id for found in journal.load_recent(cursor, 3)] == [5, 6, 7]


def test_an_id_cannot_be_recorded_twice(cursor: sqlite3.Cursor) -> None:
    record(cursor, event(1))
    with pytest.raises(sqlite3.IntegrityError):
        record(cursor, event(1))


def keep_job(cursor: sqlite3.Cursor, job_id: str) -> None:
    cursor.execute("INSERT INTO jobs (job_id, id, sequence, is_final, record) VALUES (?, 'm', 1, 1, x'00')", (job_id,))


def test_the_newest_milestone_of_every_job_that_is_kept_is_found(cursor: sqlite3.Cursor) -> None:
    record(cursor, event(1, job_id="a"), event(2, job_id="b"), event(3, job_id="a"), event(4, job_id=None))
    record(cursor, event(5, job_id="gone"))
    keep_job(cursor, "a")
    keep_job(cursor, "b")
    latest = journal.load_latest_of_jobs(cursor)
    assert {job_id: found.id for job_id, found in latest.items()} == {"a": 3, "b": 2}


def test_an_empty_journal_has_nothing_and_knows_no_floor(cursor: sqlite3.Cursor) -> None:
    assert journal.load_recent(cursor, 5) == []
    assert journal.load_latest_of_jobs(cursor) == {}
    assert journal.load_floor(cursor) is None


def test_pruning_keeps_what_is_young_enough(cursor: sqlite3.Cursor) -> None:
    record(cursor, event(1, time=days_ago(29)), event(2, time=days_ago(0)))
    journal.prune(cursor)
    assert kept(cursor) == [1, 2]
    assert journal.load_floor(cursor) is None


def test_pruning_drops_what_is_too_old_and_remembers_up_to_where(cursor: sqlite3.Cursor) -> None:
    record(cursor, event(1, time=days_ago(40)), event(5, time=days_ago(31)), event(9, time=days_ago(1)))
    journal.prune(cursor)
    assert kept(cursor) == [9]
    assert journal.load_floor(cursor) == 5


def test_pruning_drops_what_is_beyond_the_newest_and_remembers_up_to_where(
    cursor: sqlite3.Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "KEEP_MILESTONES", 3)
    record(cursor, *(event(number, time=days_ago(0)) for number in range(10, 80, 10)))
    journal.prune(cursor)
    assert kept(cursor) == [50, 60, 70]
    assert journal.load_floor(cursor) == 40


def test_pruning_leaves_exactly_as_many_as_may_be_kept(cursor: sqlite3.Cursor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEEP_MILESTONES", 3)
    record(cursor, *(event(number, time=days_ago(0)) for number in range(1, 4)))
    journal.prune(cursor)
    assert kept(cursor) == [1, 2, 3]
    assert journal.load_floor(cursor) is None


def test_an_event_of_a_clock_that_was_wrong_makes_nothing_old_that_came_before_it(cursor: sqlite3.Cursor) -> None:
    record(cursor, event(1, time=days_ago(1)), event(2, time=days_ago(40)), event(3, time=days_ago(1)))
    journal.prune(cursor)
    assert kept(cursor) == [1, 2, 3]


def test_what_was_spared_does_not_bring_the_floor_down(cursor: sqlite3.Cursor) -> None:
    keep_job(cursor, "job_a")
    record(cursor, event(1, time=days_ago(40), job_id="job_a"), event(2, time=days_ago(40), job_id="job_b"))
    record(cursor, event(3, time=days_ago(1)))
    for _ in range(2):
        journal.prune(cursor)
        there = [number for (number,) in cursor.execute("SELECT id FROM events ORDER BY id")]
        assert (there, kept(cursor), journal.load_floor(cursor)) == ([1, 3], [3], 2)


def test_pruning_again_never_lowers_the_floor(cursor: sqlite3.Cursor) -> None:
    record(cursor, event(5, time=days_ago(31)), event(9, time=days_ago(1)))
    journal.prune(cursor)
    journal.prune(cursor)
    assert journal.load_floor(cursor) == 5
    assert kept(cursor) == [9]


def test_an_empty_journal_can_be_pruned(cursor: sqlite3.Cursor) -> None:
    journal.prune(cursor)
    assert kept(cursor) == []


def test_a_new_database_writes_down_where_it_begins(cursor: sqlite3.Cursor) -> None:
    journal.begin_after(41)(cursor)
    assert journal.load_floor(cursor) == 41


def test_where_nothing_is_deleted_the_floor_stays(cursor: sqlite3.Cursor) -> None:
    keep_job(cursor, "job_a")
    record(cursor, event(5, time=days_ago(40), job_id="job_a"), event(6, time=days_ago(1)))
    journal.begin_after(2)(cursor)
    journal.prune(cursor)
    assert (kept(cursor), journal.load_floor(cursor)) == ([5, 6], 2)

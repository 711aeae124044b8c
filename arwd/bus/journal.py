"""The milestones in SQLite: recorded in the transaction of the state change they tell of, read again at boot."""

import sqlite3
from collections.abc import Callable

import msgspec

from arwd.bus.base import Selector
from arwd.database import Change, marks
from arwd.events import KINDS, Event, days_ago

KEEP_DAYS = 30
KEEP_MILESTONES = 100_000
PAGE = 256
"""Milestones read at once: some 64 KiB, as much as is written at once."""

_COLUMNS = "id, time, kind, model_id, job_id, is_final, data"


_LATEST = "SELECT max(id) FROM events WHERE job_id IN (SELECT job_id FROM jobs) GROUP BY job_id"


def record(event: Event) -> Change:
    """The change that makes a milestone durable."""
    row = (event.id, event.time, event.kind, event.model_id, event.job_id, event.is_final, event.data)

    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute(f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    return change


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some milestones, in order, and what one knows then."""

    events: list[Event]
    cursor: int
    """Up to here nothing is left to read."""
    floor: int
    """What was at or below this id when the page was read is gone."""


def prune(cursor: sqlite3.Cursor) -> None:
    """Drop what is older than KEEP_DAYS or beyond the newest KEEP_MILESTONES, and remember up to where.

    The newest milestone of a job that is still kept stays, so that whoever waits for its end hears of it.
    """
    # Old is what comes before the first that is not: a clock that was wrong for a moment makes nothing else old.
    (floor,) = cursor.execute(
        "SELECT max(coalesce((SELECT max(id) FROM events WHERE id <"
        " coalesce((SELECT min(id) FROM events WHERE time >= ?), 9e18)), 0),"
        " coalesce((SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?), 0))",
        (days_ago(KEEP_DAYS), KEEP_MILESTONES),
    ).fetchone()
    condemned = f"id <= ? AND id NOT IN ({_LATEST})"
    (newest,) = cursor.execute(f"SELECT max(id) FROM events WHERE {condemned}", (floor,)).fetchone()
    if newest is not None:
        cursor.execute(f"DELETE FROM events WHERE {condemned}", (floor,))
        begin_after(max(newest, load_floor(cursor) or 0))(cursor)


def begin_after(floor: int) -> Change:
    """The change that records: nothing at or below this id can be replayed."""
    return marks.put("journal_floor", floor)


def load_floor(cursor: sqlite3.Cursor) -> int | None:
    """The id after which every milestone is here; None in a new database."""
    return marks.get(cursor, "journal_floor")


def load_recent(cursor: sqlite3.Cursor, count: int) -> list[Event]:
    """The newest `count` milestones, oldest first."""
    query = f"SELECT {_COLUMNS} FROM events WHERE id > ? ORDER BY id DESC LIMIT ?"
    rows = cursor.execute(query, (load_floor(cursor) or 0, count)).fetchall()
    return [_event(row) for row in reversed(rows)]


def load_latest_of_jobs(cursor: sqlite3.Cursor) -> dict[str, Event]:
    """The newest milestone of each job that is kept."""
    events = [_event(row) for row in cursor.execute(f"SELECT {_COLUMNS} FROM events WHERE id IN ({_LATEST})")]
    return {event.job_id: event for event in events if event.job_id is not None}


def page(after: int, end: int, selector: Selector) -> Callable[[sqlite3.Cursor], Page]:
    """The query for the milestones behind `after`, none beyond `end`, that the selector wants."""
    wanted, values = _wanted(selector)
    query = f"SELECT {_COLUMNS} FROM events WHERE id > ? AND id <= ?{wanted} ORDER BY id LIMIT ?"

    def read(cursor: sqlite3.Cursor) -> Page:
        # One transaction: what is pruned between two looks would be missed without a word.
        cursor.execute("BEGIN")
        try:
            floor = load_floor(cursor) or 0
            rows = cursor.execute(query, (max(after, floor), end, *values, PAGE)).fetchall()
        finally:
            cursor.execute("ROLLBACK")
        events = [_event(row) for row in rows]
        reached = max(end, floor) if len(events) < PAGE else events[-1].id
        return Page(events=events, cursor=reached, floor=floor)

    return read


def count(after: int, end: int, selector: Selector) -> Callable[[sqlite3.Cursor], int]:
    """The query for how many there are."""
    wanted, values = _wanted(selector)
    query = f"SELECT count(*) FROM events WHERE id > ? AND id <= ?{wanted}"

    def read(cursor: sqlite3.Cursor) -> int:
        (found,) = cursor.execute(query, (max(after, load_floor(cursor) or 0), end, *values)).fetchone()
        return int(found)

    return read


def first_of_last(number: int, end: int, selector: Selector) -> Callable[[sqlite3.Cursor], int | None]:
    """The query for the first of the last `number` milestones up to `end` that the selector wants."""
    wanted, values = _wanted(selector)
    query = f"SELECT min(id) FROM (SELECT id FROM events WHERE id > ? AND id <= ?{wanted} ORDER BY id DESC LIMIT ?)"

    def read(cursor: sqlite3.Cursor) -> int | None:
        found: int | None
        (found,) = cursor.execute(query, (load_floor(cursor) or 0, end, *values, number)).fetchone()
        return found

    return read


def _wanted(selector: Selector) -> tuple[str, list[str]]:
    """The selector's own question, put to the database."""
    clauses, values = "", list[str]()
    if selector.prefixes:
        # There are few kinds, and there may be thousands of prefixes.
        kinds = [kind for kind in KINDS if kind.startswith(selector.prefixes)]
        clauses += f" AND kind IN ({_places(kinds)})"
        values += kinds
    if selector.model_ids or selector.job_ids:
        models, jobs = sorted(selector.model_ids), sorted(selector.job_ids)
        clauses += f" AND (model_id IN ({_places(models)}) OR job_id IN ({_places(jobs)}))"
        values += [*models, *jobs]
    return clauses, values


def _places(values: list[str]) -> str:
    return ", ".join("?" * len(values))


def _event(row: tuple[int, str, str, str | None, str | None, int, bytes]) -> Event:
    event_id, time, kind, model_id, job_id, is_final, data = row
    return Event(
        id=event_id, kind=kind, time=time, data=data, model_id=model_id, job_id=job_id, is_final=bool(is_final)
    )

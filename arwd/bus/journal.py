"""The milestones in SQLite: recorded in the transaction of the state change they tell of, read again at boot."""

import sqlite3

from arwd.database import Change
from arwd.events import Event, days_ago

KEEP_DAYS = 30
KEEP_MILESTONES = 100_000

_COLUMNS = "id, time, kind, model_id, job_id, is_final, data"


def record(event: Event) -> Change:
    """The change that makes a milestone durable."""
    row = (event.id, event.time, event.kind, event.model_id, event.job_id, event.is_final, event.data)

    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute(f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    return change


def prune(cursor: sqlite3.Cursor) -> None:
    """Drop what is older than KEEP_DAYS or beyond the newest KEEP_MILESTONES, and remember up to where."""
    limit = days_ago(KEEP_DAYS)
    (floor,) = cursor.execute(
        "SELECT max(coalesce((SELECT max(id) FROM events WHERE time < ?), 0),"
        " coalesce((SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?), 0))",
        (limit, KEEP_MILESTONES),
    ).fetchone()
    if floor:
        cursor.execute("DELETE FROM events WHERE id <= ?", (floor,))
        begin_after(floor)(cursor)


def begin_after(floor: int) -> Change:
    """The change that records: nothing at or below this id can be replayed."""

    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute("INSERT OR REPLACE INTO marks (name, value) VALUES ('journal_floor', ?)", (floor,))

    return change


def load_floor(cursor: sqlite3.Cursor) -> int | None:
    """The id after which every milestone is here; None in a new database."""
    row = cursor.execute("SELECT value FROM marks WHERE name = 'journal_floor'").fetchone()
    return None if row is None else int(row[0])


def load_recent(cursor: sqlite3.Cursor, count: int) -> list[Event]:
    """The newest `count` milestones, oldest first."""
    rows = cursor.execute(f"SELECT {_COLUMNS} FROM events ORDER BY id DESC LIMIT ?", (count,)).fetchall()
    return [_event(row) for row in reversed(rows)]


def load_latest_of_jobs(cursor: sqlite3.Cursor, count: int) -> dict[str, Event]:
    """The newest milestone of each of the `count` jobs that were heard of last."""
    query = (
        f"SELECT {_COLUMNS} FROM events WHERE id IN"
        " (SELECT max(id) FROM events WHERE job_id IS NOT NULL GROUP BY job_id ORDER BY 1 DESC LIMIT ?)"
    )
    events = [_event(row) for row in cursor.execute(query, (count,))]
    return {event.job_id: event for event in events if event.job_id is not None}


def _event(row: tuple[int, str, str, str | None, str | None, int, bytes]) -> Event:
    event_id, time, kind, model_id, job_id, is_final, data = row
    return Event(
        id=event_id, kind=kind, time=time, data=data, model_id=model_id, job_id=job_id, is_final=bool(is_final)
    )

"""The journal as an oracle: its rows, read from SQLite by the tests themselves."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sse import Message


@dataclass(frozen=True)
class Row:
    """One milestone, as it was recorded."""

    id: int
    kind: str
    model_id: str | None
    job_id: str | None
    payload: dict[str, Any]


def rows(state_dir: Path, wanted: Callable[[Row], bool] = lambda _: True) -> list[Row]:
    """The milestones that are wanted, oldest first."""
    with contextlib.closing(sqlite3.connect(f"file:{state_dir / 'arwd.db'}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT id, kind, model_id, job_id, data FROM events ORDER BY id").fetchall()
    read = [Row(*columns, json.loads(data)) for *columns, data in found]  # type: ignore[arg-type]
    return [row for row in read if wanted(row)]


@contextlib.contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Meanwhile another program is writing: nothing can be recorded."""
    with contextlib.closing(sqlite3.connect(state_dir / "arwd.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def milestones(messages: Iterable[Message]) -> list[tuple[int, str, dict[str, Any]]]:
    """Those of the messages that a journal would hold: no ticks, no answers, nothing about the stream itself."""
    return [
        (int(message.id), message.event, message.payload)
        for message in messages
        if message.event not in ("Service.Connected", "Bus.Gap")
        and message.payload.get("status")
        not in ("downloading", "already-in-progress", "cancel-requested", "no-active-job")
    ]


def told(found: Iterable[Row]) -> list[tuple[int, str, dict[str, Any]]]:
    """The rows as they should be told."""
    return [(row.id, row.kind, row.payload) for row in found]

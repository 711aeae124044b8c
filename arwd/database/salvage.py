"""What can be saved from a damaged database, and where the damaged one goes.

Rule: nothing is deleted, and only a row whose seal holds is believed.
"""

import datetime
import itertools
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

import msgspec

from arwd import fs
from arwd.database import schema

Row = tuple[str | int | float | bytes | None, ...]

_COLUMNS = {
    "marks": "name, value",
    "jobs": "job_id, id, sequence, is_final, finished_at, record",
    "models": "id, record",
}
BESIDE = ("-wal", "-shm", "")
"""What SQLite keeps beside a database, and itself: last, as without it nobody takes the rest for its own."""


class Salvage(msgspec.Struct):
    """The rows that are as they were written."""

    rows: dict[str, dict[str, Row]] = msgspec.field(default_factory=lambda: {table: {} for table in _COLUMNS})
    """By table and primary key."""
    is_partial: bool = False
    """Some rows of these tables could not be read, or were changed."""

    @property
    def models(self) -> list[Row]:
        """The finished models."""
        return list(self.rows["models"].values())

    @property
    def unfinished(self) -> list[Row]:
        """The jobs that can go on."""
        return [row for row in self.rows["jobs"].values() if not row[3]]

    @property
    def ended(self) -> list[str]:
        """The ids of the jobs that were over: a part of theirs must not go on unasked."""
        return [job_id for job_id, row in self.rows["jobs"].items() if row[3]]


def read(path: Path) -> Salvage:
    """Read what can be read, from both ends of each table."""
    found = Salvage()
    if not path.is_file() or not path.stat().st_size:
        # SQLite would delete the write-ahead log beside it, which somebody may still want to look at.
        return Salvage(is_partial=True)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error:
        return Salvage(is_partial=True)
    try:
        # Damage in the definition of one table must not hide the others.
        connection.execute("PRAGMA writable_schema = ON")
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        for table, order in itertools.product(_COLUMNS, ("ASC", "DESC")):
            _read_rows(connection, table, order, found)
    except (sqlite3.Error, UnicodeDecodeError):
        found.is_partial = True
    finally:
        connection.close()
    return found


def _read_rows(connection: sqlite3.Connection, table: str, order: str, found: Salvage) -> None:
    try:
        for *values, kept in connection.execute(f"SELECT {_COLUMNS[table]}, seal FROM {table} ORDER BY 1 {order}"):
            if isinstance(values[0], str) and schema.seal(*values) == kept:
                found.rows[table][values[0]] = tuple(values)
            else:
                found.is_partial = True
    except (sqlite3.Error, UnicodeDecodeError):
        found.is_partial = True


def restore(connection: sqlite3.Connection, salvage: Salvage) -> None:
    """Put what was saved into a new database. sqlite3.Error."""
    marks = [row for name, row in salvage.rows["marks"].items() if name == "ids_reserved"]
    marks += [(f"ended:{job_id}", 1) for job_id in salvage.ended]
    connection.execute("BEGIN")
    for table, rows in (("marks", marks), ("jobs", salvage.unfinished), ("models", salvage.models)):
        places = ", ".join("?" * (_COLUMNS[table].count(",") + 1))
        connection.executemany(f"INSERT OR REPLACE INTO {table} ({_COLUMNS[table]}) VALUES ({places})", rows)
    connection.execute("COMMIT")


def set_aside(path: Path) -> Path:
    """Move a database, and what SQLite keeps beside it, to a name that nobody has. Returns that name. OSError."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in itertools.count(1):
        target = path.with_name(f"{path.name}.corrupt-{now}" + ("" if number == 1 else f"-{number}"))
        if not any(os.path.lexists(f"{target}{ending}") for ending in BESIDE):
            break
    for ending in BESIDE:
        if os.path.lexists(f"{path}{ending}"):
            os.rename(f"{path}{ending}", f"{target}{ending}")
    fs.fsync_directory(path.parent)
    return target

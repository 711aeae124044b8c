"""Single numbers and flags that must outlive us, by name: one row each in the table `marks`."""

import sqlite3

from arwd.database import Change


def put(name: str, value: int = 1) -> Change:
    """The change that sets a mark."""

    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute("INSERT OR REPLACE INTO marks (name, value) VALUES (?, ?)", (name, value))

    return change


def drop(*names: str) -> Change:
    """The change that removes marks."""

    def change(cursor: sqlite3.Cursor) -> None:
        cursor.executemany("DELETE FROM marks WHERE name = ?", [(name,) for name in names])

    return change


def get(cursor: sqlite3.Cursor, name: str) -> int | None:
    """The value of a mark; None if it is not set."""
    row = cursor.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def beginning(cursor: sqlite3.Cursor, prefix: str) -> list[str]:
    """What follows the prefix in the names that begin with it."""
    rows = cursor.execute("SELECT name FROM marks WHERE substr(name, 1, ?) = ? ORDER BY name", (len(prefix), prefix))
    return [name[len(prefix) :] for (name,) in rows]

"""How a database is opened: whole, or set aside and made anew. Never as if nothing had happened."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from arwd import fs
from arwd.database import health, salvage, schema
from arwd.errors import StorageError

log = logging.getLogger(__name__)

_OPENED = "INSERT OR REPLACE INTO marks (name, value) VALUES ('open', 1)"
_CLOSED = "DELETE FROM marks WHERE name = 'open'"
_ASK_THE_FILES = "DELETE FROM marks WHERE name = 'rebuilt'"
"""Without this mark something may be missing here that the files beside the database still know."""


def open_whole(path: Path, make_room: Callable[[], bool]) -> sqlite3.Connection:
    """The database, checked and migrated. A damaged one is set aside. sqlite3.Error, StorageError."""
    try:
        return _open(path)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the second: damage that even the complaint repeats
        if health.is_damage(error, path):
            _replace(path, str(error))
        elif not health.may_be_full(error) or not make_room():
            raise
    return _open(path)


def close(connection: sqlite3.Connection) -> None:
    """Close the last connection: what is in the write-ahead log goes into the file."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute(_CLOSED)
    connection.close()


def _open(path: Path) -> sqlite3.Connection:
    is_new = _size(path) == 0
    if is_new and os.path.lexists(path):
        log.warning("The database is empty: what only it knew is lost", extra={"event": "database_empty"})
    if is_new and _size(health.log_of(path)):
        raise health.Damaged("the file is missing or empty, its write-ahead log is not")
    if not os.path.lexists(path) and _size(_successor(path)):
        os.rename(_successor(path), path)  # a kill came just before this very step
    connection = schema.connect(path)
    try:
        health.check(connection)
        is_behind = health.last_words_are_lost(connection, path)
        _migrate(connection, path)
        if is_behind:
            connection.execute(_ASK_THE_FILES)
            log.warning(
                "The end of the database's write-ahead log cannot be read. After a crash that is nothing that anybody "
                "was told; after damage the last changes are lost. Files that it does not know of are looked for",
                extra={"event": "database_behind"},
            )
        connection.execute(_OPENED)
        # Into the file itself: if the log disappears, it is missed.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    try:
        schema.migrate(connection)
    except sqlite3.Error as error:
        if health.may_be_full(error):
            raise
        # Whole, as was just seen: what fails now is no reason to set it aside.
        raise StorageError(f"cannot migrate {path}: {error}") from error


def _replace(path: Path, fault: str) -> None:
    saved = salvage.read(path)
    successor = _successor(path)
    with fs.translate_errors(f"cannot set the damaged database {path} aside"):
        # The new one is complete before the old one goes: a full disk or a kill on the way costs nothing.
        for ending in salvage.BESIDE:
            Path(f"{successor}{ending}").unlink(missing_ok=True)
        connection = schema.connect(successor)
        try:
            schema.migrate(connection)
            salvage.restore(connection, saved)
        finally:
            connection.close()
        aside = salvage.set_aside(path)
        os.rename(successor, path)
        fs.fsync_directory(path.parent)
    log.error(
        "The database was damaged (%s). It is set aside as %s, and a new one takes its place. Saved from it: %d models "
        "and %d unfinished jobs%s. Lost: the milestones before now, and the jobs that had ended",
        fault,
        aside.name,
        len(saved.models),
        len(saved.unfinished),
        "; there may have been more, which cannot be read" if saved.is_partial else "",
        extra={"event": "database_set_aside"},
    )


def _successor(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

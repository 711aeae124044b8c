"""Is a database as it was written? What SQLite can tell, and what only the seals can."""

import os
import sqlite3
from pathlib import Path
from typing import BinaryIO

from arwd.database import schema
from arwd.errors import DiskFull, StorageError

_HEADER = 32
"""Bytes before the first frame of the write-ahead log."""
_FRAME_HEADER = 24

_NO_DAMAGE = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_AUTH,
    }
)
"""What may pass, or needs a person: such a file is left where it is."""


class Damaged(sqlite3.DatabaseError):
    """The database is not as it was written."""


def is_damage(error: Exception, path: Path) -> bool:
    """Does this error mean that the file itself is bad?"""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_READONLY:
        # A byte of the header says so as well.
        return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return code not in _NO_DAMAGE


def may_be_full(error: Exception) -> bool:
    """Is there no room, for all one can tell? A quota, or its own index, SQLite reports as an I/O error."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def is_full(error: Exception) -> bool:
    """Is there no room, for certain?"""
    return isinstance(error, DiskFull) or getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def check(connection: sqlite3.Connection) -> None:
    """Read every page and every row. Damaged, or another sqlite3.Error; StorageError if a newer arwd wrote it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(schema.MIGRATIONS):
        _refuse_newer(connection, version)
    # Not `quick_check`: an index that disagrees with its table would hide rows. 65 ms for 100,000 milestones.
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise Damaged(verdict)
    if version < schema.SEALED_SINCE:
        _check_unsealed(connection, version)
        return
    if _mark(connection, "schema") != version or connection.execute(f"SELECT {schema.SCHEMA_SEAL}").fetchone() != (
        _mark(connection, "schema_seal"),
    ):
        raise Damaged("the tables are not those that were made")
    for table in ("marks", "models", "jobs", "events"):
        _check_rows(connection, table)


def last_words_are_lost(connection: sqlite3.Connection, path: Path) -> bool:
    """Is the write-ahead log gone, or does it end in something that cannot be read? Asked before anything is written.

    After a crash that is what had not been committed; after damage it may be more, and nobody can tell which.
    """
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    _, readable, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    try:
        with log_of(path).open("rb") as log:
            header, beyond = _frames_beyond(log, max(readable, 0), _FRAME_HEADER + page_size)
    except FileNotFoundError:
        header, beyond = b"", []
    if not header:
        return _is_open(connection)
    # What is left from before the log was begun anew bears other salts, two of four bytes each.
    same = [frame for frame in beyond if frame[8:12] == header[16:20] or frame[12:16] == header[20:24]]
    return bool(same) or (bool(beyond) and readable <= 0)


def log_of(path: Path) -> Path:
    """The write-ahead log of a database."""
    return path.with_name(path.name + "-wal")


def _frames_beyond(log: BinaryIO, readable: int, step: int) -> tuple[bytes, list[bytes]]:
    """The header of the log, and those of the frames beyond the readable ones."""
    header, beyond = log.read(_HEADER), []
    log.seek(_HEADER + readable * step)
    while frame := log.read(_FRAME_HEADER):
        beyond.append(frame)
        log.seek(step - _FRAME_HEADER, os.SEEK_CUR)
    return header, beyond


def _is_open(connection: sqlite3.Connection) -> bool:
    """Was it never closed? Then there was a write-ahead log."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version >= schema.SEALED_SINCE and _mark(connection, "open") is not None


def _check_unsealed(connection: sqlite3.Connection, version: int) -> None:
    tables = [sql or "" for (sql,) in connection.execute("SELECT sql FROM sqlite_master")]
    if (version == 0 and tables) or any("seal" in sql for sql in tables):
        raise Damaged(f"it claims schema {version}, but has tables of a later one")


def _refuse_newer(connection: sqlite3.Connection, version: int) -> None:
    # Only if both agree: a byte of `user_version` may be what is damaged.
    known = len(schema.MIGRATIONS)
    if _mark(connection, "schema") != version:
        raise Damaged(f"it claims schema {version}, which nothing else in it confirms")
    raise StorageError(f"The database was written by a newer arwd (schema {version}, this one knows {known}).")


def _mark(connection: sqlite3.Connection, name: str) -> int | None:
    row = connection.execute("SELECT value FROM marks WHERE name = ? AND seal IS seal(name, value)", (name,)).fetchone()
    return None if row is None else int(row[0])


def _check_rows(connection: sqlite3.Connection, table: str) -> None:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    columns = ", ".join(name for name in names if name != "seal")
    (broken,) = connection.execute(f"SELECT count(*) FROM {table} WHERE seal IS NOT seal({columns})").fetchone()
    if broken:
        raise Damaged(f"{broken} rows of {table} are not as they were written")

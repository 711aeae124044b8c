"""The tables, and the seal that every row carries.

SQLite notices a page that makes no sense, not a byte within a record that was changed. So each table has a column
`seal`, which triggers keep: a checksum of the row's other columns.
"""

import sqlite3
import zlib
from pathlib import Path
from typing import Final

import msgspec

MIGRATIONS: Final = (
    """
    CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE jobs (job_id TEXT PRIMARY KEY, id TEXT NOT NULL, sequence INTEGER NOT NULL,
                       is_final INTEGER NOT NULL, finished_at TEXT, record BLOB NOT NULL) WITHOUT ROWID;
    CREATE INDEX jobs_by_sequence ON jobs (sequence);
    CREATE TABLE models (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE events (id INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, model_id TEXT,
                         job_id TEXT, is_final INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX events_by_job ON events (job_id, id) WHERE job_id IS NOT NULL;
    """,
    """
    ALTER TABLE marks ADD COLUMN seal INTEGER;
    UPDATE marks SET seal = seal(name, value);
    CREATE TRIGGER marks_made AFTER INSERT ON marks BEGIN
        UPDATE marks SET seal = seal(name, value) WHERE name = NEW.name;
    END;
    CREATE TRIGGER marks_changed AFTER UPDATE OF name, value ON marks BEGIN
        UPDATE marks SET seal = seal(name, value) WHERE name = NEW.name;
    END;
    ALTER TABLE jobs ADD COLUMN seal INTEGER;
    UPDATE jobs SET seal = seal(job_id, id, sequence, is_final, finished_at, record);
    CREATE TRIGGER jobs_made AFTER INSERT ON jobs BEGIN
        UPDATE jobs SET seal = seal(job_id, id, sequence, is_final, finished_at, record) WHERE job_id = NEW.job_id;
    END;
    CREATE TRIGGER jobs_changed AFTER UPDATE OF job_id, id, sequence, is_final, finished_at, record ON jobs BEGIN
        UPDATE jobs SET seal = seal(job_id, id, sequence, is_final, finished_at, record) WHERE job_id = NEW.job_id;
    END;
    ALTER TABLE models ADD COLUMN seal INTEGER;
    UPDATE models SET seal = seal(id, record);
    CREATE TRIGGER models_made AFTER INSERT ON models BEGIN
        UPDATE models SET seal = seal(id, record) WHERE id = NEW.id;
    END;
    CREATE TRIGGER models_changed AFTER UPDATE OF id, record ON models BEGIN
        UPDATE models SET seal = seal(id, record) WHERE id = NEW.id;
    END;
    ALTER TABLE events ADD COLUMN seal INTEGER;
    UPDATE events SET seal = seal(id, time, kind, model_id, job_id, is_final, data);
    CREATE TRIGGER events_made AFTER INSERT ON events BEGIN
        UPDATE events SET seal = seal(id, time, kind, model_id, job_id, is_final, data) WHERE id = NEW.id;
    END;
    CREATE TRIGGER events_changed AFTER UPDATE OF id, time, kind, model_id, job_id, is_final, data ON events BEGIN
        UPDATE events SET seal = seal(id, time, kind, model_id, job_id, is_final, data) WHERE id = NEW.id;
    END;
    """,
)
"""Each entry is applied once, in order; `user_version` counts them. Never edit one that was released."""

SEALED_SINCE: Final = 2
"""From this version on the rows are sealed, and the marks `schema` and `schema_seal` say what the tables are."""

SCHEMA_SEAL: Final = (
    "(SELECT seal(group_concat(type || name || tbl_name || coalesce(sql, ''), ' ')) FROM"
    " (SELECT * FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name))"
)
"""SQL: the seal of the tables' own definitions."""

_encode = msgspec.msgpack.Encoder().encode


def seal(*values: str | int | float | bytes | None) -> int:
    """The checksum (CRC-32) of a row's values."""
    return zlib.crc32(_encode(values))


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, making it if it is missing. sqlite3.Error."""
    # Autocommit mode: every transaction here is begun and ended by name. One thread at a time uses a connection.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        define_seal(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL, not NORMAL: with NORMAL a power cut takes back commits that were acknowledged, and ids with them.
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def define_seal(connection: sqlite3.Connection) -> None:
    """Make SQL's `seal(...)` known on this connection: nothing can be written without it."""
    connection.create_function("seal", -1, seal, deterministic=True)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is new, each script in a transaction of its own. sqlite3.Error."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        marks = (
            f"INSERT OR REPLACE INTO marks (name, value) VALUES ('schema', {number}), ('schema_seal', {SCHEMA_SEAL});"
            if number >= SEALED_SINCE
            else ""
        )
        connection.executescript(f"BEGIN; {script} {marks} PRAGMA user_version = {number}; COMMIT;")

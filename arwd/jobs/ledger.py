"""The durable record of jobs: one row each, rewritten with every change of state; and their secrets, apart."""

import os
import secrets
import sqlite3
from pathlib import Path

import msgspec

from arwd import fs
from arwd.database import Change
from arwd.events import days_ago
from arwd.model import Job

KEEP_DAYS = 30
KEEP_FINAL = 1_000

_decoder = msgspec.msgpack.Decoder(Job)


def new_job_id() -> str:
    """`job_` and ten hexadecimal digits: the form that LM Studio's clients know."""
    return f"job_{secrets.token_hex(5)}"


def record(job: Job) -> Change:
    """The change that makes the job's state durable."""
    encoded = msgspec.msgpack.encode(job)

    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute(
            "INSERT INTO jobs (job_id, id, sequence, is_final, finished_at, record)"
            " VALUES (?, ?, (SELECT coalesce(max(sequence), 0) + 1 FROM jobs), ?, ?, ?)"
            " ON CONFLICT (job_id) DO UPDATE"
            " SET is_final = excluded.is_final, finished_at = excluded.finished_at, record = excluded.record",
            (job.job_id, job.id, job.is_final, job.finished_at, encoded),
        )

    return change


def forget(job_id: str) -> Change:
    """The change that drops a job."""

    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,))

    return change


def prune(cursor: sqlite3.Cursor) -> None:
    """Drop final jobs older than KEEP_DAYS or beyond the newest KEEP_FINAL."""
    cursor.execute(
        "DELETE FROM jobs WHERE is_final AND (finished_at < ? OR sequence <="
        " (SELECT sequence FROM jobs WHERE is_final ORDER BY sequence DESC LIMIT 1 OFFSET ?))",
        (days_ago(KEEP_DAYS), KEEP_FINAL),
    )


def load(cursor: sqlite3.Cursor) -> list[Job]:
    """Every recorded job, oldest first."""
    return [_decoder.decode(row) for (row,) in cursor.execute("SELECT record FROM jobs ORDER BY sequence")]


def keep_secret(path: Path, url: str) -> None:
    """Write down the full URL of an unfinished job, for us alone. Blocks."""
    with fs.translate_errors("cannot keep the job's URL"):
        fs.write_atomic(path, url.encode(), mode=0o600)


def read_secret(path: Path) -> str | None:
    """The full URL, or None if it is lost."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def drop_secret(path: Path) -> None:
    """The job is final: nobody needs its URL again. Blocks."""
    if os.path.lexists(path):
        path.unlink(missing_ok=True)

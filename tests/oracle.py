"""What must be true of a state directory and of all that was ever said about it, however its daemons ended."""

import contextlib
import hashlib
import itertools
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from arwd.states import TERMINAL, TRANSITIONS, State
from tests.origin import Origin
from tests.sse import Message

AT_RISK = 1024 * 1024
"""Bytes of a job that a crash of arwd may cost."""
FINAL = ("complete", "error", "canceled")

_STATES: Mapping[str, State] = {
    "queued": State.QUEUED,
    "started": State.DOWNLOADING,
    "resumed": State.DOWNLOADING,
    "restarted": State.DOWNLOADING,
    "retrying": State.DOWNLOADING,
    "verifying": State.VERIFYING,
    "paused": State.PAUSED,
    "complete": State.COMPLETED,
    "error": State.FAILED,
    "canceled": State.CANCELED,
}
"""The state that a job is in once a milestone says so."""
_WITHIN = ("resumed", "restarted", "retrying")
"""What happens while downloading, and changes nothing about that."""

_STANDING = ("queued", "paused")
"""What is said again of a job that waits, when the database may have lost its last words."""


class Row(NamedTuple):
    """One milestone, as it lies in the journal."""

    id: int
    kind: str
    job_id: str | None
    is_final: bool
    payload: dict[str, Any]


@contextlib.contextmanager
def database(state_dir: Path) -> Iterator[sqlite3.Connection]:
    """A copy of the database: opening the one itself would finish what a crash left for the next life.

    Only for a daemon that stands still.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in ("arwd.db", "arwd.db-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(state_dir / name, Path(folder) / name)
        with contextlib.closing(sqlite3.connect(Path(folder) / "arwd.db")) as connection:
            yield connection


def rows(connection: sqlite3.Connection) -> list[Row]:
    """The journal, oldest first; a database that was cut off before it had one has none."""
    if not connection.execute("PRAGMA user_version").fetchone()[0]:
        return []
    query = "SELECT id, kind, job_id, is_final, data FROM events ORDER BY id"
    return [Row(i, kind, job, bool(final), json.loads(data)) for i, kind, job, final, data in connection.execute(query)]


def journal(state_dir: Path) -> list[Row]:
    """The journal of a daemon that stands still."""
    with database(state_dir) as connection:
        return rows(connection)


def assert_lawful(milestones: Iterable[Row]) -> None:
    """Every job went through states in an order that the table allows, and ended at most once."""
    states: dict[str, State] = {}
    for row in milestones:
        if row.kind != "Models.DownloadProgress":
            continue
        assert row.job_id is not None, row
        status, before = row.payload["status"], states.get(row.job_id)
        after = _STATES[status]
        if before is None:
            is_lawful = status in ("queued", "complete")
        elif (status in _WITHIN and before is State.DOWNLOADING) or (status in _STANDING and before is after):
            is_lawful = True
        else:
            is_lawful = after in TRANSITIONS[before].values() and status not in ("resumed", "retrying")
        assert is_lawful, f"{row.job_id} was {before} when {row.id} said {status}: {_story(milestones, row.job_id)}"
        assert row.is_final == (after in TERMINAL), row
        states[row.job_id] = after


def ends(milestones: Iterable[Row], job_id: str) -> list[str]:
    """The final words about a job."""
    return [row.payload["status"] for row in milestones if row.job_id == job_id and row.is_final]


def latest(milestones: Iterable[Row]) -> Collection[Row]:
    """The newest milestone of each job."""
    return {row.job_id: row for row in milestones if row.kind == "Models.DownloadProgress"}.values()


def _story(milestones: Iterable[Row], job_id: str) -> list[str]:
    return [row.payload["status"] for row in milestones if row.job_id == job_id and "status" in row.payload]


class History:
    """All that was ever heard on any stream, over all lives of a state directory."""

    def __init__(self) -> None:
        self.said: dict[int, tuple[str, dict[str, Any]]] = {}
        self._newest_of_earlier_lives = 0

    def heard(self, stream: Iterable[Message]) -> None:
        """The events of one stream, in order; those heard before may come again, but as they were."""
        # The first frame and a gap bear the ids of positions, not of events of their own.
        events = [message for message in stream if message.event not in ("Service.Connected", "Bus.Gap")]
        ids = [int(message.id) for message in events]
        assert all(before < after for before, after in itertools.pairwise(ids)), f"ids that do not grow: {ids}"
        for message in events:
            event_id, said = int(message.id), (message.event, message.payload)
            assert self.said.setdefault(event_id, said) == said, f"id {event_id} was used twice"

    def recorded(self, milestones: Iterable[Row]) -> None:
        """The journal says of every id what was heard of it; what it alone knows counts as heard."""
        for row in milestones:
            said = (row.kind, row.payload)
            assert self.said.setdefault(row.id, said) == said, f"id {row.id} was used twice"

    def new_life(self) -> None:
        """From here on every new id must be above all that were ever used."""
        self._newest_of_earlier_lives = max(self.said, default=0)

    def assert_begun(self, start: int) -> None:
        """`start` is the id of this life's first event."""
        assert start > self._newest_of_earlier_lives, f"{start} comes after {self._newest_of_earlier_lives}"

    def assert_nothing_lost(self, milestones: Iterable[Row], among: Collection[int] | None = None) -> None:
        """Every milestone that anybody heard is in the journal; or, of these ids, every one."""
        kept = {row.id for row in milestones}
        ticks = {"downloading", "already-in-progress", "cancel-requested", "no-active-job"}
        lost = [
            said
            for i, said in self.said.items()
            if i not in kept and said[1].get("status") not in ticks and (among is None or i in among)
        ]
        assert not lost, lost


def digest(data: bytes) -> str:
    """As it is written everywhere."""
    return hashlib.sha256(data).hexdigest()


def asked_again(origin: Origin) -> int:
    """Bytes that the origin sent more than once."""
    return max(origin.sent - len(origin.data), 0)


def assert_whole(models: Path, versions: Iterable[bytes]) -> None:
    """Whatever has a final name is, to the last byte, something that an origin served."""
    digests = set(map(digest, versions))
    for path in models.iterdir():
        if path.name.endswith((".part", ".part.json", ".tmp")):
            continue
        with contextlib.suppress(FileNotFoundError):  # removed while we looked
            assert digest(path.read_bytes()) in digests, f"{path.name} is not whole"


def assert_listed(state_dir: Path, expected: Mapping[str, bytes]) -> None:
    """`models.json` lists exactly these models, and their files are there."""
    listed = json.loads((state_dir / "models.json").read_bytes())
    assert {entry["id"] for entry in listed} == set(expected)
    for entry in listed:
        data = expected[entry["id"]]
        assert entry["status"] == "available"
        assert (entry["bytes"], entry["sha256"]) == (len(data), digest(data))
        assert Path(entry["path"]).read_bytes() == data


def assert_tidy(state_dir: Path) -> None:
    """Nothing but models is left: no part, no control file, no secret, no half-written file."""
    left = [path.name for path in (state_dir / "models").iterdir() if path.name.endswith((".part", ".json", ".tmp"))]
    assert left + [path.name for path in (state_dir / "secrets").iterdir()] == []

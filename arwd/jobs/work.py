"""What a job does with its slot: get the bytes, check them, put them in place. It knows nothing of commands.

Two kinds: `Single`, of one file, and `Several`, of a directory of files. `Worker` treats them alike.
"""

import functools
from pathlib import Path
from typing import Any, Protocol

import msgspec

from arwd import errors
from arwd.database import After, Change
from arwd.events import Fact
from arwd.jobs import facts, ledger
from arwd.jobs.record import Record
from arwd.jobs.rooms import Rooms
from arwd.model import Model, ModelFile
from arwd.states import State, Trigger
from arwd.store.doomed import doom
from arwd.store.library import record as record_model


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """Every byte is here, checked."""

    sha256: str = ""
    """Their digest, if they are one file."""
    is_cached: bool = False
    """They were here before, under another id."""


class Unchanged(msgspec.Struct, frozen=True, kw_only=True):
    """The server says that this model is what it would send."""

    model: Model


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The last words of a job that came to its files, and what is written down with them."""

    news: tuple[Fact, ...]
    changes: tuple[Change, ...] = ()
    tidy: After
    outdated: tuple[Model, ...] = ()
    """What the new model takes the place of, under another name."""


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """How far one of several files has come."""

    name: str
    downloaded: int
    is_done: bool


class Unfinished(Protocol):
    """What a job holds until it is final: a part, or a directory of them."""

    declared_size: int | None
    is_taken_up: bool

    @property
    def name(self) -> str | None:
        """The settled name below `models/`."""

    @property
    def held(self) -> int:
        """Bytes that are kept."""

    async def inherit(self, other: Any) -> bool:
        """Take over what another job of the same kind held, unless there is something already. StorageError."""

    async def sync(self, *, is_paused: bool = False) -> None:
        """Make what is held durable, and say so. StorageError."""

    async def close(self) -> None:
        """Write what was taken, and let go of the files."""

    async def discard(self) -> None:
        """Drop everything. StorageError."""

    def release(self) -> None:
        """Neither the name nor room is reserved any longer."""


class Work(Protocol):
    """What a worker lets be done."""

    async def obtain(self, url: str) -> Whole | Unchanged:
        """Have every byte, checked; `url` is the ref in full. TransferError, Sha256Mismatch, StorageError."""

    async def link(self, files: tuple[ModelFile, ...]) -> Whole | None:
        """Have every byte by giving these files a second name; None where that cannot be done. StorageError."""

    async def place(self, whole: Whole) -> Ending:
        """Give it its final name: then the job is complete, in memory. StorageError: it has none yet."""

    def is_worthless(self, error: errors.ArwdError) -> bool:
        """Does this fault mean that nothing of what is held can be used?"""

    def files(self) -> tuple[FileState, ...]:
        """How far each of several files has come."""


def keep(rooms: Rooms, record: Record, model: Model) -> Ending:
    """The copy held is current: the job is complete, in memory."""
    record.progress.begin(model.bytes, model.bytes)
    job = record.close(Trigger.UNCHANGED, actual_sha256=model.sha256, trust=model.trust, name=model.name)
    return Ending(
        news=(facts.complete(job, model, cached=True),),
        tidy=functools.partial(ledger.drop_secret, rooms.layout.secret(job.job_id)),
    )


def placed(
    rooms: Rooms,
    record: Record,
    model: Model,
    *,
    control_file: Path,
    replaced: Model | None,
    is_cached: bool,
    length_known: bool = True,
) -> Ending:
    """This model is in place, instead of the one `replaced`: the job is complete, in memory."""
    library = rooms.library
    library.put(model)
    trigger = Trigger.HAVE if record.job.state is State.QUEUED else Trigger.VERIFIED
    job = record.close(trigger, actual_sha256=model.sha256, trust=model.trust, name=model.name)
    last = facts.complete(job, model, cached=is_cached, length_known=length_known)
    outdated = () if replaced is None or replaced.name == model.name else (replaced,)
    return Ending(
        news=(facts.changed("downloaded", job.id), last),
        changes=(record_model(model), *(change for old in outdated for change in doom(old))),
        tidy=library.tidying(
            functools.partial(control_file.unlink, missing_ok=True),
            functools.partial(ledger.drop_secret, rooms.layout.secret(job.job_id)),
            *map(library.removal, outdated),
        ),
        outdated=outdated,
    )

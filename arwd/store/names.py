"""Who owns which file name below `models/`. Rule: a name is settled once, before the first byte, and never moves."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from arwd import fs
from arwd.model import Job

_SEPARATORS = re.compile(r"[/\\]")


def preferred(*, filename: str | None, suggested: str | None, url: str) -> str:
    """The name a file should have: the caller's, else the server's, else the last segment of the URL."""
    raw = filename or suggested or unquote(urlsplit(url).path.rpartition("/")[2], errors="replace")
    return fs.safe_name(_SEPARATORS.split(raw)[-1])


class Names:
    """The names in use: what lies on disk, and what running jobs have reserved."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reserved: dict[str, str] = {}  # folded name -> model id

    def settle(self, wanted: str, model_id: str, *, own: str | None = None) -> str:
        """Reserve `wanted`, or the nearest free name. `own` is the name of the file that this id holds already.

        StorageError.
        """
        if own is not None and _fold(own) == _fold(wanted):
            self._reserved[_fold(own)] = model_id
            return own
        taken = self._taken(model_id)
        mark = "-" + hashlib.sha256(model_id.encode()).hexdigest()[:8]
        candidate, number = wanted, 1
        while _fold(candidate) in taken:
            candidate = fs.shorten(wanted, mark if number == 1 else f"{mark}-{number}")
            number += 1
        self._reserved[_fold(candidate)] = model_id
        return candidate

    def hold(self, name: str, model_id: str) -> bool:
        """Reserve a name that was settled before. False if somebody else has it by now."""
        return self._reserved.setdefault(_fold(name), model_id) == model_id

    def release(self, name: str, model_id: str) -> None:
        """This model needs the name no longer; another one's reservation stays."""
        if self._reserved.get(_fold(name)) == model_id:
            del self._reserved[_fold(name)]

    def _taken(self, model_id: str) -> set[str]:
        with fs.translate_errors("cannot look which names are free"):
            on_disk = {_fold(_stripped(entry)) for entry in os.listdir(self._directory)}
        return on_disk | {name for name, owner in self._reserved.items() if owner != model_id}


class OneName:
    """The one name of a file in a directory that is all its job's: nobody else wants it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def settle(self, _: str, model_id: str, *, own: str | None = None) -> str:
        """That name."""
        return self._name

    def hold(self, name: str, model_id: str) -> bool:
        """It is free."""
        return True

    def release(self, name: str, model_id: str) -> None:
        """Nobody waits for it."""


class Claim:
    """One job's claim on a name: settled with the first answer of a server, or by an earlier transfer."""

    def __init__(self, names: Names | OneName, job: Job, own_name: str | None = None) -> None:
        """`own_name` is that of the finished file which this id holds already."""
        self._names = names
        self._job = job
        self._own_name = own_name
        self.name = job.name

    @property
    def settled(self) -> str:
        """The name; only once there is one."""
        assert self.name is not None
        return self.name

    @property
    def is_own(self) -> bool:
        """Is it the name of the finished file which this id holds already?"""
        return self.name == self._own_name

    def hold(self) -> bool:
        """Take the name that was settled before, or the one to be expected. False if another model has it."""
        name = self.name or self._preferred(None)
        self.name = name if self._names.hold(name, self._job.id) else None
        return self.name is not None

    def settle(self, suggested: str | None) -> None:
        """Decide on a free name, unless that was done. `suggested` is the server's. StorageError."""
        if self.name is None:
            self.name = self._names.settle(self._preferred(suggested), self._job.id, own=self._own_name)

    def release(self) -> None:
        """The name is no longer reserved."""
        if self.name is not None:
            self._names.release(self.name, self._job.id)

    def give_up(self) -> None:
        """It is not ours."""
        self.release()
        self.name = None

    def leave(self) -> None:
        """Somebody else's lies under the name, be it one that this id has: another one is needed."""
        self.give_up()
        self._own_name = None

    def _preferred(self, suggested: str | None) -> str:
        return preferred(filename=self._job.wanted_name, suggested=suggested, url=self._job.url)


def _stripped(entry: str) -> str:
    return entry.removesuffix(".json").removesuffix(".part") if entry.endswith((".part", ".part.json")) else entry


def _fold(name: str) -> str:
    # A file system that ignores case may also compare by another normal form; NFC is what safe_name makes.
    return name.casefold()

"""Condemned files: those that no model has any more. They are unlinked, in this life or the next, and no others."""

import sqlite3
from pathlib import Path

import msgspec

from arwd import fs
from arwd.database import Change, marks
from arwd.model import Model, ModelFile

_DOOMED = "doomed:"


class Doomed(msgspec.Struct, frozen=True, kw_only=True):
    """A file that nobody lists any more, by name, size and modification time: this very one, no other of its name."""

    name: str
    bytes: int
    mtime_ns: int


def doom(model: Model) -> tuple[Change, ...]:
    """The changes that condemn a model's files: if we end before they are unlinked, the next life does it."""
    return tuple(marks.put(_mark(file)) for file in model.on_disk)


def bury(*files: Doomed | ModelFile) -> Change:
    """The change that records: these condemned files are gone."""
    return marks.drop(*map(_mark, files))


def load(cursor: sqlite3.Cursor) -> list[Doomed]:
    """The condemned files."""
    return [msgspec.json.decode(text, type=Doomed) for text in marks.beginning(cursor, _DOOMED)]


def is_same(path: Path, file: Doomed | ModelFile) -> bool:
    """Is the file there still this one (size and modification time)? Blocks."""
    return _is_there(path, file) is True


def is_gone(path: Path, file: Doomed | ModelFile) -> bool:
    """Is this file surely not there any more? A disk that does not answer says nothing. Blocks."""
    return _is_there(path, file) is False


def _is_there(path: Path, file: Doomed | ModelFile) -> bool | None:
    """None: the disk does not answer."""
    try:
        status = fs.status_of(path)
    except NotADirectoryError:
        return False
    except OSError:
        return None
    return status is not None and (status.st_size, status.st_mtime_ns) == (file.bytes, file.mtime_ns)


def _mark(file: Doomed | ModelFile) -> str:
    return _DOOMED + msgspec.json.encode(Doomed(name=file.name, bytes=file.bytes, mtime_ns=file.mtime_ns)).decode()

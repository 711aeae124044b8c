"""The finished models: which are there, how one gets in, how it leaves. Memory decides, SQLite records.

A file gets its final name in one rename after every check; nothing else in arwd makes a name below `models/`.
"""

import contextlib
import functools
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from arwd import fs
from arwd.database import Change, marks
from arwd.errors import PartChanged, StorageError
from arwd.model import Model
from arwd.store import found
from arwd.store.control import Checked
from arwd.store.layout import Layout

_DOOMED = "doomed:"

_decoder = msgspec.msgpack.Decoder(Model)


class Doomed(msgspec.Struct, frozen=True, kw_only=True):
    """A file that nobody lists any more, by name, size and modification time: this very one, no other of its name."""

    name: str
    bytes: int
    mtime_ns: int


class Library:
    """The models under their ids."""

    def __init__(self, layout: Layout, models: Iterable[Model] = ()) -> None:
        self._layout = layout
        self._models: dict[str, Model] = {}
        self._ids: dict[str, set[str]] = {}  # digest -> the models that have it
        for model in models:
            self.put(model)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def get(self, model_id: str) -> Model | None:
        """The finished model of this id."""
        return self._models.get(model_id)

    def name(self, model_id: str) -> str | None:
        """The name of that model's file."""
        model = self._models.get(model_id)
        return None if model is None else model.name

    def put(self, model: Model) -> None:
        """The model is in place."""
        self.drop(model.id)
        self._models[model.id] = model
        self._ids.setdefault(model.sha256, set()).add(model.id)

    def drop(self, model_id: str) -> None:
        """The model is gone."""
        model = self._models.pop(model_id, None)
        if model is not None:
            self._ids[model.sha256].discard(model_id)

    def holder(self, sha256: str, *, but: str) -> Model | None:
        """A model of another id whose file has this digest, as it was when it was verified."""
        for model_id in self._ids.get(sha256, ()):
            model = self._models[model_id]
            if model_id != but and self.is_unchanged(model):
                return model
        return None

    def path(self, model: Model) -> Path:
        """Where its file is."""
        return self._layout.final(model.name)

    def is_unchanged(self, model: Model) -> bool:
        """Is the file still the one that was verified (size and modification time)?"""
        return is_same(self.path(model), model)

    async def place(self, name: str, checked: Checked, *, replaces: bool) -> None:
        """Give the checked part its final name, durably, in one rename: the commit point. StorageError.

        `replaces`: this very id holds the name; otherwise an existing file is never replaced. A file that has its
        final name already, because an earlier life was cut off right here, keeps it.
        """
        with fs.translate_errors(f"cannot put {name} in place"):
            work = functools.partial(_place, replaces=replaces)
            try:
                await fs.in_thread(work, self._layout.part(name), self._layout.final(name), checked)
            except FileExistsError as error:
                raise StorageError(
                    f"A file that is not arwd's has taken the name {name} meanwhile. The download is whole and kept: "
                    "move that file away and send the same request again, or give another filename."
                ) from error

    def tidying(self, *superseded: Path) -> Callable[[], None]:
        """What is to be done once a change of the models is durable: drop files that are superseded, rewrite
        `models.json`, ARW's own list, for programs that read files rather than ask. Blocks when called.
        """
        # As it stands now: the changes are committed in this order, so the last list is the newest.
        listing = msgspec.json.encode([self._entry(model) for model in self._models.values()])

        def tidy() -> None:
            try:
                fs.write_atomic(self._layout.list, listing)
            finally:
                for path in superseded:
                    path.unlink(missing_ok=True)

        return tidy

    def _entry(self, model: Model) -> dict[str, str | int]:
        return {
            "id": model.id,
            "provider": model.provider,
            "status": "available",
            "path": str(self.path(model)),
            "sha256": model.sha256,
            "bytes": model.bytes,
            "trust": model.trust,
        }


def record(model: Model) -> Change:
    """The change that makes the model durable."""
    encoded = msgspec.msgpack.encode(model)

    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute("INSERT OR REPLACE INTO models (id, record) VALUES (?, ?)", (model.id, encoded))

    return change


def forget(model_id: str) -> Change:
    """The change that makes its absence durable."""

    def change(cursor: sqlite3.Cursor) -> None:
        cursor.execute("DELETE FROM models WHERE id = ?", (model_id,))

    return change


def doom(model: Model) -> Change:
    """The change that condemns a model's file: if we end before it is unlinked, the next life does it."""
    return marks.put(_mark(_doomed(model)))


def bury(file: Doomed | Model) -> Change:
    """The change that records: the condemned file is gone."""
    return marks.drop(_mark(file if isinstance(file, Doomed) else _doomed(file)))


def load_doomed(cursor: sqlite3.Cursor) -> list[Doomed]:
    """The condemned files."""
    return [msgspec.json.decode(text, type=Doomed) for text in marks.beginning(cursor, _DOOMED)]


def is_same(path: Path, file: Doomed | Model) -> bool:
    """Is the file there still this one (size and modification time)? Blocks."""
    return _is_there(path, file) is True


def is_gone(path: Path, file: Doomed | Model) -> bool:
    """Is this file surely not there any more? A disk that does not answer says nothing. Blocks."""
    return _is_there(path, file) is False


def _is_there(path: Path, file: Doomed | Model) -> bool | None:
    """None: the disk does not answer."""
    try:
        status = fs.status_of(path)
    except OSError:
        return None
    return status is not None and (status.st_size, status.st_mtime_ns) == (file.bytes, file.mtime_ns)


def _doomed(model: Model) -> Doomed:
    return Doomed(name=model.name, bytes=model.bytes, mtime_ns=model.mtime_ns)


def _mark(file: Doomed) -> str:
    return _DOOMED + msgspec.json.encode(file).decode()


def load(cursor: sqlite3.Cursor) -> list[Model]:
    """Every recorded model."""
    return [_decoder.decode(row) for (row,) in cursor.execute("SELECT record FROM models ORDER BY id")]


def _place(part: Path, final: Path, checked: Checked, *, replaces: bool) -> None:
    if found.is_file(final, checked):
        if found.is_file(part, checked):
            part.unlink()  # the same file: it was linked once more before it was known to be in place
    else:
        if not found.is_file(part, checked):
            raise PartChanged(f"{part.name} is not the file that was checked")
        if replaces:
            _replace(part, final)
        else:
            fs.rename_without_replacing(part, final)
            with _or_else(fs.rename_without_replacing, final, part):
                fs.fsync_directory(final.parent)
        return
    fs.fsync_directory(final.parent)


def _replace(part: Path, final: Path) -> None:
    old = part.with_name(f".{final.name}.old.part.json.tmp")  # a start removes such names
    old.unlink(missing_ok=True)
    is_kept = fs.link(final, old)  # until the new one is there for good
    try:
        os.replace(part, final)
        with _or_else(_exchange_back, part, final, old if is_kept else None):
            fs.fsync_directory(final.parent)
    finally:
        old.unlink(missing_ok=True)


def _exchange_back(part: Path, final: Path, old: Path | None) -> None:
    if old is not None:
        fs.rename_without_replacing(final, part)
        os.replace(old, final)


@contextlib.contextmanager
def _or_else(undo: Callable[..., None], *arguments: Path | None) -> Iterator[None]:
    """What the disk did not make durable has not happened: a job that is canceled then must leave no file."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            undo(*arguments)
        raise

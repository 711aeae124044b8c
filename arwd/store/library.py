"""The finished models: which are there, how one gets in, how it leaves. Memory decides, SQLite records.

A file gets its final name in one rename after every check; nothing else in arwd makes a name below `models/`.
"""

import functools
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from arwd import fs
from arwd.database import Change
from arwd.errors import StorageError
from arwd.model import Model, ModelFile
from arwd.store import doomed, placing
from arwd.store.control import Checked
from arwd.store.layout import Layout

_decoder = msgspec.msgpack.Decoder(Model)


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
        """What that model is called below `models/`."""
        model = self._models.get(model_id)
        return None if model is None else model.name

    def put(self, model: Model) -> None:
        """The model is in place."""
        self.drop(model.id)
        self._models[model.id] = model
        for digest in _digests(model):
            self._ids.setdefault(digest, set()).add(model.id)

    def drop(self, model_id: str) -> None:
        """The model is gone."""
        model = self._models.pop(model_id, None)
        if model is not None:
            for digest in _digests(model):
                self._ids[digest].discard(model_id)

    def holder(self, content: str, *, but: str = "") -> tuple[ModelFile, ...]:
        """The files of another id that are this, as they were when they were verified; none if nobody has them.

        `content` is the digest of a file, which may be one of several, or that of a list of files.
        """
        for model_id in self._ids.get(content, ()):
            if model_id != but:
                files = _with(self._models[model_id], content)
                if all(doomed.is_same(self.path(file), file) for file in files):
                    return files
        return ()

    def path(self, placed: Model | ModelFile) -> Path:
        """Where it is: its file, or its directory."""
        return self._layout.final(placed.name)

    def is_unchanged(self, model: Model) -> bool:
        """Are its files still the ones that were verified (size and modification time)?"""
        return all(doomed.is_same(self.path(file), file) for file in model.on_disk)

    def is_gone(self, model: Model) -> bool:
        """Is one of its files surely not there any more? A disk that does not answer says nothing."""
        return any(doomed.is_gone(self.path(file), file) for file in model.on_disk)

    def removal(self, model: Model) -> Callable[[], None]:
        """The unlinking of its own files; what else lies in its directory stays. Blocks when called; OSError."""
        return functools.partial(fs.remove_files, self._layout.models, [file.name for file in model.on_disk])

    async def place(self, name: str, checked: Checked, *, replaces: Model | None) -> None:
        """Give the checked part its final name, durably, in one rename: the commit point. StorageError.

        `replaces`: the model of this very id; unless it holds the name, what is there is never replaced. What has its
        final name already, because an earlier life was cut off right here, keeps it.
        """
        is_own = replaces is not None and replaces.name == name
        own = {self.path(file) for file in replaces.on_disk} if replaces is not None and is_own else None
        with fs.translate_errors(f"cannot put {name} in place"):
            try:
                await fs.in_thread(placing.place, self._layout.part(name), self._layout.final(name), checked, own)
            except FileExistsError as error:
                raise StorageError(
                    f"A file that is not arwd's has taken the name {name} meanwhile. The download is whole and kept: "
                    "move that file away and send the same request again, or give another filename."
                ) from error

    def tidying(self, *removals: Callable[[], None]) -> Callable[[], None]:
        """What is to be done once a change of the models is durable: remove what is superseded, rewrite
        `models.json`, ARW's own list, for programs that read files rather than ask. Blocks when called.
        """
        # As it stands now: the changes are committed in this order, so the last list is the newest.
        listing = msgspec.json.encode([self._entry(model) for model in self._models.values()])

        def tidy() -> None:
            try:
                fs.write_atomic(self._layout.list, listing)
            finally:
                for remove in removals:
                    remove()

        return tidy

    def _entry(self, model: Model) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": model.id,
            "provider": model.provider,
            "status": "available",
            "path": str(self.path(model)),
            "bytes": model.bytes,
            "trust": model.trust,
        }
        if model.sha256 is not None:
            return entry | {"sha256": model.sha256}
        start = len(model.name) + 1
        return entry | {
            "files": [{"name": file.name[start:], "sha256": file.sha256, "bytes": file.bytes} for file in model.files]
        }


def _digests(model: Model) -> set[str]:
    """By what it can be asked for."""
    return {file.sha256 for file in model.on_disk} | ({model.content} if model.content else set())


def _with(model: Model, content: str) -> tuple[ModelFile, ...]:
    """What of the model has this digest."""
    if model.content == content:
        return model.on_disk
    return tuple(file for file in model.files if file.sha256 == content)[:1]


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


def load(cursor: sqlite3.Cursor) -> list[Model]:
    """Every recorded model."""
    return [_decoder.decode(row) for (row,) in cursor.execute("SELECT record FROM models ORDER BY id")]

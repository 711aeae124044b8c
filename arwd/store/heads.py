"""The heads of many models, read once. Rule: one is read anew exactly when a file of its model has changed."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from arwd import fs
from arwd.store.inspect import Head, inspect

Stamp = tuple[str, int, int]
"""Path, size in bytes and modification time in nanoseconds of a file: what says that it is the same."""


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    stamps: tuple[Stamp, ...]
    head: Head | None


class Heads:
    """What was read, by the id of its model. It holds no more models than were asked for last."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._reading = asyncio.Lock()

    async def of(self, paths: Mapping[str, Sequence[Path]]) -> dict[str, Head | None]:
        """The heads of the models of these ids, each with the paths of its files. None: it has none, or the disk
        does not give it. Whoever asks meanwhile waits, and is spared the reading.
        """
        async with self._reading:
            self._known = await fs.in_thread(_read, dict(paths), self._known)
            return {model_id: self._known[model_id].head for model_id in paths}


def _read(paths: Mapping[str, Sequence[Path]], known: Mapping[str, _Known]) -> dict[str, _Known]:
    return {model_id: _read_one(files, known.get(model_id)) for model_id, files in paths.items()}


def _read_one(files: Sequence[Path], before: _Known | None) -> _Known:
    try:
        stamps = tuple(_stamp(path) for path in files)
        if before is not None and before.stamps == stamps:
            return before
        return _Known(stamps=stamps, head=inspect(files))
    except OSError:
        return _Known(stamps=(), head=None)  # no model is without files: next time it is tried again


def _stamp(path: Path) -> Stamp:
    status = os.stat(path)
    return str(path), status.st_size, status.st_mtime_ns

"""The commit point: what was checked gets its final name, in one rename that a stop or a crash cannot halve.

Rule: nothing else makes a name below `models/`, and only what this very id holds is replaced.
"""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from arwd import fs
from arwd.errors import PartChanged, StorageError
from arwd.store import found
from arwd.store.control import Checked


def place(part: Path, final: Path, checked: Checked, own: Collection[Path] | None) -> None:
    """Give the checked part, a file or a directory, its final name, durably. Blocks.

    `own`: the files that this very id holds under that name and that it replaces; None if it holds none. OSError,
    PartChanged, StorageError; FileExistsError if somebody else's file has the name.
    """
    if found.is_there(final, checked):
        # An earlier life was cut off right here. What lies there as the part is the same file, or what was replaced.
        if checked.files or found.is_there(part, checked):
            fs.remove(part)
        fs.fsync_directory(final.parent)
        return
    if not found.is_there(part, checked):
        raise PartChanged(f"{part.name} is not what was checked")
    if own is None or not os.path.lexists(final):
        fs.rename_without_replacing(part, final)
        with _or_else(fs.rename_without_replacing, final, part):
            fs.fsync_directory(final.parent)
    elif final.is_dir() or part.is_dir():
        _refuse_strangers(final, own)
        _swap(part, final)
    else:
        _replace(part, final)


def _replace(part: Path, final: Path) -> None:
    old = _scratch(final)
    old.unlink(missing_ok=True)
    is_kept = fs.link(final, old)  # until the new one is there for good
    try:
        os.replace(part, final)
        with _or_else(_exchange_back, part, final, old if is_kept else None):
            fs.fsync_directory(final.parent)
    finally:
        old.unlink(missing_ok=True)


def _swap(part: Path, final: Path) -> None:
    """A directory cannot be renamed onto another: the two change places."""
    old = _scratch(final)
    fs.remove(old)
    if fs.exchange(part, final):
        with _or_else(fs.exchange, part, final):
            fs.fsync_directory(final.parent)
        os.rename(part, old)
    else:
        # In two steps where the file system has no other way: the control file vouches for the part in between.
        os.rename(final, old)
        with _or_else(os.rename, old, final):
            fs.rename_without_replacing(part, final)
        with _or_else(_exchange_back, part, final, old):
            fs.fsync_directory(final.parent)
    with contextlib.suppress(OSError):  # then the next start removes it
        fs.remove(old)


def _refuse_strangers(final: Path, own: Collection[Path]) -> None:
    """What somebody else put into the model's directory would go with it."""
    if not final.is_dir() or final.is_symlink():
        return
    stranger = next((path for path, _ in fs.files_below(final) if path not in own), None)
    if stranger is not None:
        raise StorageError(
            f"The directory {final.name} cannot be replaced: {stranger.relative_to(final)} in it is not arwd's. The "
            "download is whole and kept: move that file away and send the same request again."
        )


def _scratch(final: Path) -> Path:
    return final.with_name(f".{final.name}.old.part.json.tmp")  # a start removes such names


def _exchange_back(part: Path, final: Path, old: Path | None) -> None:
    if old is not None:
        fs.rename_without_replacing(final, part)
        os.replace(old, final)


@contextlib.contextmanager
def _or_else(undo: Callable[..., object], *arguments: Path | None) -> Iterator[None]:
    """What the disk did not make durable has not happened: a job that is canceled then must leave no file."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            undo(*arguments)
        raise

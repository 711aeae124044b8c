"""What is done on disk with the directory of a model of several files. All of it blocks."""

import concurrent.futures
import contextlib
import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from arwd import fs
from arwd.errors import NotSynced, PartChanged
from arwd.store import control, found, identity
from arwd.store.control import CheckedFile, ControlFile
from arwd.store.layout import Folder

_AT_ONCE = 8
"""Files that are made durable side by side: the disk does it in one go."""


def look(
    layout: Folder,
    name: str,
    wanted: ControlFile,
    is_ours: bool,  # noqa: FBT001 (for a thread)
    is_own: bool,  # noqa: FBT001
) -> ControlFile | None:
    """What lies there under this name: with `checked` if it is whole. None: it is not ours. OSError.

    What of it belongs to no file that is wanted is dropped. `is_ours`: the name was settled as this job's before.
    `is_own`: the finished model of this id has the name.
    """
    part, final = layout.part(name), layout.final(name)
    known = control.read(layout.control_file(name))
    if os.path.lexists(part) and (part.is_symlink() or not part.is_dir()):
        return None
    if known is None:
        is_bare = not os.path.lexists(part) and not os.path.lexists(layout.control_file(name))
        is_free = is_bare and (is_own or not os.path.lexists(final))
        return wanted if is_free or is_ours else None
    if known.id != wanted.id or known.directory is None:
        return None
    if known.checked is not None and found.is_checked(layout, name, known.checked):
        if control.is_answer(wanted, known):
            return replace(wanted, checked=known.checked)
        if found.is_there(final, known.checked) and not is_own and not os.path.lexists(part):
            # It was checked for a job that failed behind its rename. Nobody lists it, and for this one it is a part.
            fs.rename_without_replacing(final, part)
    if not is_ours and known.url != wanted.url:
        control.discard(layout, name, wanted.id)
        return wanted
    before = {file.name: file for file in known.files}
    gone = [file for file in known.files if file.name not in {each.name for each in wanted.files}]
    changed = [file for file in wanted.files if file.name in before and not identity.is_same(file, before[file.name])]
    for file in (*gone, *changed):
        Folder(part).drop(file.name or "")
    # With their folders: the next commit may have a file of that name.
    fs.remove_files(part, [file.name or "" for file in gone])
    return wanted


def prepare(directory: Path, names: Iterable[str]) -> None:
    """Make the directory, and the folders of these files. OSError."""
    folders = {folder for name in names for folder in (directory / name).parents if folder.is_relative_to(directory)}
    for folder in sorted({directory, *folders}):
        folder.mkdir(exist_ok=True)
        if folder.is_symlink():
            raise OSError(errno.ENOTDIR, "a link lies where a folder belongs")


def make_durable(directory: Path, files: Sequence[CheckedFile]) -> None:
    """Bring the files and their names to the disk. StorageError; PartChanged if one is not what was checked."""
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda file: _make_durable(directory / file.name, file), files))
    with fs.translate_errors(f"cannot sync {directory.name}"):
        for folder in _folders(directory, files):
            fs.fsync_directory(folder)
        fs.fsync_directory(directory.parent)


def strip(directory: Path, names: Iterable[str]) -> None:
    """Remove what else belongs to these finished files. OSError."""
    folder = Folder(directory)
    for name in names:
        fs.remove(folder.control_file(name))
        fs.remove(folder.part(name))
    for scratch in directory.rglob(".*.part.json.tmp"):
        fs.remove(scratch)


def _make_durable(path: Path, file: CheckedFile) -> None:
    try:
        status = fs.fsync_file(path)
    except OSError as error:
        # Never sync again and believe it: the kernel drops what it could not write, and says so only once.
        with contextlib.suppress(OSError):
            path.unlink()
        raise fs.storage_error(f"cannot sync {file.name}", error, NotSynced) from error
    if (status.st_ino, status.st_size, status.st_mtime_ns) != (file.inode, file.bytes, file.mtime_ns):
        raise PartChanged(f"{file.name} is not what was checked")


def _folders(directory: Path, files: Sequence[CheckedFile]) -> list[Path]:
    """All that hold one, the deepest first."""
    folders = {directory}
    for file in files:
        folders.update(folder for folder in (directory / file.name).parents if folder.is_relative_to(directory))
    return sorted(folders, key=lambda folder: len(folder.parts), reverse=True)

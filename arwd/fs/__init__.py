"""The file system, made safe: whole-or-absent writes, durable directories, names that every platform takes."""

import asyncio
import contextlib
import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from arwd.errors import DiskFull, PartChanged, QuotaExceeded, ReadOnly, SettingsError, StorageError
from arwd.fs.naming import MAX_NAME_BYTES, safe_name, shorten, split_suffix
from arwd.fs.renames import exchange, rename_without_replacing
from arwd.fs.trees import files_below, remove, remove_files

__all__ = [
    "MAX_NAME_BYTES",
    "cut",
    "exchange",
    "files_below",
    "free_bytes",
    "fsync_directory",
    "fsync_file",
    "in_thread",
    "link",
    "link_unchanged",
    "open_at_length",
    "read_piece",
    "read_setting",
    "remove",
    "remove_files",
    "rename_without_replacing",
    "safe_name",
    "seal",
    "shorten",
    "split_suffix",
    "status_of",
    "storage_error",
    "total_bytes",
    "translate_errors",
    "write_atomic",
]

Result = TypeVar("Result")


_FAMILIES: Final[Mapping[int | None, type[StorageError]]] = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: QuotaExceeded,
    errno.EROFS: ReadOnly,
}


@contextlib.contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says what was being done."""
    try:
        yield
    except OSError as error:
        raise storage_error(what, error) from error


def storage_error(what: str, error: Exception, otherwise: type[StorageError] = StorageError) -> StorageError:
    """What this error of the disk comes to: a full one, a used-up quota and a read-only one have codes of their own."""
    family = _FAMILIES.get(getattr(error, "errno", None), otherwise)
    return family(f"{what}: {getattr(error, 'strerror', None) or error}")


async def in_thread(
    work: Callable[..., Result], *arguments: Any, undo: Callable[[Result], None] | None = None
) -> Result:
    """Run blocking work in a thread. A cancel waits for it to end, so that nothing appears after it was cleaned up.

    `undo` is given the result that a cancelled caller does not get.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if undo is not None and running.exception() is None:
            undo(running.result())
        raise


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` so that a crash leaves the old bytes or the new, never a mix."""
    scratch = path.with_name(f".{path.name}.tmp")
    # What lies there may be a link to somebody else's file: it is removed, never written through.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(scratch)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def seal(data: bytes) -> str:
    """A checksum of eight hexadecimal digits (CRC-32): it finds what a disk changed, not what a person did."""
    return f"{zlib.crc32(data):08x}"


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable: a rename is not, until its directory is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> os.stat_result:
    """Make the bytes of a file durable; what it is now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def open_at_length(path: Path, length: int) -> int:
    """A descriptor of a plain file that is ours alone, cut to `length`; made if that is 0. PartChanged if shorter."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.ExitStack() as on_failure:
        try:
            descriptor = os.open(path, flags if length else flags | os.O_CREAT, 0o644)
        except FileNotFoundError as error:
            raise PartChanged(f"{path.name} is gone") from error
        on_failure.callback(os.close, descriptor)
        status = os.fstat(descriptor)
        # A link planted here would let us write into somebody else's file; a pipe or a device is no file at all.
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EINVAL, "not a plain file of ours")
        if status.st_size < length:
            raise PartChanged(f"{path.name} is shorter than it was left")
        os.ftruncate(descriptor, length)
        on_failure.pop_all()
        return descriptor


def cut(path: Path, length: int) -> None:
    """Shorten a file. PartChanged if it is shorter already; nothing is made where none is."""
    if length or os.path.lexists(path):
        os.close(open_at_length(path, length))


def read_piece(path: Path, offset: int, count: int) -> bytes:
    """So many bytes of a file, fewer at its end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, count, offset)
    finally:
        os.close(descriptor)


def read_setting(setting: str, path: Path, most: int, *, is_secret: bool = False) -> tuple[bytes, os.stat_result]:
    """The bytes of the file that a setting names, and its status; never waits for a pipe. SettingsError.

    `is_secret`: its sentence repeats the path only if something is there, as it may be the secret itself otherwise.
    """
    try:
        return _read_regular(path, most)
    except OSError as error:
        named = path if not is_secret or os.path.lexists(path) else "the file"
        advice = " Write the token into a file, run chmod 600 on it, and give its path here." if is_secret else ""
        raise SettingsError(f"Cannot read {named} (setting {setting}): {error.strerror}.{advice}") from error


def _read_regular(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        data = file.read(most + 1)
    if data is None or len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes, or does not end")
    return data, status


def status_of(path: Path) -> os.stat_result | None:
    """What is under this name, itself and not what it points to; None if nothing is."""
    try:
        return path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def link(source: Path, target: Path) -> bool:
    """Give a file a second name. False where that cannot be: no links here, too many, or no such file."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.ENOENT):
            raise
        return False
    return True


def link_unchanged(source: Path, target: Path, *, size: int, mtime_ns: int) -> os.stat_result | None:
    """Give a file a second name, if it is still the one with this size and time; None, and no name, otherwise."""
    if not link(source, target):
        return None
    # Looked at only now: under the name of the source there may be another file by the time it is linked.
    status = status_of(target)
    if status is not None and (status.st_size, status.st_mtime_ns) == (size, mtime_ns):
        return status
    target.unlink(missing_ok=True)
    return None


def free_bytes(path: Path) -> int:
    """Bytes that an ordinary user may still write on this file system."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def total_bytes(path: Path) -> int:
    """The size of this file system."""
    status = os.statvfs(path)
    return status.f_blocks * status.f_frsize

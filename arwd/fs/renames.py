"""Renames that Python does not know: never over something else, and two names at once. All of it blocks."""

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Final

_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100


def rename_without_replacing(source: Path, target: Path) -> None:
    """Rename in one step; FileExistsError if the target exists, also if it appeared this instant."""
    if _rename_with(source, target, _RENAME_NOREPLACE):
        return
    # Some file systems (NFS, older FUSE) do not know the flag; link and unlink are as strict.
    if source.is_dir() and not source.is_symlink():
        # A directory has one name; renamed onto another it replaces an empty one at the most.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        os.rename(source, target)
        return
    os.link(source, target)
    os.unlink(source)


def exchange(first: Path, second: Path) -> bool:
    """Let two names change places in one step. False where that cannot be: nothing has changed."""
    return _rename_with(first, second, _RENAME_EXCHANGE)


def _rename_with(source: Path, target: Path, flag: int) -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(target))

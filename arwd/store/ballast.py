"""Four MiB that are given up when the database meets a full disk, so that it can write down what became of the jobs."""

import contextlib
import logging
import os
from pathlib import Path

from arwd import fs

log = logging.getLogger(__name__)

SIZE = 4 << 20


class Ballast:
    """The one file. Both calls block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def release(self) -> bool:
        """Give the room back to the disk. Was there any?"""
        try:
            os.unlink(self._path)
        except OSError:
            return False
        log.warning("The disk is full: the ballast is released", extra={"event": "ballast_released"})
        return True

    def make(self) -> bool:
        """Take the room, unless there is little of it. Is the ballast there?"""
        with contextlib.suppress(OSError):
            if self._is_made():
                return True
            if fs.free_bytes(self._path.parent) < 2 * SIZE:
                return False
            self._allocate()
            return True
        return False

    def _is_made(self) -> bool:
        try:
            status = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        # A copied directory may hold one that takes no room.
        return status.st_size == SIZE and status.st_blocks * 512 >= SIZE

    def _allocate(self) -> None:
        self._path.unlink(missing_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SIZE)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

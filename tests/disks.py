"""A disk of the tests' own, which can be full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Disk:
    """A small file system of its own; where none may be mounted, a directory whose writers are told that it is full."""

    def __init__(self, path: Path, *, is_real: bool) -> None:
        self.path = path
        self.is_real = is_real
        self._stuffing = path / "stuffing"

    @property
    def is_full(self) -> bool:
        return self._stuffing.exists()

    @property
    def planned(self) -> dict[str, Any]:
        """What a daemon on this disk must be told (tests/faults.py)."""
        return {} if self.is_real else {"full_while": str(self._stuffing)}

    def fill(self, left: int) -> None:
        """Take all room but so many bytes."""
        self._stuffing.touch()
        if self.is_real:
            status = os.statvfs(self.path)
            size = self._stuffing.stat().st_size + status.f_bavail * status.f_frsize
            with self._stuffing.open("r+b") as file, contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(size - left, 1))

    def free(self) -> None:
        """Give the room back."""
        self._stuffing.unlink(missing_ok=True)


@contextlib.contextmanager
def small(path: Path, mebibytes: int) -> Iterator[Disk]:
    """A disk of this size in memory, mounted at `path`."""
    path.mkdir()
    options = f"size={mebibytes}m,mode=0700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    is_real = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield Disk(path, is_real=is_real)
    finally:
        if is_real:
            subprocess.run(["umount", "--lazy", str(path)], check=True)

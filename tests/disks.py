"""Disks of the tests' own: one that can be full, one whose power can be cut."""

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_EXT4_IOC_SHUTDOWN = 0x8004587D
_NOLOGFLUSH = 2
"""Neither data nor the journal's buffers reach the disk any more: what a loss of power leaves."""


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


class Powered:
    """A file system on a loop device: what was not made durable is gone when its power is cut."""

    def __init__(self, image: Path, path: Path) -> None:
        self._image = image
        self.path = path

    def plug_in(self) -> None:
        # Without what ext4 does for programs that forget to sync: what is not asked for is not done.
        options = "loop,noauto_da_alloc,data=writeback"
        subprocess.run(["mount", "-o", options, str(self._image), str(self.path)], check=True)

    def cut(self) -> None:
        """From this moment on nothing reaches the disk."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def unplug(self) -> None:
        subprocess.run(["umount", str(self.path)], check=True)


@contextlib.contextmanager
def powered(folder: Path, mebibytes: int) -> Iterator[Powered]:
    """A new ext4 of this size, plugged in."""
    image, path = folder / "image", folder / "mounted"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    disk = Powered(image, path)
    disk.plug_in()
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)

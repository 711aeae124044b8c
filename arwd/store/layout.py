"""Every path below the state directory, and the lock that makes it ours.

arwd.db  lock  models.json
arwd.db.corrupt-<time>    a damaged database, set aside; arwd never reads it again, nor deletes it
ballast                   4 MiB that the database gets when the disk is full
models/<name>             complete and checked
models/<name>.part        growing
models/<name>.part.json   its control file
models/<name>/            a model of several files, complete and checked; models/<name>.part/ while it grows, in
                          which each file of more than a mebibyte has a part and a control file of its own
secrets/<job_id>          the full URL of an unfinished job; nothing else here holds a secret
"""

import fcntl
import os
from pathlib import Path

import msgspec

from arwd import fs
from arwd.errors import StateDirectoryInUse


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things are kept, and how much room is left alone."""

    state_dir: str = ""
    """The state directory; empty means the platform's own place for it."""
    reserve: int | None = None
    """Bytes of disk that arwd leaves alone; by default 1 GiB or 5 % of the disk, the larger."""
    max_file_size: int | None = None
    """Bytes that one file may have; a larger one ends in `size_limit`. By default any number."""
    quota: int | None = None
    """Bytes that all models and parts together may take; more ends in `quota_exceeded`. By default any number."""


class Folder:
    """Where files lie, unfinished and finished. A name may have steps, with `/`."""

    def __init__(self, models: Path) -> None:
        self.models = models

    def part(self, name: str) -> Path:
        """The unfinished file."""
        return self.models / f"{name}.part"

    def control_file(self, name: str) -> Path:
        """What is known of the unfinished file."""
        return self.models / f"{name}.part.json"

    def final(self, name: str) -> Path:
        """The finished file."""
        return self.models / name

    def drop(self, name: str) -> None:
        """Remove a file with all that belongs to it. Blocks; OSError."""
        for path in (self.final(name), self.part(name), self.control_file(name)):
            fs.remove(path)


class Layout(Folder):
    """The paths of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__(state_dir / "models")
        self.state_dir = state_dir
        self.secrets = state_dir / "secrets"
        self.database = state_dir / "arwd.db"
        self.list = state_dir / "models.json"
        self.ballast = state_dir / "ballast"
        self._lock_file = state_dir / "lock"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Make what is missing and take the lock. StateDirectoryInUse if another daemon has it; StorageError."""
        with fs.translate_errors(f"cannot use the state directory {self.state_dir}"):
            self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()
            self.models.mkdir(exist_ok=True)
            self.secrets.mkdir(exist_ok=True, mode=0o700)
            self.secrets.chmod(0o700)

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret(self, job_id: str) -> Path:
        """The full URL of an unfinished job."""
        return self.secrets / job_id

    def _take_lock(self) -> None:
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Held for life: the kernel gives it back however the process ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StateDirectoryInUse(
                f"The state directory {self.state_dir} is in use by another arwd. "
                "Stop that one, or give this one a directory of its own with --state-dir."
            ) from error
        self._lock = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

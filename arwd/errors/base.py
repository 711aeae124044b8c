"""The root of the tree, and what the disk or the start can refuse."""

from typing import ClassVar


class ArwdError(Exception):
    """The root. `str(error)` is a sentence for people, `code` a name for machines."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    most_attempts: ClassVar[int | None] = None
    """How often in a row it is worth trying again; None: as long as `retry_for` says."""

    def details(self) -> dict[str, str | int]:
        """What this error adds to its event, beyond code and sentence."""
        return {}


class StorageError(ArwdError):
    """The disk refused a read, a write or a rename."""

    code = "io"


class PartChanged(StorageError):
    """A part is not as we left it: somebody else removed or cut it. The transfer begins anew."""


class NotSynced(PartChanged):
    """The disk refused to make bytes durable: those after the last good sync may be lost, and have to come again."""


class ReadOnly(StorageError):
    """The file system is mounted read-only."""

    code = "read_only"


class DiskFull(StorageError):
    """No room: the job is paused, and goes on by itself when there is room again."""

    code, status = "disk_full", 507


class QuotaExceeded(StorageError):
    """The models may not take up more than `quota`, or the system's quota for this user is used up."""

    code = "quota_exceeded"


class SizeLimit(StorageError):
    """The file is larger than `max_file_size` allows."""

    code = "size_limit"


class StartError(ArwdError):
    """The daemon cannot start."""

    exit_status: ClassVar[int] = 1


class SettingsError(StartError):
    """A setting is unknown, ill-typed or contradicts another (EX_CONFIG)."""

    exit_status = 78


class StateDirectoryInUse(StartError):
    """Another daemon holds the lock (EX_TEMPFAIL)."""

    exit_status = 75

"""What the transfer of one of several files reports, told as its job's."""

from collections.abc import Callable

from arwd import errors
from arwd.jobs.record import Record
from arwd.store.members import Member


class Delivery:
    """One file's way into its job's record. Mutable state: does it wait to be tried again?"""

    def __init__(self, record: Record, member: Member, held: Callable[[], int]) -> None:
        """`held` tells the bytes that are kept of all files."""
        self._record = record
        self._member = member
        self._name = member.name
        self._held = held
        self._is_waiting = False

    def received(self, count: int) -> None:
        """So many more bytes have arrived."""
        self._record.received(count)

    async def resumed(self, offset: int, size: int | None) -> None:
        """The transfer of the file goes on; of the job's that was said when it began."""
        self._begin()

    async def began(self, size: int | None) -> None:
        """The transfer of the file begins."""
        self._begin()

    async def restarted(self, code: str, discarded: int, kept: int) -> None:
        """Bytes of the file had to be given up; so many of it are kept, though it may hold the others still."""
        others = self._held() - self._member.held
        self._record.gave_up(code, discarded, others + kept, self._name)

    async def retrying(self, error: errors.TransferError, attempt: int, delay: float) -> None:
        """A transient fault of this file; the others go on."""
        self._is_waiting = True
        self._record.waits(error, attempt, delay, self._name)

    def _begin(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._record.goes_on()
        self._record.progress.downloaded = self._held()
        self._record.file_begins(self._name)

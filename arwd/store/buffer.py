"""A small file while it arrives: in memory, as a control file and two threads would cost more than it is worth."""

from arwd.errors import PartChanged

LARGEST = 1 << 20
"""Bytes. A crash costs as much of any part."""


class Buffer:
    """The bytes of one file of known size. Satisfies the transfer's sink."""

    unproven = 0
    is_pieced = False

    def __init__(self, size: int) -> None:
        self.size: int | None = size
        self.validator: str | None = None
        self.declared_sha256: str | None = None
        self.begun = 0
        self._bytes = bytearray()
        self._most = size

    @property
    def held(self) -> int:
        """Bytes from the start of the file that are kept."""
        return len(self._bytes)

    @property
    def full(self) -> bool:
        """Memory is never behind."""
        return False

    @property
    def data(self) -> bytes:
        """What has come."""
        return bytes(self._bytes)

    async def begin(
        self,
        *,
        start: int,
        size: int | None,
        validator: str | None,
        declared: str | None,
        length_known: bool,
        suggested: str | None,
    ) -> None:
        """Make ready to take bytes from `start` on; what is held beyond is dropped."""
        del self._bytes[start:]
        self.declared_sha256 = declared or (self.declared_sha256 if start else None)
        self.validator, self.is_pieced = validator, start > 0
        self.begun += 1

    def put(self, chunk: bytes) -> None:
        """Take the next bytes. PartChanged: they are more than the file has."""
        if self.held + len(chunk) > self._most:
            raise PartChanged("the file is longer than was said")
        self._bytes += chunk

    async def room(self) -> None:
        """There is some."""

    async def settle(self) -> None:
        """Nothing is written."""

    async def clear(self) -> int:
        """Drop every byte, and say how many they were."""
        dropped, self._bytes, self.is_pieced = self.held, bytearray(), False
        return dropped

    async def fall_back(self) -> int:
        """All is as safe as it was."""
        return 0

    async def read(self, offset: int, count: int) -> bytes:
        """Some of the bytes held."""
        return bytes(self._bytes[offset : offset + count])

    async def own(self, *, size: int, validator: str | None) -> None:
        """Nobody else's bytes are here."""

    def disown(self) -> None:
        """Nobody else's bytes are here."""

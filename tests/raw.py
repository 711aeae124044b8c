"""What every raw server of the tests does: answer, connection by connection, until it is closed."""

import abc
import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import TypeVar

Each = TypeVar("Each", bound="RawServer")


class RawServer(abc.ABC):
    """A server on port 0 that reads and writes bytes itself."""

    def __init__(self) -> None:
        self.port = 0
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._answer(reader, writer):
                    pass
        finally:
            self._open.discard(task)
            writer.close()

    async def close(self) -> None:
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    @abc.abstractmethod
    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request. False: the connection ends with it."""


@contextlib.asynccontextmanager
async def answering(each: Each, context: ssl.SSLContext | None = None) -> AsyncIterator[Each]:
    """It listens on 127.0.0.1; with a context it speaks TLS."""
    server = await asyncio.start_server(each.serve, "127.0.0.1", 0, ssl=context)
    each.port = server.sockets[0].getsockname()[1]
    try:
        yield each
    finally:
        server.close()
        await each.close()

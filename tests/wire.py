"""A raw connection to the daemon: for what an HTTP client would tidy up before it is sent."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.running import Running

PATIENCE = 5.0
"""Seconds until an answer that does not come is a failure."""
JSON = "Content-Type: application/json"


@dataclass(frozen=True)
class Answer:
    """One response, as it was on the wire. Header names are lower case."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.fields)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.fields]

    def json(self) -> dict[str, object]:
        return json.loads(self.body)


class Wire:
    """One TCP connection to the daemon: sends the bytes it is given, reads responses strictly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self, method: str = "GET") -> Answer:
        """The next response; of an event stream only the head. EOFError when the daemon has hung up."""
        async with asyncio.timeout(PATIENCE):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
                line, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
                fields = tuple((name.lower(), value) for name, _, value in (field.partition(": ") for field in rest))
                status, headers = int(line.split(" ")[1]), dict(fields)
                assert line.startswith("HTTP/1.1 "), line
                assert len(headers) == len(fields), f"a header comes twice: {fields}"
                if status < 200:
                    return await self.answer(method)
                if method == "HEAD" or status in (204, 304) or headers.get("content-type", "").startswith("text/event"):
                    return Answer(status, fields, b"")
                if headers.get("transfer-encoding") == "chunked":
                    return Answer(status, fields, await self._chunks())
                return Answer(status, fields, await self._reader.readexactly(int(headers["content-length"])))
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise EOFError(repr(error)) from error

    async def poured(self, data: bytes, step: int) -> Answer:
        """The answer to these bytes, sent in pieces of `step` for as long as none has come."""
        answering = asyncio.create_task(self.answer())
        for offset in range(0, len(data), step):
            self.send(data[offset : offset + step])
            await asyncio.wait([answering], timeout=0.001)  # a peer that hung up must be heard before the next piece
            if answering.done():
                break
        return await answering

    async def ended(self) -> bytes:
        """What still comes until the daemon hangs up."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                return await self._reader.read()
            return b""

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return body


@contextlib.asynccontextmanager
async def connected(daemon: Running) -> AsyncIterator[Wire]:
    """A connection to this daemon."""
    port = port_of(daemon)
    wire = Wire(*await daemon.overheard.connection("127.0.0.1", port))
    try:
        yield wire
    finally:
        await wire.close()


def port_of(daemon: Running) -> int:
    return int(daemon.url.rpartition(":")[2])


def request(
    daemon: Running, method: str, target: str, *fields: str, body: bytes | None = None, host: str | None = None
) -> bytes:
    """A well-formed request; only what is passed in can make it otherwise."""
    host = f"127.0.0.1:{port_of(daemon)}" if host is None else host
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


async def ask(
    daemon: Running, method: str, target: str, *fields: str, body: bytes | None = None, host: str | None = None
) -> Answer:
    """One request on a connection of its own."""
    async with connected(daemon) as wire:
        wire.send(request(daemon, method, target, *fields, body=body, host=host))
        return await wire.answer(method)

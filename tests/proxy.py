"""A small HTTP proxy: it forwards, and it tunnels. It leads everybody to one port, whatever name they ask for."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from tests.raw import RawServer, answering

_ABSOLUTE = re.compile(r"(\w+) http://[^/]+(/\S*) HTTP/1.1")


class Proxy(RawServer):
    """What it was asked, and what it answers instead of serving."""

    def __init__(self, leads_to: int) -> None:
        super().__init__()
        self.leads_to = leads_to
        self.heads: list[str] = []
        """Every head that it could read."""
        self.status: int | None = None
        """Answered to everybody, if set."""
        self.wants: str | None = None
        """The `Proxy-Authorization` without which everybody is answered 407."""

    def url(self, userinfo: str = "") -> str:
        return f"http://{userinfo}127.0.0.1:{self.port}"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        given = re.search(r"(?im)^Proxy-Authorization: (.*?)\r$", head)
        status = self.status
        if self.wants is not None and (given is None or given[1] != self.wants):
            status = 407
        if status is not None:
            about = "Proxy-Authenticate: Basic realm=s3cr3t\r\n" if status == 407 else ""
            writer.write(f"HTTP/1.1 {status} s3cr3t\r\n{about}Content-Length: 0\r\n\r\n".encode())
            return True
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
        with contextlib.closing(there_writer):
            if head.startswith("CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
                return False
            line, _, rest = head.partition("\r\n")
            method, path = _ABSOLUTE.fullmatch(line).groups()  # type: ignore[union-attr]
            kept = [field for field in rest.split("\r\n") if not field.lower().startswith("proxy-")]
            there_writer.write(f"{method} {path} HTTP/1.1\r\n".encode() + "\r\n".join(kept).encode("latin-1"))
            answer = (await there_reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"(?i)content-length: (\d+)", answer)
            assert length is not None
            writer.write(answer.encode("latin-1") + await there_reader.readexactly(int(length[1])))
            await writer.drain()
            return True


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def running(leads_to: int) -> AsyncIterator[Proxy]:
    """A proxy on port 0."""
    async with answering(Proxy(leads_to)) as proxy:
        yield proxy

"""An origin whose faults are data: each request is answered by the next step of its script, the last one for ever.

origin.script(Serve(1_000), Status(503), Serve())
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from tests import canary
from tests.raw import RawServer, answering

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Serve:
    """The file, with `Range` and `If-Range` honoured; after `count` bytes of the body the connection ends."""

    count: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = '"v1"'
    framing: str = "length"  # or "chunked", "close"
    pace: float = 0.0  # seconds between two pieces of 64 KiB
    ranges: bool = True  # else `Range` is ignored
    data: bytes | None = None  # another file than the origin's own
    is_blind: bool = False  # `If-Range` is ignored: a range is sent of whatever there is


@dataclass(frozen=True)
class Stall:
    """As Serve, but after `count` bytes nothing more comes, until `origin.go_on` is set."""

    count: int = 0
    etag: str | None = '"v1"'


@dataclass(frozen=True)
class Reset:
    """As Serve, but after `count` bytes the connection is reset."""

    count: int = 0
    etag: str | None = '"v1"'


@dataclass(frozen=True)
class Status:
    """A status and a body of its own."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Raw:
    """These bytes, whatever they are, then the end of the connection."""

    data: bytes
    end: str = "close"  # or "reset"; "wait", until `origin.go_on` is set; "flood", for ever
    later: bytes = b""  # sent after the wait, or again and again


@dataclass(frozen=True)
class Seen:
    """One request, as it came."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


Step = Serve | Stall | Reset | Status | Raw | Callable[[Seen], "Step"]
"""What is done about a request; a function decides it by the request itself."""


class Origin(RawServer):
    """A raw HTTP/1.1 server on port 0. Counts its accepts, remembers its requests."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data
        self.accepts = 0
        self.sent = 0
        self.requests: list[Seen] = []
        self.go_on = asyncio.Event()
        self.arrived = asyncio.Condition()
        self.may_go_on: Callable[[int], bool] = lambda _: True
        """Asked after each piece, with the place where it ends: a reader is given time until the answer is yes."""
        self._script: list[Step] = [Serve()]

    def url(self, name: str = "model.gguf") -> str:
        """A signed URL, unless the name has a query of its own: what is signed must be seen by this origin alone."""
        return f"http://127.0.0.1:{self.port}/{name}{'' if '?' in name else f'?{canary.QUERY}'}"

    def script(self, *steps: Step) -> None:
        self._script = list(steps)

    async def requested(self, count: int = 1) -> None:
        """Return when so many requests have come."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepts += 1
        await super().serve(reader, writer)

    async def close(self) -> None:
        self.go_on.set()
        await super().close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        method, target, _ = line.split(" ")
        headers = {
            name.strip(): value.strip() for name, _, value in (field.partition(":") for field in fields if field)
        }
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        seen = Seen(method, target, headers)
        async with self.arrived:
            self.requests.append(seen)
            self.arrived.notify_all()
        while callable(step):
            step = step(seen)
        if isinstance(step, Raw):
            await self._send_raw(step, writer)
            return False
        if isinstance(step, Status):
            extra = "".join(f"{name}: {value}\r\n" for name, value in step.headers.items())
            writer.write(
                f"HTTP/1.1 {step.code} X\r\nContent-Length: {len(step.body)}\r\n{extra}\r\n".encode() + step.body
            )
            await writer.drain()
            return True
        return await self._send_file(step, headers, writer)

    async def _send_raw(self, step: Raw, writer: asyncio.StreamWriter) -> None:
        writer.write(step.data)
        await writer.drain()
        while step.end == "flood":
            writer.write(step.later)
            await writer.drain()
            await asyncio.sleep(0)  # a reader that never tires must not keep the others waiting
        if step.end == "wait":
            await self.go_on.wait()
            writer.write(step.later)
            await writer.drain()
        elif step.end == "reset":
            _reset(writer)

    async def _send_file(
        self, step: Serve | Stall | Reset, headers: Mapping[str, str], writer: asyncio.StreamWriter
    ) -> bool:
        serve = step if isinstance(step, Serve) else Serve(step.count, etag=step.etag)
        data = self.data if serve.data is None else serve.data  # one answer is of one version
        start, end, head = _head(serve, headers, len(data))
        writer.write(head)
        end = end if serve.count is None else min(start + serve.count, end)
        for offset in range(start, end, 65_536):
            piece = data[offset : min(offset + 65_536, end)]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if serve.framing == "chunked" else piece)
            await writer.drain()
            self.sent += len(piece)
            if serve.pace:
                await asyncio.sleep(serve.pace)
            while not (self.may_go_on(offset + len(piece)) or writer.is_closing()):
                await asyncio.sleep(0.001)
        if isinstance(step, Stall):
            await self.go_on.wait()
            return False
        if isinstance(step, Reset):
            _reset(writer)
            return False
        if serve.framing == "chunked" and serve.count is None:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        return serve.framing != "close" and serve.count is None


def _head(serve: Serve, headers: Mapping[str, str], whole: int) -> tuple[int, int, bytes]:
    """Where the body begins and ends, and the head of the response."""
    start, end, status = 0, whole, "200 OK"
    match = _RANGE.fullmatch(headers.get("Range", ""))
    lines = [f"{name}: {value}" for name, value in serve.headers.items()]
    if serve.etag is not None:
        lines.append(f"ETag: {serve.etag}")
    is_same = serve.is_blind or headers.get("If-Range", serve.etag) == serve.etag
    if match and serve.ranges and is_same:
        start = int(match[1])
        if start >= whole:
            lines += [f"Content-Range: bytes */{whole}", "Content-Length: 0"]
            return start, start, ("HTTP/1.1 416 X\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()
        end = min(int(match[2] or whole) + 1, whole)
        if start or match[2]:
            status = "206 Partial Content"
            lines.append(f"Content-Range: bytes {start}-{end - 1}/{whole}")
    lines += {
        "length": [f"Content-Length: {end - start}"],
        "chunked": ["Transfer-Encoding: chunked"],
        "close": ["Connection: close"],
    }[serve.framing]
    return start, end, (f"HTTP/1.1 {status}\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Its connection will not end, but be cut off."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.asynccontextmanager
async def deaf(host: str) -> AsyncIterator[int]:
    """A port that answers no connection attempt: its queue is full, and what comes is dropped."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.create_server((host, 0), family=family, backlog=0))
        waiting = []
        while len(waiting) < 3:  # the queue holds one more than its length, and a half-open one
            each = opened.enter_context(socket.socket(family))
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
            waiting.append(each)
        yield listening.getsockname()[1]


@contextlib.asynccontextmanager
async def running(data: bytes) -> AsyncIterator[Origin]:
    """An origin that serves `data` under every path."""
    async with answering(Origin(data)) as origin:
        yield origin

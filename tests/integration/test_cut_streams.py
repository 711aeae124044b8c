"""A stream that is cut anywhere, at any byte, loses nothing: the reader comes back with the last id it had."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arwd import events
from arwd.bus import ring
from arwd.events import Changed, Fact
from tests import journals, running
from tests.journals import milestones, told
from tests.running import Running
from tests.sse import Message, Parser

RING = 64
FRAMES = 210
"""More than three times what the ring holds: the first two thirds come from the journal."""


class Proxy:
    """Passes bytes on in both directions; the answer is cut after `limit` bytes, if that is set."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.limit: int | None = None
        self.recording: bytes | None = None
        """An answer to play instead of a new one, while there is a limit."""
        self.open: set[asyncio.Task[None]] = set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        task.add_done_callback(self.open.discard)
        left = self.limit
        if left is not None and self.recording is not None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.recording[:left])
            writer.close()
            return
        there, away = await asyncio.open_connection("127.0.0.1", self._target)
        away.write(await reader.readuntil(b"\r\n\r\n"))
        passing = asyncio.create_task(self._pass_on(there, writer, left))
        leaving = asyncio.create_task(reader.read())
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (passing, leaving):
                each.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)
            away.close()
            writer.close()

    async def _pass_on(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        while data := await there.read(65_536):
            writer.write(data if left is None else data[:left])
            left = None if left is None else left - len(data)
            if left is not None and left <= 0:
                return


@contextlib.asynccontextmanager
async def proxied(daemon: Running) -> AsyncIterator[Proxy]:
    proxy = Proxy(int(daemon.url.rpartition(":")[2]))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
        for task in proxy.open:
            task.cancel()
        await asyncio.gather(*proxy.open, return_exceptions=True)


class Reader:
    """One connection: its body as it comes, chunk framing taken off, parsed strictly."""

    def __init__(self) -> None:
        self.parser = Parser()
        self.seen: list[Message] = []

    async def read(self, proxy: Proxy, host: str, last_id: str, until: int | None) -> None:
        """Read to the end of the connection, or to the event `until`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        begin = f"Last-Event-ID: {last_id}\r\n"
        # The same request each time gets the same bytes each time.
        writer.write(f"GET /events HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: r\r\n{begin}\r\n".encode())
        try:
            await reader.readuntil(b"\r\n\r\n")
            while True:
                size = int(await reader.readuntil(b"\r\n"), 16)
                missing = size
                while missing:
                    data = await reader.read(missing)
                    if not data:
                        return
                    missing -= len(data)
                    self.seen += self.parser.feed(data)
                if until is not None and self.seen and int(self.seen[-1].id) >= until:
                    return
                await reader.readexactly(2)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def changed(number: int) -> Fact:
    return Fact(kind=events.CHANGED, payload=Changed(op="delete", id=str(number)), model_id="m")


@pytest.fixture
async def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(ring, "_SLACK", 8)
    async with running.daemon(tmp_path, ring=RING) as started:
        yield started


@pytest.mark.timeout(120)
async def test_a_stream_cut_after_any_byte_is_made_whole_by_a_reconnect(small: Running, tmp_path: Path) -> None:
    begin = small.daemon.bus.head
    for number in range(FRAMES):
        await small.daemon.bus.publish(changed(number))
    expected = told(journals.rows(tmp_path, lambda row: row.id > begin))
    last = expected[-1][0]
    host = small.url.removeprefix("http://")
    rests: dict[str, list[Message]] = {}
    async with proxied(small) as proxy:
        proxy.recording = await record(proxy, host, begin, last)
        body = proxy.recording.index(b"\r\n\r\n") + 4
        ends = [body + place for place in ends_of_frames(proxy.recording[body:])]
        # Through the proxy: around the end of every frame, and everywhere in some that come from the journal, from the
        # ring, and from both sides of the border between the two.
        border = next(place for place in ends if int(id_before(proxy.recording, place)) > small.daemon.bus._ring.floor)
        everywhere = [*range(ends[0], ends[3]), *range(border - 160, border + 160), *range(ends[-3], ends[-1])]
        for limit in sorted({*everywhere, *(end + by for end in ends for by in (-1, 0, 1))}):
            proxy.limit = limit
            reader = Reader()
            await reader.read(proxy, host, str(begin), None)
            last_id = reader.parser.last_id or str(begin)
            if last_id not in rests and last_id != str(last):
                # What comes after an id is always the same: asked for once, by a reader that really comes back.
                proxy.limit, again = None, Reader()
                await again.read(proxy, host, last_id, last)
                rests[last_id] = again.seen
            assert milestones([*reader.seen, *rests.get(last_id, [])]) == expected, f"cut after {limit} bytes"
    assert len(rests) == FRAMES
    assert all(message.event != "Bus.Gap" for seen in rests.values() for message in seen)
    # And after every single byte: to read one byte more is to have been cut one byte later.
    parser, seen = Parser(), list[Message]()
    for number, byte in enumerate(without_framing(proxy.recording[body:]), start=1):
        more = parser.feed(bytes([byte]))
        seen += more
        if more or number == 1:
            rest = rests.get(parser.last_id or str(begin), [])
            assert milestones([*seen, *rest]) == expected, f"cut after {number} bytes"
    assert len(seen) == FRAMES + 1


def ends_of_frames(body: bytes) -> list[int]:
    """Where the frames end, in a body with its chunk framing."""
    return [match.end() for match in re.finditer(rb"\n\n", body)]


def id_before(recording: bytes, place: int) -> str:
    return re.findall(rb"^id: (\d+)$", recording[:place], re.MULTILINE)[-1].decode()


def without_framing(body: bytes) -> bytes:
    """A chunked body's own bytes (RFC 9112 §7.1)."""
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return found


async def record(proxy: Proxy, host: str, begin: int, last: int) -> bytes:
    """A whole answer, head and framing and all, up to and with the frame `last`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    request = f"GET /events HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: r\r\nLast-Event-ID: {begin}\r\n\r\n"
    writer.write(request.encode())
    answer = b""
    while b"id: %d\n" % last not in answer or not answer.endswith(b"\n\n\r\n"):
        answer += await reader.read(65_536)
    writer.close()
    return answer


@pytest.mark.timeout(120)
async def test_a_live_stream_cut_after_ever_more_bytes_loses_nothing(small: Running, tmp_path: Path) -> None:
    begin = small.daemon.bus.head
    host = small.url.removeprefix("http://")
    stop = asyncio.Event()

    async def flow() -> None:
        number = 0
        while not stop.is_set():
            for _ in range(10):
                published = small.daemon.bus.publish(changed(number))
                number += 1
            await published

    seen: list[Message] = []
    last_id, last_new = str(begin), 0
    async with proxied(small) as proxy:
        flowing = asyncio.create_task(flow())
        head = await length_of_head(proxy, host)
        for extra in range(0, 12 * 80, 3):
            proxy.limit = head + extra
            reader = Reader()
            await reader.read(proxy, host, last_id, None)
            seen += reader.seen
            last_id = reader.parser.last_id or last_id
            last_new += bool(reader.seen)
        stop.set()
        await flowing
        proxy.limit = None
        reader = Reader()
        await reader.read(proxy, host, last_id, small.daemon.bus.head)
    got = milestones([*seen, *reader.seen])
    assert got == told(journals.rows(tmp_path, lambda row: row.id > begin))
    assert len(got) >= 200
    assert last_new > 200


async def length_of_head(proxy: Proxy, host: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(f"GET /events HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: r\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return len(head)

"""Restarts behind a socket that a service manager keeps: nobody is refused, nobody is cut off, nothing is lost."""

import asyncio
import contextlib
import itertools
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from arwd.api import protocol
from arwd.jobs import facts
from tests import journals, processes, running, wire
from tests.journals import milestones, told
from tests.nursery import Nursery
from tests.origin import Origin, Serve
from tests.processes import Child
from tests.sse import Message, Parser

RESTARTS = 20
CLIENTS = 3
SLACK = 1.0
"""Seconds that a busy machine may add to a deadline."""


@dataclass
class Listening:
    """The socket of a service manager, and how a daemon gets it."""

    nursery: Nursery
    socket: socket.socket
    state: Path

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[Child]:
        # What a stop does to those who come while it goes on is to be seen, so it takes its time.
        async with self.nursery.child(self.state, listening=self.socket, is_hurried=False) as daemon:
            yield daemon


@pytest.fixture
def listening(nursery: Nursery, tmp_path: Path) -> Iterator[Listening]:
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as held:
        yield Listening(nursery, held, tmp_path / "state")


@dataclass
class Answers:
    """What became of the requests."""

    served: int = 0
    broken: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)


class Visitors:
    """Clients who ask without pause, each time on a connection of its own."""

    def __init__(self, port: int, origin: Origin) -> None:
        self.answers = Answers()
        self._port = port
        self._origin = origin
        self._stop = asyncio.Event()
        self._ids = itertools.count()

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[Answers]:
        tasks = [asyncio.create_task(self._visit()) for _ in range(CLIENTS)]
        try:
            yield self.answers
        finally:
            self._stop.set()
            await asyncio.gather(*tasks)

    async def _visit(self) -> None:
        while not self._stop.is_set():
            for ask in (self._health, self._download, self._listen):
                try:
                    async with asyncio.timeout(20):
                        await ask()
                except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                    self.answers.broken.append(f"{ask.__name__}: {error!r}")
                else:
                    self.answers.served += 1

    async def _health(self) -> None:
        assert await self._ask("GET", "/healthz") == 200

    async def _download(self) -> None:
        model_id = f"m{next(self._ids)}"
        body = f'{{"id":"{model_id}","url":"{self._origin.url(model_id)}"}}'
        status = await self._ask("POST", "/models/download", body)
        assert status in (200, 503), status
        if status == 200:
            self.answers.accepted.append(model_id)

    async def _listen(self) -> None:
        # Without an Accept for event streams, a daemon that stops says so in plain HTTP.
        assert await self._ask("GET", "/events?replay=3&until=done&id=m0") in (200, 404, 503)

    async def _ask(self, method: str, target: str, body: str = "") -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
            head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nConnection: close\r\n{kind}\r\n"
            writer.write(head.encode() + body.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.read()
            return int(answer.split(b" ", 2)[1])
        finally:
            writer.close()


class Follower:
    """A reader that comes back with the last id it saw, whatever happens to its connection."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/events"
        self.seen: list[Message] = []
        self.begin = 0

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        begun = asyncio.Event()
        task = asyncio.create_task(self._follow(begun))
        await begun.wait()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _follow(self, begun: asyncio.Event) -> None:
        last_id = ""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            while True:
                parser, headers = Parser(), {"Last-Event-ID": last_id} if last_id else {}
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(self._url, headers=headers) as response:
                        async for data in response.content.iter_any():
                            messages = parser.feed(data)
                            if messages and not begun.is_set():
                                self.begin = int(messages[0].id)
                                begun.set()
                            self.seen += messages
                            last_id = parser.last_id or last_id

    async def reached(self, event_id: int) -> None:
        async with asyncio.timeout(20):
            while not self.seen or int(self.seen[-1].id) < event_id:
                await asyncio.sleep(0.02)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kills", [0, 5], ids=["stops only", "every fifth end a kill"])
async def test_restarts_refuse_nobody_and_lose_nothing(
    listening: Listening, origin: Origin, data: bytes, kills: int
) -> None:
    origin.data = data[:50_000]
    origin.script(Serve())
    visitors, follower = Visitors(listening.port, origin), Follower(listening.port)
    async with contextlib.AsyncExitStack() as stack:
        answers: Answers | None = None
        for number in range(RESTARTS if not kills else RESTARTS // 2):
            async with listening.life() as daemon:
                if answers is None:
                    await stack.enter_async_context(follower.following())
                    answers = await stack.enter_async_context(visitors.at_work())
                before = answers.served
                async with asyncio.timeout(20):
                    while answers.served < before + 12:
                        await asyncio.sleep(0.01)
                if kills and number % kills == kills - 1:
                    await daemon.stop(signal.SIGKILL)
                else:
                    assert await daemon.stop() == 0, daemon.log.decode()
        assert answers is not None
        async with listening.life() as daemon:
            visitors._stop.set()
            async with daemon.events("until=done") as stream:
                await stream.rest()
            listed = {model["id"] for model in (await daemon.call("GET", "/models"))[1]}
            assert set(answers.accepted) <= listed
            rows = journals.rows(listening.state, lambda row: row.id > follower.begin)
            await follower.reached(rows[-1].id)
            assert await daemon.stop() == 0
    refused = [each for each in answers.broken if "Refused" in each]
    assert refused == []
    if not kills:
        assert answers.broken == []
    assert answers.served > 12 * RESTARTS // 2
    got = [message for message in milestones(follower.seen) if message[0] <= rows[-1].id]
    assert got == told(rows)
    ids = [int(message.id) for message in follower.seen if message.event != "Service.Connected"]
    assert ids == sorted(set(ids))
    assert not [message for message in follower.seen if message.event == "Bus.Gap"]


async def test_a_connection_that_has_asked_nothing_yet_may_still_ask_when_the_stop_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LAST_CHANCE", 3.0)
    async with running.daemon(tmp_path / "state") as daemon:
        host = daemon.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
        idle, waiting = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
        waiting.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await idle.readuntil(b'{"ok":true}')
        daemon.server.should_exit = True
        # One that has been answered is closed at once; then the other one is known to be waited for.
        assert await idle.read() == b""
        writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = (await reader.read()).lower()
        assert answer.startswith(b"http/1.1 200")
        assert b"connection: close" in answer
        for each in (writer, waiting):
            each.close()


@pytest.mark.parametrize("is_finished", [True, False])
async def test_a_head_that_is_half_here_when_the_stop_comes_gets_an_answer(tmp_path: Path, is_finished: bool) -> None:
    async with running.daemon(tmp_path / "state") as daemon, wire.connected(daemon) as halfway:
        head = wire.request(daemon, "GET", "/healthz")
        halfway.send(head)
        await halfway.answer()
        halfway.send(head[:20])
        (connection,) = daemon.server.server_state.connections
        await processes.comes_true(lambda: connection._is_in_head)
        daemon.server.should_exit = True
        await processes.comes_true(lambda: connection._is_stopping)
        if is_finished:
            halfway.send(head[20:])
        answer = await halfway.answer()
        assert (answer.status, answer.headers["connection"]) == (200 if is_finished else 503, "close")
        assert await halfway.ended() == b""


async def test_a_connection_accepted_in_the_very_turn_of_the_stop_is_answered(tmp_path: Path) -> None:
    async with running.daemon(tmp_path / "state") as daemon:
        with socket.create_connection(("127.0.0.1", wire.port_of(daemon))) as client:
            client.sendall(wire.request(daemon, "GET", "/healthz"))
            client.setblocking(False)
            # In the first turn the loop hears of it, in the second one it has accepted it and made nothing of it yet.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await daemon.server._stop_accepting()
            daemon.server.should_exit = True
            answer = await asyncio.get_running_loop().sock_recv(client, 65_536)
            assert answer.startswith(b"HTTP/1.1 200")


async def test_a_stop_that_sse_starlette_was_told_of_is_no_stop_for_the_next_daemon(tmp_path: Path) -> None:
    # When imported it puts itself before uvicorn's signal handler, and remembers a stop as long as the process lives.
    async with running.daemon(tmp_path / "state") as daemon, daemon.events() as stream:
        daemon.server.handle_exit(signal.SIGTERM, None)
        assert (await stream.rest())[-1].event == "Service.Stop"
    async with running.daemon(tmp_path / "state") as daemon, daemon.events() as stream:
        assert (await stream.next()).event == "Service.Connected"
        assert (await daemon.call("HEAD", "/events"))[0] == 200
        await daemon.call("POST", "/models/download/cancel", {"id": "nobody"})
        assert (await stream.status("no-active-job"))["id"] == "nobody"
        daemon.server.should_exit = True
        assert (await stream.rest())[-1].event == "Service.Stop"


async def test_of_hundreds_of_streams_the_healthy_end_within_a_second_and_the_stalled_soon_after(
    tmp_path: Path,
) -> None:
    healthy, stalled = 300, 5
    async with running.daemon(tmp_path / "state", max_streams_per_address=1_000) as daemon:
        async with contextlib.AsyncExitStack() as opened:
            for _ in range(stalled):
                deaf = opened.enter_context(socket.socket())
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                deaf.connect(("127.0.0.1", wire.port_of(daemon)))
                deaf.sendall(wire.request(daemon, "GET", "/events"))
            streams = [await opened.enter_async_context(daemon.events()) for _ in range(healthy)]
            reading = [asyncio.create_task(stream.rest()) for stream in streams]
            connections = daemon.server.server_state.connections

            def left_unread() -> int:
                return sum(connection.transport.get_write_buffer_size() > 0 for connection in connections)

            # Only so much that a stream can end without anybody reading its end: the harder case.
            while left_unread() < stalled:
                daemon.daemon.bus.tell(facts.answer("x" * 250, "no-active-job"))
                await asyncio.sleep(0)
            begin = time.monotonic()
            daemon.server.should_exit = True
            heard = await asyncio.gather(*reading)
            assert time.monotonic() - begin < 1.0 + SLACK
            assert {messages[-1].event for messages in heard} == {"Service.Stop"}
            await processes.comes_true(lambda: not connections)
            assert time.monotonic() - begin < 1.5 + SLACK


async def test_two_daemons_of_one_process_stop_each_by_itself(tmp_path: Path) -> None:
    async with running.daemon(tmp_path / "one") as one, one.events() as first:
        async with running.daemon(tmp_path / "two") as two, two.events() as second:
            await first.next()
            await second.next()
            two.server.should_exit = True
            assert (await second.rest())[-1].event == "Service.Stop"
            assert (await one.call("GET", "/healthz"))[0] == 200
            one.server.should_exit = True
            assert (await first.rest())[-1].event == "Service.Stop"
    async with running.daemon(tmp_path / "one") as again, again.events() as stream:
        again.server.should_exit = True
        assert (await stream.rest())[-1].event == "Service.Stop"


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2])
async def test_a_stop_during_the_start_ends_with_0_and_gives_the_directory_back(
    nursery: Nursery, tmp_path: Path, delay: float
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*processes.ARWD, "serve", "--port", "0", "--state-dir", str(tmp_path / "state")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=processes.surroundings(tmp_path, {}),
    )
    await processes.comes_true((tmp_path / "state" / "lock").exists)
    await asyncio.sleep(delay)
    process.send_signal(signal.SIGTERM)
    _, complaints = await process.communicate()
    assert (process.returncode, b"Traceback" in complaints) == (0, False), complaints.decode()
    async with nursery.child(tmp_path / "state") as daemon:
        assert (await daemon.call("GET", "/readyz"))[0] == 200

"""A daemon of this process, on a real socket, and a client that reads its streams strictly."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from arwd import net, settings
from arwd.daemon import Daemon
from arwd.server import Server, uvicorn_options
from tests.canary import Overheard
from tests.sse import Message, Parser


class Stream:
    """One open `/events`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.parser = Parser()
        self.raw = b""
        self.messages: list[Message] = []
        self._unread: list[Message] = []

    async def next(self) -> Message:
        """The next event; EOFError at the end of the stream."""
        while not self._unread:
            data = await self.response.content.readany()
            if not data:
                raise EOFError
            self.raw += data
            self._unread = self.parser.feed(data)
            self.messages += self._unread
        return self._unread.pop(0)

    async def until(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """The events up to and with the first that is wanted."""
        found: list[Message] = []
        while not found or not wanted(found[-1]):
            found.append(await self.next())
        return found

    async def status(self, *wanted: str) -> dict[str, Any]:
        """The payload of the first event with one of these statuses."""
        return (await self.until(lambda message: message.payload.get("status") in wanted))[-1].payload

    async def rest(self) -> list[Message]:
        """Everything up to the end of the stream."""
        found: list[Message] = []
        with contextlib.suppress(EOFError):
            while True:
                found.append(await self.next())
        return found


class Running:
    """A running daemon, seen from outside."""

    def __init__(
        self, daemon: Daemon, server: Server, session: aiohttp.ClientSession, url: str, overheard: Overheard
    ) -> None:
        self.daemon = daemon
        self.server = server
        self.session = session
        self.url = url
        self.overheard = overheard

    @property
    def models(self) -> Path:
        return self.daemon.layout.models

    def files(self) -> list[str]:
        """What lies below models/."""
        return sorted(path.name for path in self.models.iterdir())

    async def call(self, method: str, path: str, body: object = None, **more: Any) -> tuple[int, Any]:
        """Status and decoded body."""
        if body is not None:
            more["json"] = body
        async with self.session.request(method, self.url + path, **more) as response:
            text = await response.text()
            is_json = response.content_type.endswith("json")
            return response.status, (await response.json(content_type=None) if is_json and text else text)

    async def download(self, model_id: str, url: str, **more: Any) -> dict[str, Any]:
        """The receipt of an accepted download."""
        status, body = await self.call("POST", "/models/download", {"id": model_id, "url": url, **more})
        assert status == 200, body
        return body["data"]

    @contextlib.asynccontextmanager
    async def events(self, query: str = "", **headers: str) -> AsyncIterator[Stream]:
        """An open stream."""
        async with self.session.get(f"{self.url}/events?{query}", headers=headers) as response:
            assert response.status == 200, await response.text()
            yield Stream(response)

    async def settled(self, model_id: str) -> dict[str, Any]:
        """The last event of the newest job of this id."""
        async with self.events(f"id={model_id}&until=done") as stream:
            return (await stream.rest())[-1].payload

    async def job(self, model_id: str) -> dict[str, Any]:
        """The newest job of this id, as listed."""
        _, body = await self.call("GET", "/models/jobs")
        return [job for job in body["jobs"] if job["id"] == model_id][-1]


@contextlib.asynccontextmanager
async def daemon(state_dir: Path, token: str = "", **flags: Any) -> AsyncIterator[Running]:
    """A daemon on port 0, stopped in its own order at the end; then it is seen to have let no secret out."""
    options = settings.load({"state_dir": str(state_dir), "port": 0, "reserve": 0, "retry_pause": 0.01, **flags}, {})
    egress = net.Egress(options.net, {})
    overheard = Overheard(state_dir)
    with overheard.under_the_log(egress.secrets | {token}):
        async with _running(Daemon(options, token, egress), overheard) as started:
            yield started
    overheard.assert_no_secret()


@contextlib.asynccontextmanager
async def _running(opened: Daemon, overheard: Overheard) -> AsyncIterator[Running]:
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port = listening.getsockname()[1]
    opened.listen_on([listening])
    server = Server(uvicorn_options(await opened.open()), opened)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0)
        if serving.done():
            await serving
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=30), connector=overheard.connector(limit=0)
    ) as session:
        try:
            yield Running(opened, server, session, f"http://127.0.0.1:{port}", overheard)
        finally:
            server.should_exit = True
            await serving

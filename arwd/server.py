"""The process: its signals, its sockets, and uvicorn with our order of stopping.

Rule: whoever was accepted gets an answer. A socket that the service manager keeps is let go of first, so that newcomers
wait in its queue for the next life; a socket of our own is closed last, because behind it nobody waits.
"""

import _thread
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette

from arwd import __version__, errors, listening, logs, net, systemd
from arwd.api.protocol import Protocol
from arwd.daemon import Daemon
from arwd.settings import Settings
from arwd.sources import hub_token

log = logging.getLogger(__name__)

_GRACE: Final = 5
"""Seconds for requests that are being answered at a stop."""
_LAST_RESORT: Final = 28.0
"""Seconds after which a stop ends by force, whatever hangs: more than its steps may take, less than the 30 that the
service manager waits."""
_HASTE: Final = 2.0
"""The same after a second signal."""
_LOOK: Final = 0.05
"""Seconds between two looks for a second signal."""


class Asked:
    """What the signals so far ask for."""

    stop = False
    haste = False
    is_over = False


class Server(uvicorn.Server):
    """uvicorn, with our order of stopping: its own lifespan runs only after all connections have ended."""

    def __init__(
        self, config: uvicorn.Config, daemon: Daemon, asked: Asked | None = None, *, is_socket_kept: bool = False
    ) -> None:
        """`is_socket_kept`: the service manager holds the listening sockets too, and gives them to our next life."""
        super().__init__(config)
        self._daemon = daemon
        self._asked = asked or Asked()
        self._is_socket_kept = is_socket_kept

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        self._chores = [loop.create_task(chore) for chore in (self._daemon.keep_house(), self._daemon.recheck())]
        self._watchdog = loop.create_task(systemd.feed_watchdog())
        self._announce(listening.addresses(sockets or []))

    async def on_tick(self, counter: int) -> bool:
        self.should_exit |= self._asked.stop
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Whatever the unit says: there is a reason if it takes longer, and an end.
        systemd.notify(f"STOPPING=1\nSTATUS=Stopping\nEXTEND_TIMEOUT_USEC={round(_LAST_RESORT * 1_000_000)}")
        for chore in self._chores:
            chore.cancel()
        stopping = asyncio.get_running_loop().create_task(self._stop(sockets))
        try:
            while not stopping.done() and not self._asked.haste:
                await asyncio.wait([stopping], timeout=_LOOK)
            if stopping.done():
                await stopping
        finally:
            stopping.cancel()
            await self._daemon.close()
            self._watchdog.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `heed_signals` has them since before the boot

    def _announce(self, where: str) -> None:
        models = self._daemon.layout.models
        systemd.notify(f"READY=1\nSTATUS=Serving {where}")
        log.info("arwd %s serves %s, models in %s", __version__, where, models, extra={"event": "serving"})
        sys.stdout.write(f"arwd {__version__}: open {where} in a browser. Models go to {models}\n")
        sys.stdout.flush()

    async def _stop(self, sockets: list[socket.socket] | None) -> None:
        if self._is_socket_kept:
            await self._stop_accepting()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._daemon.quiesce()
        await self._stop_accepting()
        await super().shutdown(sockets)
        await self._daemon.settle()

    async def _stop_accepting(self) -> None:
        for server in self.servers:
            for each in server.sockets:
                server.get_loop().remove_reader(each.fileno())
        # asyncio drops a connection that it has just accepted if its server is closed before it had two turns:
        # one to get its transport, one to be made known to us.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for server in self.servers:
            server.close()


def serve(options: Settings) -> None:
    """Run until a signal. StartError says why it could not begin."""
    token = options.auth.secret()
    egress = net.Egress(options.net, os.environ)
    hub_token.introduce(egress, options.sources, os.environ)
    logs.configure(options.logs, net.redact, egress.secrets | ({token} if token else set()))
    listening.check_exposure(options.server.host, token)
    with heed_signals() as asked, contextlib.ExitStack() as opened:
        kept = systemd.take_sockets()
        for each in kept:
            opened.enter_context(each)
            if each.family != socket.AF_UNIX:
                listening.check_exposure(each.getsockname()[0], token)
        # The lock before the port: a second daemon on the same directory should hear of that, not of its port.
        daemon = Daemon(options, token, egress)
        opened.callback(daemon.layout.release)
        opened.callback(daemon.database.close)
        sockets = kept or [opened.enter_context(listening.listen(options.server.host, options.server.port))]
        asyncio.run(_serve(daemon, sockets, asked, is_socket_kept=bool(kept)))


@contextlib.contextmanager
def heed_signals() -> Iterator[Asked]:
    """From the boot on: the first SIGINT or SIGTERM asks for a stop in order, a second one for haste.

    A stop that was asked for ends with status 0, not with the signal, and it ends.
    """
    asked = Asked()

    def on_signal(number: int, frame: FrameType | None) -> None:
        asked.haste, asked.stop = asked.stop, True
        # Not `threading`: starting its threads takes a lock that the interrupted code may hold.
        _thread.start_new_thread(_end_by_force, (asked, _HASTE if asked.haste else _LAST_RESORT))

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        asked.is_over = True
        for number, handler in before.items():
            signal.signal(number, handler)


def uvicorn_options(application: Starlette) -> uvicorn.Config:
    """How uvicorn is run."""
    return uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_GRACE,
    )


async def _serve(daemon: Daemon, sockets: list[socket.socket], asked: Asked, *, is_socket_kept: bool) -> None:
    daemon.listen_on(sockets)
    try:
        application = await daemon.open()
    except errors.ArwdError:
        await daemon.session.close()
        raise
    server = Server(uvicorn_options(application), daemon, asked, is_socket_kept=is_socket_kept)
    await server.serve(sockets=sockets)


def _end_by_force(asked: Asked, seconds: float) -> None:
    """End the process if its stop hangs: as a kill would, which costs nothing that was promised."""
    time.sleep(seconds)
    if not asked.is_over:
        # In a thread of its own: what hangs may hold the log.
        _thread.start_new_thread(log.critical, ("The stop hung and was cut short; nothing acknowledged is lost",))
        time.sleep(0.1)
        os._exit(0)

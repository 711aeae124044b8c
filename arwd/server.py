"""The process that serves: its sockets, its signals, and the order in which it stops."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from arwd import __version__, listening, logs, net, systemd
from arwd.api.protocol import Protocol
from arwd.daemon import Daemon
from arwd.settings import Settings

log = logging.getLogger(__name__)

_GRACE = 5
"""Seconds for requests that are being answered at a stop."""


class Server(uvicorn.Server):
    """uvicorn, with our order of stopping: its own lifespan runs only after all connections have ended."""

    def __init__(self, config: uvicorn.Config, daemon: Daemon, *, is_socket_kept: bool = False) -> None:
        """`is_socket_kept`: the service manager holds the listening sockets too, and gives them to our next life."""
        super().__init__(config)
        self._daemon = daemon
        self._is_socket_kept = is_socket_kept

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        chores = (systemd.feed_watchdog(), self._daemon.keep_house(), self._daemon.recheck())
        self._chores = [loop.create_task(chore) for chore in chores]
        self.announce(listening.addresses(sockets or []))

    def announce(self, where: str) -> None:
        """Say that we serve, and where: to the service manager, to the log, and to whoever started us."""
        models = self._daemon.layout.models
        systemd.notify(f"READY=1\nSTATUS=Serving {where}")
        log.info("arwd %s serves %s, models in %s", __version__, where, models, extra={"event": "serving"})
        sys.stdout.write(f"arwd {__version__}: open {where} in a browser. Models go to {models}\n")
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        systemd.notify("STOPPING=1")
        if self._is_socket_kept:
            # From here on connections wait in the kernel for the next life. A socket of our own stays open meanwhile:
            # to close it is to refuse them.
            for server in self.servers:
                server.close()
        for chore in self._chores:
            chore.cancel()
        try:
            await self._daemon.quiesce()
            await super().shutdown(sockets)
        finally:
            await self._daemon.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Like uvicorn's, but a stop that was asked for ends with status 0, not with the signal."""
        with _on_signals(self._stop):
            yield

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # A second signal means it: do not wait for requests that are being answered.
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(options: Settings) -> None:
    """Run until a signal. StartError says why it could not begin."""
    token = options.auth.secret()
    logs.configure(options.logs, net.redact, frozenset({token} if token else ()))
    listening.check_exposure(options.server.host, token)
    with contextlib.ExitStack() as opened:
        # While nobody is served there is nothing to end in order.
        opened.enter_context(_on_signals(lambda *_: sys.exit(0)))
        kept = systemd.take_sockets()
        for each in kept:
            opened.enter_context(each)
            if each.family != socket.AF_UNIX:
                listening.check_exposure(each.getsockname()[0], token)
        # The lock before the port: a second daemon on the same directory should hear of that, not of its port.
        daemon = Daemon(options, token)
        opened.callback(daemon.layout.release)
        opened.callback(daemon.database.close)
        sockets = kept or [opened.enter_context(listening.listen(options.server.host, options.server.port))]
        asyncio.run(_serve(daemon, sockets, is_socket_kept=bool(kept)))


async def _serve(daemon: Daemon, sockets: list[socket.socket], *, is_socket_kept: bool) -> None:
    daemon.listen_on(sockets)
    server = Server(uvicorn_options(await daemon.open()), daemon, is_socket_kept=is_socket_kept)
    await server.serve(sockets=sockets)


@contextlib.contextmanager
def _on_signals(handle: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
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

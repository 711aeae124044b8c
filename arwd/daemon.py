"""The composition root: the only place that knows every room, and the order in which they open and close."""

import asyncio
import itertools
import logging
import socket
import time
from collections.abc import Awaitable

from starlette.applications import Starlette

from arwd import __version__, events, net, settings
from arwd.api import app
from arwd.api.arw import Arw
from arwd.api.arw_lists import ArwLists
from arwd.api.auth import Keeper
from arwd.api.events import PATIENCE, EventStreams
from arwd.api.lmstudio import LmStudio
from arwd.api.observe import Observe
from arwd.api.pages import Pages
from arwd.bus import journal
from arwd.bus.local import LocalBus
from arwd.database import Database
from arwd.errors import StorageError
from arwd.events import Fact, Lifecycle
from arwd.jobs import ledger, rebuild
from arwd.jobs.manager import Manager
from arwd.jobs.rooms import Rooms
from arwd.jobs.scheduler import Scheduler
from arwd.settings import Settings
from arwd.sources import registry
from arwd.store import doomed, library
from arwd.store.ballast import Ballast
from arwd.store.heads import Heads
from arwd.store.layout import Layout
from arwd.store.library import Library
from arwd.store.names import Names
from arwd.store.space import Space
from arwd.transfer.engine import Engine

log = logging.getLogger(__name__)

_MOMENT = 0.75
"""Seconds that subscribers wait at a stop to hear what becomes of the jobs: they are to be gone after one."""
_DEADLINE = 5.0
"""Seconds that a step of the stop may take: a disk that refuses must not keep the daemon from ending."""
_SYNC_DEADLINE = 10.0
"""Seconds to make the parts durable: synced while they grow, they have little left to sync."""
_MINUTE = 60.0


class Daemon:
    """The open rooms of one process."""

    def __init__(self, options: Settings, token: str, egress: net.Egress) -> None:
        """Opens the store and the database. StateDirectoryInUse, StorageError."""
        self.settings = options
        self.layout = Layout(settings.state_dir(options))
        self.layout.prepare()
        self._ballast = Ballast(self.layout.ballast)
        self.database = Database(self.layout.database, make_room=self._ballast.release)
        self._ballast.make()
        self.egress = egress
        self.keeper = Keeper(token, time.monotonic)
        self.is_ready = False
        self._bind_hosts: tuple[str, ...] = (options.server.host,)

    def listen_on(self, sockets: list[socket.socket]) -> None:
        """These are our own addresses: names we answer to, and never a download's source."""
        own = [each.getsockname()[:2] for each in sockets if each.family != socket.AF_UNIX]
        self.egress.policy.listen_on(own)
        self._bind_hosts += tuple(host for host, _ in own)

    async def open(self) -> Starlette:
        """Open what needs a loop, take up unfinished jobs, and return the application."""
        options = self.settings
        self.session = net.Session(self.egress)
        self.bus = LocalBus(self.database, options.bus)
        await self.bus.begin()
        await self.database.write(journal.prune, ledger.prune)
        await rebuild.rebuild(self.layout, self.database, self.bus)
        self.library = Library(self.layout, self.database.read_now(library.load))
        self._rooms = rooms = Rooms(
            bus=self.bus,
            engine=Engine(self.session, options.transfer, stall_timeout=options.net.stall_timeout),
            layout=self.layout,
            library=self.library,
            names=Names(self.layout.models),
            space=Space(self.layout, options.store),
        )
        self.manager = Manager(rooms, registry.default(self.session, options.sources), Scheduler(options.jobs))
        read = self.database.read_now
        await self.manager.boot(read(ledger.load), read(doomed.load))
        await self.bus.publish(_lifecycle(events.START))
        self.is_ready = True
        dialects = (
            Arw(self.manager),
            ArwLists(self.manager, self.library, rooms.space, self.bus),
            LmStudio(self.manager, self.library, Heads()),
            EventStreams(self.bus, self.manager, options.streams),
            Observe(self.manager, self.bus, self.layout, options.shown(), lambda: self.is_ready),
            Pages(self.keeper),
        )
        endpoints = [endpoint for dialect in dialects for endpoint in dialect.endpoints()]
        return app.build(endpoints, keeper=self.keeper, options=options.auth, bind_hosts=self._bind_hosts)

    async def keep_house(self) -> None:
        """Remake the ballast every minute; drop, every hour, what is too old to be kept."""
        for minute in itertools.count(1):
            await asyncio.sleep(_MINUTE)
            await asyncio.to_thread(self._ballast.make)
            try:
                if minute % 60 == 0:
                    await self.database.write(journal.prune, ledger.prune)
            except StorageError as error:
                log.warning("Old records were not dropped: %s", error, extra={"event": "prune_failed"})

    async def recheck(self) -> None:
        """Check the digests of models that only their list vouched for."""
        await rebuild.recheck(self._rooms, self.database)

    async def quiesce(self) -> None:
        """Requeue the jobs, say goodbye, end the streams, then make the parts durable: in this order.

        A subscriber hears of the stop before its stream ends, and waits no longer than a moment for it: what a slow
        disk records later is in the journal when it comes back.
        """
        self.is_ready = False
        loop = asyncio.get_running_loop()
        moment = loop.time() + _MOMENT
        requeued = loop.create_task(self.manager.stop())
        await asyncio.wait([requeued], timeout=_MOMENT * 0.8)
        await asyncio.wait([self.bus.publish(_lifecycle(events.STOP))], timeout=max(0.0, moment - loop.time()))
        await _attempt("ending the streams", self.bus.close(PATIENCE), _DEADLINE)
        await _attempt("requeueing every job", requeued, _DEADLINE)
        await _attempt("making the parts durable", self.manager.sync(), _SYNC_DEADLINE)

    async def settle(self) -> None:
        """Carry out what was asked for while the rooms were closing: a cancel is answered before it is done."""
        await _attempt("carrying out the last cancels", self.manager.stop(), _DEADLINE)

    async def close(self) -> None:
        """Close what is left, the database last."""
        await self.session.close()
        await asyncio.to_thread(self.database.close)
        self.layout.release()


async def _attempt(what: str, step: Awaitable[None], deadline: float) -> None:
    try:
        async with asyncio.timeout(deadline):
            await step
    except TimeoutError:
        log.warning("The stop went on without %s within %g s", what, deadline, extra={"event": "stop_step_late"})
    except Exception:
        # Whatever one step could not do, the others still can, and the socket and the lock must be given back.
        log.exception("The stop went on without %s", what, extra={"event": "stop_step_failed"})


def _lifecycle(kind: str) -> Fact:
    return Fact(kind=kind, payload=Lifecycle(version=__version__))

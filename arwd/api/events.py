"""`GET /events`: what is asked for, the first frames, and the response that the hub steps."""

import asyncio
import collections
import contextlib
import socket
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET
from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from arwd import __version__, errors, events
from arwd.api.endpoints import Endpoint
from arwd.api.gate import address_of
from arwd.api.protocol import transport_of
from arwd.api.query import PARAMETERS, Query, parse
from arwd.bus.base import Selector
from arwd.bus.local import LocalBus
from arwd.bus.subscription import LocalSubscription
from arwd.events import Event, frame
from arwd.jobs.manager import Manager

RETRY: Final = b"retry: 3000\n"
_RETRY_LATER: Final = b"retry: 5000\n\n"
_HEADERS: Final = {"Cache-Control": "no-cache, no-transform"}
_SEND_BUFFER: Final = 128 * 1024
"""Bytes the kernel may hold for one stream; left to itself it takes 2.7 MiB for a reader that stalled."""
PATIENCE: Final = 0.5
"""Seconds that the readers of open streams have at a stop to take what they are due."""
_USER_TIMEOUT: Final = 20_000
"""Milliseconds that sent bytes may stay unacknowledged; then the kernel drops the connection."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many may listen."""

    max_streams: int = 1_000
    """Event streams open at once."""
    max_streams_per_address: int = 64
    """Event streams open at once from one address."""


class EventStreams:
    """Opens the streams of one bus."""

    def __init__(self, bus: LocalBus, manager: Manager, options: Options) -> None:
        self._bus = bus
        self._manager = manager
        self._options = options
        self._open: collections.Counter[str] = collections.Counter()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The one route."""
        endpoint = Endpoint(
            method="GET",
            path="/events",
            handle=self.subscribe,
            summary="Every event, live, as Server-Sent Events",
            media_type="text/event-stream",
            parameters=PARAMETERS,
            refusals=(errors.InvalidParameter, errors.NotFound, errors.TooManyStreams, errors.Stopping),
        )
        return (endpoint,)

    async def subscribe(self, request: Request) -> Response:
        """A place in the stream, or the reason why there is none."""
        query = parse(request)
        job_ids = self._selected(query) if query.until_done else None
        if request.method == "HEAD":
            return EventSourceResponse(iter(()), headers=_HEADERS, ping=0)
        if self._bus.is_closed:
            return _refusal(request, errors.Stopping("arwd is stopping."))
        address = address_of(request.scope)
        if sum(self._open.values()) >= self._options.max_streams or (
            self._open[address] >= self._options.max_streams_per_address
        ):
            full = errors.TooManyStreams("Too many event streams are open. Close one, or raise max_streams.")
            return _refusal(request, full)
        self._open[address] += 1
        with contextlib.ExitStack() as unless_opened:
            unless_opened.callback(self._leave, address, request.scope)
            subscription = await self._bus.subscribe(query.selector, query.start, until_done=job_ids)
            if query.is_reconnect and subscription.is_over:
                return Response(status_code=204)
            unless_opened.pop_all()
        opening = _opening(subscription, query, request.scope["request_id"])
        return EventStream(subscription, opening, self._welcome, lambda: self._leave(address, request.scope))

    def _welcome(self) -> None:
        # A newcomer has missed the ticks of the past; running jobs say where they are.
        for worker in self._manager.roster.workers:
            worker.progress.ask()

    def _leave(self, address: str, scope: Scope) -> None:
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]
        transport = transport_of(scope)
        if self._bus.is_closed and transport is not None and transport.get_write_buffer_size():
            # The stream has ended, but its peer does not read: the stop must not wait for that.
            asyncio.get_running_loop().call_later(PATIENCE, transport.abort)

    def _selected(self, query: Query) -> list[str]:
        roster, selector = self._manager.roster, query.selector
        if not selector.model_ids and not selector.job_ids:
            return [worker.job.job_id for worker in roster.workers]
        jobs = [(f"id {name}", roster.newest(name)) for name in sorted(selector.model_ids)]
        jobs += [(f"job_id {name}", roster.get(name)) for name in sorted(selector.job_ids)]
        for name, job in jobs:
            if job is None:
                raise errors.NotFound(f"There is no job with {name}.")
        return [job.job_id for _, job in jobs if job is not None]


class EventStream(EventSourceResponse):
    """The response whose body the hub writes; the connection's own task only waits for the peer to leave."""

    def __init__(
        self,
        subscription: LocalSubscription,
        opening: bytes,
        opened: Callable[[], None],
        closed: Callable[[], None],
    ) -> None:
        super().__init__(iter(()), headers=_HEADERS, ping=0)
        self._subscription = subscription
        self._opening = opening
        self._opened = opened
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and hand the body over to the hub."""
        try:
            transport = transport_of(scope)
            if transport is not None:
                _bound(transport)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            self._subscription.attach(
                self._opening,
                lambda body, more: send({"type": "http.response.body", "body": body, "more_body": more}),
                _no_abort if transport is None else transport.abort,
            )
            self._opened()
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._subscription.close()
            self._closed()


def _opening(subscription: LocalSubscription, query: Query, request_id: str) -> bytes:
    """The first frames: who we are and from where on; what is missing; how the jobs waited for stand."""
    connected = events.Connected(
        request_id=request_id,
        replayed=subscription.replayed,
        prefixes=query.selector.prefixes,
        version=__version__,
        resume_from=UNSET if query.start.after is None else query.start.after,
    )
    frames = [RETRY, _framed(events.control(subscription.start, events.CONNECTED, connected), query.selector)]
    frames += [_framed(event, query.selector) for event in subscription.opening]
    return b"".join(frames)


def _framed(event: Event, selector: Selector) -> bytes:
    return frame(event, selector.shape, named=selector.named)


def _refusal(request: Request, error: errors.RequestError) -> Response:
    # Any status but 200 ends a browser's EventSource for good; this one it takes as a reason to come back.
    if "text/event-stream" in request.headers.get("accept", ""):
        return Response(_RETRY_LATER, 200, _HEADERS, "text/event-stream")
    raise error


def _bound(transport: asyncio.Transport) -> None:
    """Limit what a reader that stalls can cost. On this connection only: blobs have slow readers that are welcome."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("USER_TIMEOUT", _USER_TIMEOUT), ("KEEPIDLE", 30), ("KEEPINTVL", 10), ("KEEPCNT", 3)):
        number = getattr(socket, f"TCP_{name}", None)
        if number is not None:
            connection.setsockopt(socket.IPPROTO_TCP, number, value)


def _no_abort() -> None:
    """Another server gave us no transport: its own time-outs must do."""

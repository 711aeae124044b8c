"""One GET with its redirects. Rule: every hop is judged, and told its secrets, as if it were the first."""

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

from arwd import errors
from arwd.net import addresses, pools
from arwd.net.addresses import Kind
from arwd.net.egress import Egress
from arwd.net.faults import translate_errors
from arwd.net.pools import Pool, Response
from arwd.net.proxies import Proxy
from arwd.net.redaction import shown
from arwd.net.urls import fault_in, literal, next_hop, origin_of

MAX_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CARRIED: Final = frozenset({"accept", "range", "if-range", "if-none-match", "if-modified-since"})
"""The headers that every hop may see: they say what is wanted, and nothing of who wants it."""


class Session:
    """What every source and transfer shares: the connections, and the rules about whom they lead to."""

    def __init__(
        self,
        egress: Egress,
        *,
        resolver: AbstractResolver | None = None,
        make_socket: pools.MakeSocket = pools.make_socket,
    ) -> None:
        """Needs a running loop."""
        self._egress = egress
        self._policy = policy = egress.policy
        strict = functools.partial(policy.refusal, after_public=True)
        # A kept connection is not dialled again, so those that only some may use are kept apart.
        self._direct = Pool(egress, policy.refusal, resolver, make_socket)
        self._strict = Pool(egress, strict, resolver, make_socket)
        # Whoever set the proxy has said that it may be dialled, and it alone is dialled here.
        self._proxied = Pool(egress, lambda *_: None, resolver, make_socket)

    @contextlib.asynccontextmanager
    async def get(
        self, url: str, headers: Mapping[str, str], *, in_pieces: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The final response, after at most 5 redirects, never from https to http. TransferError.

        `headers`: those that only say what is wanted go to every hop, others to the first origin alone.
        `in_pieces`: as for a pool.
        """
        fault = fault_in(url)
        if fault is not None:  # whoever asks should have looked; what is dialled does not depend on it
            raise errors.InvalidResponse(f"a file's URL cannot be fetched: {fault}") from fault
        first, asked_for, after_public = origin_of(url), shown(url), False
        name = asked_for
        for _ in range(MAX_REDIRECTS + 1):
            is_home = origin_of(url) == first
            asked = {key: value for key, value in headers.items() if is_home or key.lower() in _CARRIED}
            with translate_errors(name):
                response, is_public = await self._ask(url, name, asked, after_public=after_public, in_pieces=in_pieces)
            try:
                if response.status not in REDIRECTS:
                    yield response
                    return
                target = next_hop(url, name, response.headers.getall("Location", []))
            finally:
                response.close()
            # Once a public server has had a say, it has one in all that follows.
            after_public |= is_public
            url = target
            # Its path too may be a signature, or our own query repeated: of where a server sends us, the host is shown.
            name = f"{asked_for} (sent on to {origin_of(url)})"
        raise errors.TooManyRedirects(f"{name}: more than {MAX_REDIRECTS} redirects")

    async def close(self) -> None:
        """Close every connection."""
        for pool in (self._direct, self._strict, self._proxied):
            await pool.close()

    async def _ask(
        self, url: str, name: str, headers: Mapping[str, str], *, after_public: bool, in_pieces: bool
    ) -> tuple[Response, bool]:
        """The response of one hop, and whether it came from a public address."""
        proxy = self._egress.proxies.of(url)
        if proxy is not None:
            return await self._ask_through(proxy, url, name, headers, after_public=after_public, in_pieces=in_pieces)
        pool = self._strict if after_public else self._direct
        response = await pool.get(
            url, name, {**headers, **self._egress.credentials.headers(url)}, None, in_pieces=in_pieces
        )
        return response, addresses.kind_of(addresses.parse(response.peer)) is Kind.PUBLIC

    async def _ask_through(
        self, proxy: Proxy, url: str, name: str, headers: Mapping[str, str], *, after_public: bool, in_pieces: bool
    ) -> tuple[Response, bool]:
        """As `_ask`. The proxy looks names up, so only literal addresses can be judged here."""
        origin = origin_of(url)
        address = literal(origin.host)
        if address is not None:
            refusal = self._policy.refusal(address, origin.port, after_public=after_public)
            if refusal is not None:
                raise errors.BlockedAddress(f"{name}: {refusal}")
        # What is not in a tunnel, the proxy reads.
        own = self._egress.credentials.headers(url) if origin.scheme == "https" else {}
        try:
            response = await self._proxied.get(url, name, {**headers, **own}, proxy, in_pieces=in_pieces)
        except aiohttp.ClientConnectorDNSError as error:
            raise errors.Connect(f"{name}: the proxy's name cannot be looked up; see the setting proxy") from error
        if response.status == 407:
            response.close()
            raise errors.ProxyRefused(f"{name}: the proxy wants a user name and a password; see the setting proxy")
        return response, address is None or addresses.kind_of(addresses.parse(address)) is Kind.PUBLIC


@contextlib.contextmanager
def paused(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Take nothing from the socket meanwhile.

    aiohttp drops what it has buffered of a body when the connection breaks; what still waits in the socket is kept.
    Also, a slow disk must not count as a stalled peer.
    """
    protocol = None if response.connection is None else response.connection.protocol
    if protocol is not None:
        protocol.pause_reading()
    try:
        yield
    finally:
        if protocol is not None and protocol.connected:
            protocol.resume_reading()

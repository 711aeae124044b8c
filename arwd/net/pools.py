"""Connections that were judged alike. Rule: no dial, and no request on a kept connection, without a judgement."""

import contextvars
import errno
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from yarl import URL

from arwd import __version__, errors
from arwd.net.egress import Egress
from arwd.net.proxies import Proxy

Judge = Callable[[str, int], str | None]
"""Why this address and port may not be dialled, None if they may."""
MakeSocket = Callable[[Any], socket.socket]
"""An unconnected socket for an entry of `getaddrinfo`."""

# Signed URLs make long Location headers; aiohttp's 8,190 bytes refuse them.
_MAX_HEAD_LINE: Final = 65_536

_dials: contextvars.ContextVar[list[str | None]] = contextvars.ContextVar("dials")
"""The judgements on this request's dials: each address of a name is a dial, several may run at once."""


def make_socket(entry: Any) -> socket.socket:
    """The socket for this entry of `getaddrinfo`."""
    family, kind, protocol, _, _ = entry
    return socket.socket(family, kind, protocol)


class Response(aiohttp.ClientResponse):
    """A response that knows who sent it, also when its connection is long given back."""

    peer: str = ""


class Pool:
    """Connections to whomever `judge` lets through. No cookies, no environment, no total time-out, no decoding."""

    def __init__(
        self, egress: Egress, judge: Judge, resolver: AbstractResolver | None, make_socket: MakeSocket
    ) -> None:
        options = egress.options
        self._judge = judge
        self._make_socket = make_socket
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=self._socket,
                # Not aiohttp's choice: another resolver, if one happens to be installed, tells faults apart otherwise.
                resolver=resolver or aiohttp.ThreadedResolver(),
                ssl=egress.trust,
                limit=0,
                ttl_dns_cache=10,
            ),
            request_class=_judged(judge),
            response_class=Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            requote_redirect_url=False,
            max_line_size=_MAX_HEAD_LINE,
            max_field_size=_MAX_HEAD_LINE,
            read_bufsize=2**19,
            headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"arwd/{__version__}"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=options.connect_timeout, sock_read=options.stall_timeout
            ),
        )

    async def get(
        self, url: str, name: str, headers: Mapping[str, str], proxy: Proxy | None, *, in_pieces: bool = False
    ) -> Response:
        """One GET without its redirects. BlockedAddress if nobody may be dialled; else as aiohttp raises.

        `name`: what the URL is called in a sentence. `in_pieces`: aiohttp refuses a whole response if bytes that belong
        to none follow it in the same read; with the smallest of buffers it hands out the body before it looks at them.
        """
        judged: list[str | None] = []
        before = _dials.set(judged)
        is_tunnelled = url[:6].lower() == "https:"
        try:
            response = await self._client.get(
                URL(url, encoded=True),  # byte for byte: re-quoting breaks signatures
                # In a tunnel the proxy sees its own head only, else it takes what is meant for it out of ours.
                headers={**headers, **({} if proxy is None or is_tunnelled else proxy.headers)},
                allow_redirects=False,
                read_bufsize=1 if in_pieces else None,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=proxy.headers if proxy is not None and is_tunnelled else None,
            )
        except aiohttp.ClientConnectorError as error:
            if judged and None not in judged:
                raise errors.BlockedAddress(f"{name}: {judged[0]}") from error
            if any(judged):
                raise errors.Connect(f"{name}: those of its addresses that may be contacted do not answer") from error
            raise
        finally:
            _dials.reset(before)
        assert isinstance(response, Response)
        return response

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    def _socket(self, entry: Any) -> socket.socket:
        refusal = self._judge(entry[4][0], entry[4][1])
        _dials.get().append(refusal)
        if refusal is not None:
            # An OSError, so that the next address of the name is tried.
            raise PermissionError(errno.EACCES, refusal)
        made = self._make_socket(entry)
        made.setblocking(False)
        return made


def _judged(judge: Judge) -> type[aiohttp.ClientRequest]:
    class Request(aiohttp.ClientRequest):
        """A request that looks who is at the other end before it says a word."""

        async def send(self, conn: Connection) -> aiohttp.ClientResponse:
            peer = None if conn.transport is None else conn.transport.get_extra_info("peername")
            if peer is None:
                raise ConnectionResetError(errno.ECONNRESET, "the connection is gone")
            refusal = judge(peer[0], peer[1])
            if refusal is not None:
                raise errors.BlockedAddress(f"{self.url.host}: {refusal}")
            response = await super().send(conn)
            assert isinstance(response, Response)
            response.peer = peer[0]
            return response

    return Request

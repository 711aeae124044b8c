"""uvicorn's HTTP protocol with limits on the request head, and the transport handed to event streams.

uvicorn has no deadline for a head, and its parser accepts any length of it and two `Host` headers.
"""

import asyncio
import socket
from typing import Any, Final

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD: Final = 16 * 1024
"""Bytes of a request line and its headers."""
HEAD_DEADLINE: Final = 10.0
"""Seconds from a connection's begin, or from a request's first byte, until its head must be here."""
LAST_CHANCE: Final = 0.25
"""The same at a stop: a request that is under way on an accepted connection is answered still."""

_TRANSPORT: Final = "arwd.transport"


class Refused(Exception):
    """Stops the parser; the response has been chosen."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        """Bytes received since this head began, as they came."""
        self._parsed_bytes = 0
        """Bytes of its complete headers."""
        self._is_in_head, self._has_host = True, False
        self._deadline: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._refusal: tuple[int, str] = (400, "Invalid HTTP request received.")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio sets it only where the listening socket names its protocol; without it, the second write of
            # every response waits 40 ms for an acknowledgement.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_head = self._is_in_head
        super().data_received(data)
        # Complete headers are counted in `on_header`; this counts what the parser still holds of an endless one.
        if self._is_in_head and was_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD and not self.transport.is_closing():
                self._refuse_head()
                self.send_400_response("")
        is_idle = self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is None
        if is_idle and self._deadline is None and not self.transport.is_closing():
            # Bytes that begin no request, such as an empty line, have ended uvicorn's keep-alive timer.
            self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._has_host = True, False
        self._head_bytes = self._parsed_bytes = 0
        if self._deadline is None:
            self._arm()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_HEAD:
            self._refuse_head()
            raise Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._parsed_bytes += len(name) + len(value) + 4  # with the colon, a space and the line's end
        if self._parsed_bytes + len(self.url) > MAX_HEAD:
            self._refuse_head()
            raise Refused
        if name.lower() == b"host":
            if self._has_host:
                self._refusal = 400, "The request has two Host headers."
                raise Refused
            self._has_host = True

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._disarm()
        if not self.url.startswith(b"/"):
            self._check_absolute_form()
        super().on_headers_complete()
        if self._is_stopping:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and not self.transport.is_closing():
            # Answered before its body ended, so the rest of it is only read to be dropped: not for ever.
            self._arm()

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        status, sentence = self._refusal
        body = sentence.encode()
        head = STATUS_LINE[status] + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        self.transport.close()

    def shutdown(self) -> None:
        """After this request none is answered; whoever is idle is let go at once."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering or not self._is_in_head:
            super().shutdown()
        elif not self._is_stopping:
            self._arm(LAST_CHANCE)
        self._is_stopping = True

    def _check_absolute_form(self) -> None:
        # RFC 9112 §3.2.2: the authority in the target replaces Host. One that differs is an attempt to be two hosts.
        target = httptools.parse_url(self.url)
        authority = target.host or b""
        if b":" in authority:
            authority = b"[%b]" % authority
        if target.port:
            authority += b":%d" % target.port
        host = next((value for name, value in self.headers if name == b"host"), b"")
        if authority.lower() != host.lower():
            self._refusal = 400, "The request's target and its Host header name different hosts."
            raise Refused

    def _refuse_head(self) -> None:
        self._refusal = 431, f"The request's head is longer than {MAX_HEAD} bytes."

    def _arm(self, seconds: float | None = None) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(HEAD_DEADLINE if seconds is None else seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if not self._is_in_head or (self._is_stopping and self.scope is None):
            self.transport.close()  # nobody waits for an answer
            return
        self._refusal = 408, f"The request's head did not arrive within {HEAD_DEADLINE:g} s."
        if self._is_stopping:
            self._refusal = 503, "arwd is stopping."
        self.send_400_response("")


def transport_of(scope: Scope) -> asyncio.Transport | None:
    """The connection's transport; None under another server."""
    extension = (scope.get("extensions") or {}).get(_TRANSPORT)
    return None if extension is None else extension["transport"]

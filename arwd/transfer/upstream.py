"""Where a file is had from, and what is demanded of whoever sends it. The one place that calls the way out."""

import contextlib
import time

import aiohttp
import msgspec
from yarl import URL

from arwd import errors, net
from arwd.transfer import first_bytes
from arwd.transfer.head import Head, suggested_name


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """One URL, and the demands on its answers."""

    session: net.Session
    url: str
    rule: first_bytes.Rule
    min_speed: float
    """Bytes a second, over a window."""
    window: float
    """Its seconds."""
    in_pieces: bool = False
    """Something that was no HTTP came with an answer: take the next one apart as carefully as can be."""

    def get(self, headers: dict[str, str]) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The final response to a GET. TransferError."""
        return self.session.get(self.url, headers, in_pieces=self.in_pieces)

    def head(self, response: aiohttp.ClientResponse) -> Head:
        """The head of a response, for those who judge it."""
        headers: dict[str, str] = {}
        for name, value in response.headers.items():
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        shown, is_redirected = net.shown(self.url), response.real_url != URL(self.url, encoded=True)
        if is_redirected:
            # The path of where a server sends us may be a signature.
            shown = f"{shown} (sent on to {net.origin_of(str(response.url))})"
        return Head(url=shown, status=response.status, headers=headers, now=time.time(), is_redirected=is_redirected)

    def fault(self, first: bytes, head: Head, size: int | None) -> errors.TransferError | None:
        """Why a file that begins so is refused; None if it is not."""
        return first_bytes.fault(
            self.rule,
            first,
            url=head.url,
            content_type=head.headers.get("content-type", ""),
            suggested=suggested_name(head),
            size=size,
        )

"""Where a file is had from, and what is demanded of whoever sends it. The one place that calls the way out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import msgspec
from msgspec.structs import replace
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

    @contextlib.asynccontextmanager
    async def get(self, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The final response to a GET. TransferError; Stalled if it takes as long as two windows.

        The time-outs of a socket do not see to that: interim answers can come without end.
        """
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(2 * self.window):
                    response = await stack.enter_async_context(
                        self.session.get(self.url, headers, in_pieces=self.in_pieces)
                    )
            except TimeoutError as error:
                raise errors.Stalled(f"{net.shown(self.url)}: no answer within {2 * self.window:g} s") from error
            yield response

    def head(self, response: aiohttp.ClientResponse) -> Head:
        """The head of a response, for those who judge it."""
        headers: dict[str, str] = {}
        length = 0
        for name, value in response.headers.items():
            length += len(name) + len(value)
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        shown, is_redirected = net.shown(self.url), response.real_url != URL(self.url, encoded=True)
        if is_redirected:
            # The path of where a server sends us may be a signature.
            shown = f"{shown} (sent on to {net.origin_of(str(response.url))})"
        return Head(
            url=shown,
            status=response.status,
            headers=headers,
            now=time.time(),
            is_redirected=is_redirected,
            fields=len(response.headers),
            length=length,
        )

    def page(self, head: Head) -> errors.TransferError | None:
        """Why the rest of a file with this head is refused; None if it is not."""
        return first_bytes.mislabelled(
            self.rule,
            url=head.url,
            content_type=head.headers.get("content-type", ""),
            suggested=suggested_name(head),
        )

    def fault(
        self, first: bytes, head: Head, size: int | None, *, is_replacing: bool = False
    ) -> errors.TransferError | None:
        """Why a file that begins so is refused; None if it is not.

        `is_replacing`: bytes that are held would give way to it, so no digest excuses it from looking like the file.
        """
        return first_bytes.fault(
            replace(self.rule, has_digest=False) if is_replacing else self.rule,
            first,
            url=head.url,
            content_type=head.headers.get("content-type", ""),
            suggested=suggested_name(head),
            size=size,
        )

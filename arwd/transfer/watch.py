"""Ends the wait for a body that cannot come. Its reader would wait for ever in two cases, and here is why.

What is malformed in the middle of a body ends the connection, but aiohttp tells it to nobody who reads. And a body can
go on without a byte of it arriving: a chunk's size may have any number of digits, and each counts as a sign of life.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import aiohttp

from arwd import errors


@contextlib.contextmanager
def watched(
    response: aiohttp.ClientResponse, waited: Callable[[], float], *, window: float, url: str
) -> Iterator[None]:
    """Meanwhile, whoever reads the body gets InvalidResponse or Stalled instead of waiting for ever.

    `waited` tells for how many seconds no byte of the body has come; `window` is how many are too many.
    """
    loop, body = asyncio.get_running_loop(), response.content
    timer: asyncio.TimerHandle

    def end(error: errors.TransferError) -> None:
        if not body.is_eof() and body.exception() is None:
            body.set_exception(error)

    def lost(closed: asyncio.Future[None]) -> None:
        # Asked for, so that nobody complains that it was not; stays with the connection for as long as that lives.
        if not closed.cancelled():
            closed.exception()
        end(errors.InvalidResponse(f"{url}: what the server sent is not valid HTTP"))

    def look() -> None:
        nonlocal timer
        left = window - waited()
        if left <= 0:
            end(errors.Stalled(f"{url}: no byte of the file for {window:g} s"))
        else:
            timer = loop.call_later(left, look)

    timer = loop.call_later(window, look)
    connection = response.connection
    if (
        connection is not None
        and connection.protocol is not None
        and (closed := connection.protocol.closed) is not None
    ):
        closed.add_done_callback(lost)
    try:
        yield
    finally:
        timer.cancel()

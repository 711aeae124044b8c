"""A part that another program left is proved: its first and last bytes are fetched by range and compared.

What is not proved is left alone; the transfer then goes on beside it, under another name.
"""

import time
from typing import Final, Protocol

from arwd import errors, net
from arwd.transfer.response import Piece, piece, refusal
from arwd.transfer.upstream import Upstream
from arwd.transfer.watch import watched

ENDS: Final = 64 * 1024
"""Bytes that are compared at either end."""


class Unproven(Protocol):
    """A sink under whose name bytes lie that may not be of this file."""

    @property
    def unproven(self) -> int:
        """How many."""

    async def read(self, offset: int, count: int) -> bytes:
        """Some of them."""

    async def own(self, *, size: int, validator: str | None) -> None:
        """They are of this file."""

    def disown(self) -> None:
        """They are not, or cannot be shown to be."""


async def prove(upstream: Upstream, sink: Unproven) -> None:
    """Decide whose the bytes are. TransferError: a fault that may pass, nothing is decided; or they are no model."""
    length = sink.unproven
    answers: list[Piece] = []
    for first, last in ends(length):
        there = await sink.read(first, last - first + 1)
        answer = await _fetch(upstream, first, there)
        if answer is None:
            sink.disown()
            return
        answers.append(answer)
    # Both ends of one version, and not longer than it.
    if len(set(answers)) > 1 or answers[0].size < length:
        sink.disown()
    else:
        await sink.own(size=answers[0].size, validator=answers[0].validator)


def ends(length: int) -> tuple[tuple[int, int], ...]:
    """PURE: the ranges to compare, first and last byte of each."""
    if length <= ENDS:
        return ((0, length - 1),)
    return ((0, ENDS - 1), (length - ENDS, length - 1))


async def _fetch(upstream: Upstream, first: int, there: bytes) -> Piece | None:
    """Which version the server has, if it has these bytes there."""
    last = first + len(there) - 1
    async with upstream.get({"Range": f"bytes={first}-{last}"}) as response:
        head = upstream.head(response)
        answer = piece(first, last, head)
        if answer is None:
            fault = refusal(head)
            if fault.retryable:
                raise fault
            return None
        begin, name = time.monotonic(), net.shown(upstream.url)
        watching = watched(response, lambda: time.monotonic() - begin, window=upstream.window, url=name)
        with net.translate_errors(upstream.url), watching:
            try:
                here = await response.content.readexactly(len(there))
            except EOFError as error:
                raise errors.Truncated(f"{name}: the body ended early") from error
    if here != there:
        return None
    wrong = None if first else upstream.fault(there, head, answer.size)
    if wrong is not None:
        raise wrong
    return answer

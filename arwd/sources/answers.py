"""Asking a service where models are. Rule: its answer is read with a bound, and believed in nothing to be checked."""

import contextlib
from collections.abc import Iterator
from typing import Final

import aiohttp

from arwd import errors

MOST_BYTES: Final = 2**24
"""Of one answer: a page of a thousand files has some 400 kB, what is said of a large repository a few MB."""

_SILENT: Final = (errors.Dns, errors.Connect, errors.Handshake, errors.Stalled, errors.Reset, errors.Truncated)


@contextlib.contextmanager
def reaching(whom: str) -> Iterator[None]:
    """Whatever keeps a service from answering has one code; what is wrong with it is in the sentence."""
    try:
        yield
    except _SILENT as error:
        raise errors.SourceUnreachable(f"{whom} cannot be reached; try again later. {error}.") from error


async def read(response: aiohttp.ClientResponse, whom: str) -> bytes:
    """The whole body; InvalidResponse if it does not end in time."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MOST_BYTES:
            raise errors.InvalidResponse(f"{whom} answers with more than {MOST_BYTES} bytes at once.")
    return bytes(body)

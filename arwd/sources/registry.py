"""Which source answers for a ref: the first in order that knows it."""

import asyncio

from arwd import errors
from arwd.model import Artifact, Request
from arwd.sources.base import Options, Source
from arwd.sources.url import UrlSource


class Registry:
    """The sources, in the order in which they are asked."""

    def __init__(self, options: Options, sources: tuple[Source, ...] = (UrlSource(),)) -> None:
        self._options = options
        self._sources = sources

    async def resolve(self, request: Request) -> Artifact:
        """What the ref means. RequestError, or TransferError when the source does not answer in time."""
        for source in self._sources:
            if source.knows(request.ref):
                try:
                    async with asyncio.timeout(self._options.resolve_timeout):
                        return await source.resolve(request)
                except TimeoutError as error:
                    limit = self._options.resolve_timeout
                    raise errors.Stalled(f"the source did not answer within {limit:g} s") from error
        raise errors.InvalidField("No source knows this ref.")

"""Which source answers for a ref: the first in order that knows it."""

import asyncio
from collections.abc import Callable
from typing import Final

from arwd import errors, net
from arwd.model import Artifact, Request
from arwd.sources.base import Options, Source
from arwd.sources.catalog import Catalog
from arwd.sources.huggingface import HuggingFace
from arwd.sources.ollama import Ollama
from arwd.sources.url import UrlSource

SOURCES: Final[tuple[Callable[[net.Session, Options], Source], ...]] = (
    HuggingFace,
    Catalog,
    Ollama,
    UrlSource,  # knows every ref, so it is asked last
)
"""How each source is made, in the order in which they are asked."""


class Registry:
    """The sources, in the order in which they are asked."""

    def __init__(self, options: Options, sources: tuple[Source, ...]) -> None:
        self._options = options
        self._sources = sources

    async def resolve(self, request: Request) -> Artifact:
        """What the ref means. RequestError, or TransferError when the source does not answer in time."""
        for source in self._sources:
            if source.knows(request.ref):
                try:
                    async with asyncio.timeout(self._options.resolve_timeout):
                        return _fitting(await source.resolve(request), request)
                except TimeoutError as error:
                    limit = self._options.resolve_timeout
                    raise errors.SourceUnreachable(f"The source did not answer within {limit:g} s.") from error
        raise errors.InvalidField("No source knows this ref.")


def default(session: net.Session, options: Options) -> Registry:
    """All sources. SettingsError if one cannot be made with these options."""
    return Registry(options, tuple(make(session, options) for make in SOURCES))


def _fitting(artifact: Artifact, request: Request) -> Artifact:
    """PURE: the artifact, unless the request says of several files what only one can have."""
    if len(artifact.files) > 1:
        for name in ("sha256", "filename"):
            if getattr(request, name) is not None:
                raise errors.InvalidField(
                    f"{name} is of one file, but the ref means {len(artifact.files)}; leave it out."
                )
    promised = artifact.files[0].sha256
    if request.sha256 is not None and promised not in (None, request.sha256):
        raise errors.InvalidField(
            f"The source says that the file has the SHA-256 {promised}, not the one given: it is another file."
        )
    return artifact

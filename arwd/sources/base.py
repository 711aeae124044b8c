"""What a source is."""

from typing import Protocol

import msgspec

from arwd.model import Artifact, Request


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a source may take."""

    resolve_timeout: float = 15.0
    """Seconds until a ref must be resolved."""


class Source(Protocol):
    """One kind of place. A source answers for the refs it knows and no others."""

    def knows(self, ref: str) -> bool:
        """Is this ref of my kind? Decided by its form alone, without the network."""

    async def resolve(self, request: Request) -> Artifact:
        """The files behind the ref; RequestError if it cannot be one, TransferError if nobody answers."""

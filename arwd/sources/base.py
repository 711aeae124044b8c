"""What a source is."""

from typing import Protocol

import msgspec

from arwd.model import Artifact, Request


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where sources look, and how long they may take."""

    resolve_timeout: float = 15.0
    """Seconds until a ref must be resolved."""
    hf_endpoint: str = "https://huggingface.co"
    """The Hub that is asked for models: Hugging Face's own, or a mirror of it."""
    catalog: str = ""
    """A TOML file with models of your own names, in addition to those that arwd knows."""


class Source(Protocol):
    """One kind of place. A source answers for the refs it knows and no others."""

    def knows(self, ref: str) -> bool:
        """Is this ref of my kind? Decided by its form alone, without the network."""

    async def resolve(self, request: Request) -> Artifact:
        """The files behind the ref; RequestError if it cannot be one, TransferError if nobody answers."""

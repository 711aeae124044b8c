"""Hugging Face: repositories of models, and single files of them, by link or as `hf://org/repo[:quantization][@rev]`."""

import msgspec

from arwd import net
from arwd.errors import InvalidField
from arwd.model import Artifact, Request
from arwd.sources import hub_links
from arwd.sources.base import Options
from arwd.sources.hub_links import HubRef
from arwd.sources.hub_repository import HubRepositories


class HuggingFace:
    """The Hub, or a mirror of it."""

    def __init__(self, session: net.Session, options: Options) -> None:
        """SettingsError if the endpoint cannot be one."""
        self._endpoint = hub_links.parse_endpoint(options.hf_endpoint)
        self._repositories = HubRepositories(session, options)

    def knows(self, ref: str) -> bool:
        """Links to the Hub and to the endpoint that is asked in its place, and `hf://`."""
        return hub_links.knows(ref, self._endpoint)

    async def resolve(self, request: Request) -> Artifact:
        """The files of the model. ModelNotFound, ModelForbidden, AmbiguousRef, InvalidField; TransferError."""
        return await self._repositories.artifact(
            _with_quantization(hub_links.parse(request.ref, self._endpoint), request)
        )


def _with_quantization(ref: HubRef, request: Request) -> HubRef:
    """PURE: the ref, with the quantization that the request names beside it."""
    if request.quantization is None:
        return ref
    wanted = hub_links.parse_quantization(request.quantization, field="quantization")
    if ref.path is not None:
        raise InvalidField(
            "quantization chooses among the files of a repository; the ref names one file already.",
            field="quantization",
        )
    if ref.quantization not in (None, wanted):
        raise InvalidField("quantization and ref name two different ones; leave one of them out.", field="quantization")
    return msgspec.structs.replace(ref, quantization=wanted or ref.quantization)

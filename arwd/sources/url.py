"""http and https URLs: one file, whose size and name the server tells when it is fetched."""

import re
from typing import Final

from arwd import net
from arwd.errors import InvalidField, ModelNotFound
from arwd.model import Artifact, RemoteFile, Request
from arwd.sources.base import Options

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REFS: Final = (
    "publisher/name, hf://org/repo:Q4_K_M, ollama://name:tag, a link to Hugging Face, or an http or https URL"
)


class UrlSource:
    """Any URL. Asks nobody: what there is to know comes with the first response."""

    def __init__(self, session: net.Session, options: Options) -> None:
        """Made as every source is; it needs neither."""

    def knows(self, ref: str) -> bool:
        """Every ref, so that a wrong one is refused as such."""
        return True

    async def resolve(self, request: Request) -> Artifact:
        """The one file. RequestError says what is wrong with the URL, or that no source knows a model by that name."""
        if _NAME.fullmatch(request.ref):
            raise ModelNotFound(f"No source knows a model by a name alone; give {_REFS}.")
        if "://" not in request.ref:
            raise InvalidField(f"No source knows such a ref; give {_REFS}.")
        fault = net.fault_in(request.ref)
        if fault is not None:
            raise fault
        if request.quantization is not None:
            raise InvalidField(
                "quantization chooses among the files of a repository; a URL is one file.", field="quantization"
            )
        return Artifact(
            url=net.shown(request.ref),
            files=(RemoteFile(mirrors=(request.ref,)),),
        )

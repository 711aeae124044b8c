"""Ollama's registry, and others that speak as it does: `ollama://[host/][namespace/]name[:tag]`.

A model there is a manifest of layers (OCI distribution); those that are GGUF files are its files. A layer is named by
its SHA-256.
"""

import hashlib
import ipaddress
import re
from typing import Final

import aiohttp
import msgspec

from arwd import errors, net
from arwd.model import MAX_WHOLE, Artifact, RemoteFile, Request
from arwd.sources import answers, paths
from arwd.sources.base import Options

SCHEME: Final = "ollama://"

_HOST: Final = "registry.ollama.ai"
_STEP: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"
_REF: Final = re.compile(
    rf"(?:(?:(?P<host>[A-Za-z0-9.-]+(?::[0-9]{{1,5}})?)/)?(?P<space>{_STEP})/)?"
    rf"(?P<name>{_STEP})(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{{0,79}}))?"
)
_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_WEIGHTS: Final = "application/vnd.ollama.image.model"
_PROJECTOR: Final = "application/vnd.ollama.image.projector"
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


class _Layer(msgspec.Struct):
    mediaType: str  # noqa: N815 (the registry's name for it)
    digest: str
    size: int


class _Manifest(msgspec.Struct):
    layers: list[_Layer]


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model is."""

    host: str
    space: str
    name: str
    tag: str

    @property
    def key(self) -> str:
        return f"{self.space}/{self.name}:{self.tag}"

    @property
    def shown(self) -> str:
        """The ref, in full."""
        return SCHEME + ("" if self.host == _HOST else f"{self.host}/") + self.key

    @property
    def base(self) -> str:
        """Where its parts are asked for; on this very machine without TLS."""
        return f"{'http' if _is_here(self.host) else 'https'}://{self.host}/v2/{self.space}/{self.name}"


class Ollama:
    """Registries of Ollama's kind."""

    def __init__(self, session: net.Session, options: Options) -> None:
        """Made as every source is; it needs no option."""
        self._session = session

    def knows(self, ref: str) -> bool:
        """Refs of that scheme."""
        return ref[: len(SCHEME)].lower() == SCHEME

    async def resolve(self, request: Request) -> Artifact:
        """The GGUF files of the model. ModelNotFound, ModelForbidden, InvalidField; TransferError."""
        place = _parse(request.ref[len(SCHEME) :])
        if request.quantization is not None:
            raise errors.InvalidField("The tag of the ref chooses the quantization, as in ollama://qwen3:8b-q8_0.")
        body = await self._manifest(place)
        try:
            manifest = msgspec.json.decode(body, type=_Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _strange(place) from error
        return Artifact(
            url=place.shown,
            files=_files(place, manifest),
            key=place.key,
            revision=hashlib.sha256(body).hexdigest(),
        )

    async def _manifest(self, place: _Place) -> bytes:
        url = f"{place.base}/manifests/{place.tag}"
        with answers.reaching(f"The registry {place.host}"):
            async with self._session.get(url, {"Accept": _MANIFEST}) as response:
                if response.status != 200:
                    raise _refusal(place, response)
                with net.translate_errors(url):
                    return await answers.read(response, place.host)


def _parse(text: str) -> _Place:
    found = _REF.fullmatch(text)
    if found is None:
        raise errors.InvalidField("The ref names no model of a registry: ollama://[host/][namespace/]name[:tag].")
    return _Place(
        host=(found["host"] or _HOST).lower(),
        space=found["space"] or "library",
        name=found["name"],
        tag=found["tag"] or "latest",
    )


def _files(place: _Place, manifest: _Manifest) -> tuple[RemoteFile, ...]:
    """PURE: the weights, and what lets them see. InvalidResponse, ModelNotFound."""
    found: list[RemoteFile] = []
    for kind, prefix in ((_WEIGHTS, ""), (_PROJECTOR, "mmproj-")):
        layers = [layer for layer in manifest.layers if layer.mediaType == kind]
        for number, layer in enumerate(layers, start=1):
            digest = _DIGEST.fullmatch(layer.digest)
            if digest is None or not 0 <= layer.size <= MAX_WHOLE:
                raise _strange(place)
            ending = f"-{number:05}-of-{len(layers):05}" if len(layers) > 1 else ""
            name = f"{prefix}{place.name}-{place.tag}{ending}.gguf"
            url = f"{place.base}/blobs/{layer.digest}"
            found.append(RemoteFile(mirrors=(url,), name=name, size=layer.size, sha256=digest[1]))
        if not layers and kind == _WEIGHTS:
            raise errors.ModelNotFound(f"{place.key} holds no GGUF file; other formats of a registry are not taken.")
    paths.checked((file.name or "" for file in found), place.key)
    return tuple(found)


def _refusal(place: _Place, response: aiohttp.ClientResponse) -> errors.ArwdError:
    status = response.status
    if status == 404:
        return errors.ModelNotFound(f"The registry {place.host} has no {place.key}. Is the tag spelt right?")
    if status in (401, 403):
        return errors.ModelForbidden(
            f"The registry {place.host} does not let anybody have {place.key} without a token."
        )
    if status == 429 or status >= 500:
        return errors.SourceUnreachable(f"The registry {place.host} answers with status {status}; try again later.")
    return _strange(place)


def _strange(place: _Place) -> errors.InvalidResponse:
    return errors.InvalidResponse(f"{place.host} does not answer as a registry of models does.")


def _is_here(host: str) -> bool:
    name = host.partition(":")[0]
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

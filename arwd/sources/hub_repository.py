"""From a repository of the Hub to an artifact: pin it, list it, choose, and look whether it may be had."""

import msgspec

from arwd import net
from arwd.errors import ModelNotFound
from arwd.model import Artifact, RemoteFile
from arwd.sources import hub_files, hub_links, paths, quantization
from arwd.sources.base import Options
from arwd.sources.hub_api import HubApi, Pinned
from arwd.sources.hub_files import HubFile, Model
from arwd.sources.hub_links import HubRef


class HubRepositories:
    """What every source shares whose models are kept in the Hub."""

    def __init__(self, session: net.Session, options: Options) -> None:
        """SettingsError if the endpoint cannot be one."""
        self._endpoint = hub_links.parse_endpoint(options.hf_endpoint)
        self._api = HubApi(session, self._endpoint)

    async def artifact(self, ref: HubRef, *, needs_gguf: bool = False) -> Artifact:
        """The files that the ref means, at the commit that its revision is at just now."""
        pinned = await self._api.pin(ref)
        ref = msgspec.structs.replace(ref, repository=pinned.repository)
        model = await self._model(pinned, ref, needs_gguf=needs_gguf)
        names = paths.checked((file.path for file in model.files), ref.where)
        if pinned.is_gated:
            await self._api.check_licence(pinned, ref, model.files[0].path)
        if len(names) == 1:
            names = (names[0].rpartition("/")[2],)  # one file lies flat, whatever its source
        return Artifact(
            url=hub_links.shown(self._endpoint, ref),
            files=tuple(self._remote(pinned, file, name) for file, name in zip(model.files, names, strict=True)),
            key=_key(ref),
            revision=pinned.commit,
            quantizations=model.quantizations,
        )

    async def _model(self, pinned: Pinned, ref: HubRef, *, needs_gguf: bool) -> Model:
        if ref.path is not None:
            return Model(files=(await self._api.file(pinned, ref),))
        files = await self._api.files(pinned, ref)
        if needs_gguf and not quantization.holds_models(file.path for file in files):
            raise ModelNotFound(f"{ref.where} holds no GGUF files; for those it has, give its link.")
        return hub_files.model_in(files, ref)

    def _remote(self, pinned: Pinned, file: HubFile, name: str) -> RemoteFile:
        return RemoteFile(
            mirrors=(hub_links.file_url(self._endpoint, pinned.repository, pinned.commit, file.path),),
            name=name,
            size=file.size,
            sha256=file.sha256,
            git_oid=file.git_oid,
        )


def _key(ref: HubRef) -> str:
    if ref.path is not None:
        return f"{ref.repository}/{ref.path}"
    return ref.repository if ref.quantization is None else f"{ref.repository}@{ref.quantization}"

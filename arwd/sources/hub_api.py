"""Asking the Hub. Rule: an answer is read with a bound and believed in nothing that could be checked."""

import re
from collections.abc import AsyncIterator
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from arwd import errors, net
from arwd.model import MAX_WHOLE
from arwd.sources import answers, hub_links, hub_refusals
from arwd.sources.hub_files import HubFile
from arwd.sources.hub_links import HubRef

MOST_FILES: Final = 100_000
"""Of one repository: what the Hub itself recommends as the most."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_GIT_OID: Final = re.compile(r"[0-9a-f]{40}")
_NEXT: Final = re.compile(r"""<([^<>]*)>[^<>,]*;\s*rel="?next"?""", re.IGNORECASE)
Decoded = TypeVar("Decoded")


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """A repository at one commit: what its files are does not change any more."""

    repository: str
    """As the Hub calls it, which is another name than was asked for if it was renamed."""
    commit: str
    is_gated: bool


class _Revision(msgspec.Struct):
    id: str
    sha: str
    gated: bool | str = False


class _Lfs(msgspec.Struct):
    oid: str
    size: int


class _Entry(msgspec.Struct):
    type: str
    path: str
    size: int = 0
    oid: str = ""
    lfs: _Lfs | None = None


class HubApi:
    """The questions that a download needs answered. Tokens are the session's affair."""

    def __init__(self, session: net.Session, endpoint: str) -> None:
        """`endpoint`: without a slash at its end."""
        self._session = session
        self._endpoint = endpoint

    async def pin(self, ref: HubRef) -> Pinned:
        """The commit that the revision is at just now."""
        url = f"{self._models}/{ref.repository}/revision/{quote(ref.revision, safe='')}"
        said, _ = await self._ask(url, ref, _Revision)
        if not hub_links.is_repository(said.id) or not _COMMIT.fullmatch(said.sha):
            raise self._strange()
        return Pinned(repository=said.id, commit=said.sha, is_gated=bool(said.gated))

    async def files(self, pinned: Pinned, ref: HubRef) -> tuple[HubFile, ...]:
        """Every file of the commit."""
        return tuple([file async for file in self._tree(pinned, ref, "", is_recursive=True)])

    async def file(self, pinned: Pinned, ref: HubRef) -> HubFile:
        """The file that the ref names; ModelNotFound if there is none."""
        assert ref.path is not None
        folder = ref.path.rpartition("/")[0]
        async for file in self._tree(pinned, ref, folder, is_recursive=False):
            if file.path == ref.path:
                return file
        raise hub_refusals.no_such_file(ref, self._endpoint)

    async def check_licence(self, pinned: Pinned, ref: HubRef, path: str) -> None:
        """ModelForbidden if files of a gated repository are refused: listing it is not, so nobody would know before."""
        url = hub_links.file_url(self._endpoint, pinned.repository, pinned.commit, path)
        with answers.reaching("The Hub"):
            async with self._session.get(url, {"Range": "bytes=0-0"}) as response:
                # Where the Hub sends us on to, it lets us in.
                is_home = net.origin_of(str(response.url)) == net.origin_of(self._endpoint)
                if is_home and response.status in (401, 403, 429):
                    raise hub_refusals.refusal(response.status, response.headers, ref, self._endpoint)

    @property
    def _models(self) -> str:
        return f"{self._endpoint}/api/models"

    async def _tree(self, pinned: Pinned, ref: HubRef, folder: str, *, is_recursive: bool) -> AsyncIterator[HubFile]:
        base = f"{self._models}/{pinned.repository}/tree/{pinned.commit}" + (f"/{quote(folder)}" if folder else "")
        query, seen, count = f"recursive={str(is_recursive).lower()}&expand=false", set[str](), 0
        while query not in seen:
            seen.add(query)
            entries, links = await self._ask(f"{base}?{query}", ref, list[_Entry])
            count += len(entries)
            if count > MOST_FILES:
                raise errors.InvalidResponse(
                    f"{ref.where} has more than {MOST_FILES} files; link the one that you want."
                )
            for entry in entries:
                if entry.type == "file":
                    yield self._file(entry)
            found = _NEXT.search(links)
            if found is None:
                return
            # Only its query: a mirror repeats the links of the Hub that it mirrors, and the token is not for that one.
            query = urlsplit(found[1]).query
        raise errors.InvalidResponse(f"{self._endpoint} lists the files of {ref.repository} in a circle.")

    def _file(self, entry: _Entry) -> HubFile:
        size = entry.size if entry.lfs is None else entry.lfs.size
        if not 0 <= size <= MAX_WHOLE:
            raise self._strange()
        if entry.lfs is not None:
            # Not `xetHash`: it has as many digits and is of something else.
            return HubFile(
                path=entry.path, size=size, sha256=entry.lfs.oid if _SHA256.fullmatch(entry.lfs.oid) else None
            )
        return HubFile(path=entry.path, size=size, git_oid=entry.oid if _GIT_OID.fullmatch(entry.oid) else None)

    async def _ask(self, url: str, ref: HubRef, kind: type[Decoded]) -> tuple[Decoded, str]:
        """What the Hub answers, and the links beside it."""
        with answers.reaching("The Hub"):
            async with self._session.get(url, {"Accept": "application/json"}) as response:
                if response.status != 200:
                    raise hub_refusals.refusal(response.status, response.headers, ref, self._endpoint)
                with net.translate_errors(net.shown(url)):
                    body = await answers.read(response, self._endpoint)
                links = ", ".join(response.headers.getall("Link", []))
        try:
            return msgspec.json.decode(body, type=kind), links
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._strange() from error

    def _strange(self) -> errors.InvalidResponse:
        return errors.InvalidResponse(f"{self._endpoint} does not answer as a Hub does; is hf_endpoint right?")

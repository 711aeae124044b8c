"""A Hub whose repositories are data: it lists, pins, redirects and refuses as the real one does.

async with hub.running({"org/repo": Repo({"config.json": b"{}", "model.safetensors": weights})}) as served: ...

Two origins, as in life: the Hub itself, which tokens are for, and the storage behind it, which takes signed URLs only.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests import canary
from tests.raw import RawServer, answering

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_API = re.compile(r"/api/models/(?P<name>[^/]+(?:/[^/]+)?)(?:/(?P<what>revision|tree|paths-info)/(?P<rest>.+))?")
_FILE = re.compile(r"/(?P<name>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_CACHED = re.compile(r"/api/resolve-cache/models/(?P<name>[^/]+/[^/]+)/(?P<revision>[0-9a-f]{40})/(?P<path>.+)")


class Repo:
    """A repository. Each push is a commit that a branch moves to; what was pushed before stays at its own commit."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        lfs_from: int = 100,
        gated: bool = False,
        private: bool = False,
        lists_to_all: bool = True,
        small_files_by_cache: bool = False,
    ) -> None:
        """`lfs_from`: bytes from which a file is kept in the storage. `lists_to_all`: what is gated is listed."""
        self.lfs_from, self.gated, self.private = lfs_from, gated, private
        self.lists_to_all, self.small_files_by_cache = lists_to_all, small_files_by_cache
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}
        self.push(files)

    def push(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """A new commit, which the branch is at from now on."""
        seed = "".join(f"{path}:{git_oid(data)};" for path, data in sorted(files.items())) + str(len(self.commits))
        commit = hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = dict(files)
        self.branches[branch] = commit
        return commit

    @property
    def commit(self) -> str:
        """Where the main branch is."""
        return self.branches["main"]


@dataclass(frozen=True)
class Seen:
    """One request, as it came. Header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Broken:
    """An answer of which so many bytes of the body come."""

    after: int
    is_cut: bool = True
    """Then the connection ends; else the rest follows when the server's `rest` is set."""
    is_chunked: bool = False
    """The length is not said."""
    more: bytes = b""
    """What follows the body."""


class _Server(RawServer):
    """Reads requests, remembers them, and writes what `answer` says."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Seen] = []
        self.answers: list[Answer] = []
        """Given out before anything else, one for each request."""
        self.is_down = False
        """Every connection is cut off, unanswered."""
        self.go_on = asyncio.Event()
        """While it is cleared nobody is answered."""
        self.go_on.set()
        self.faults: dict[str, list[Answer | Broken]] = {}
        """What becomes of the next requests for a path that ends so, one for each."""
        self.rest = asyncio.Event()
        """What was held back is sent."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, seen: Seen) -> Answer:
        raise NotImplementedError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        pairs = (each.partition(":") for each in fields if each)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(method, target, headers, body)
        self.requests.append(seen)
        if self.is_down:
            return False
        await self.go_on.wait()
        fault = self._fault(seen)
        answer = self.answers.pop(0) if self.answers else fault if isinstance(fault, Answer) else self.answer(seen)
        how = fault if isinstance(fault, Broken) and answer.status < 300 else Broken(len(answer.body), is_cut=False)
        body = b"" if method == "HEAD" else answer.body + how.more
        lines = {"Content-Length": str(len(answer.body + how.more)), **answer.headers}
        if how.is_chunked:
            lines = {**answer.headers, "Transfer-Encoding": "chunked"}
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        if how is not fault or how.is_chunked:
            writer.write(f"{head}\r\n".encode("latin-1") + body)
            await writer.drain()
            return True
        writer.write(f"{head}\r\n".encode("latin-1") + body[: how.after])
        await writer.drain()
        if how.is_cut:
            return False
        await self.rest.wait()
        writer.write(body[how.after :])
        await writer.drain()
        return True

    def _fault(self, seen: Seen) -> Answer | Broken | None:
        faults = next((each for end, each in self.faults.items() if each and seen.path.endswith(end)), None)
        return faults.pop(0) if faults else None


class Storage(_Server):
    """Where the large files are: under their digest, for whoever has a signed URL that has not expired."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self.now = now
        self.blobs: dict[str, bytes] = {}
        self._key = canary.secret("storage").encode()

    def signed(self, data: bytes, lifetime: float) -> str:
        """A URL for these bytes."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        expires = f"{self.now() + lifetime:.3f}"
        return f"{self.url}/{digest}?expires={expires}&signature={canary.WORD}{self._signature(digest, expires)}"

    def answer(self, seen: Seen) -> Answer:
        digest, expires = seen.path.removeprefix("/"), seen.query.get("expires", "0")
        if "authorization" in seen.headers:
            return Answer(400, body=b"only one way to say who asks is allowed")
        if seen.query.get("signature") != f"{canary.WORD}{self._signature(digest, expires)}":
            return Answer(403, body=b"the signature is wrong")
        if float(expires) <= self.now():
            return Answer(403, body=b"the link has expired")
        return part(self.blobs[digest], seen.headers, {"ETag": f'"{digest}"'})

    def _signature(self, digest: str, expires: str) -> str:
        return hmac.new(self._key, f"{digest} {expires}".encode(), "sha256").hexdigest()


class Hub(_Server):
    """The Hub: its API, and where its files are asked for."""

    def __init__(self, repos: dict[str, Repo], storage: Storage) -> None:
        super().__init__()
        self.repos = repos
        self.storage = storage
        self.renamed: dict[str, str] = {}
        """The new name of a repository, by the old one."""
        self.tokens: dict[str, frozenset[str]] = {}
        """Every token that is known, with the repositories that it may read."""
        self.pages: dict[str, Answer] = {}
        """What is under other paths, for sources that are no Hub."""
        self.page_size = 1_000
        self.lifetime = 3_600.0
        """Seconds that a signed URL is good for."""
        self.after: Callable[[Seen], None] = lambda _: None
        """Called when a request was answered: what moves between two calls moves here."""

    def limit(self, seconds: int, *, by: str = "ratelimit", count: int = 1) -> None:
        """The next requests are too many."""
        headers = {"ratelimit": f'"api";r=0;t={seconds}', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}
        headers = headers if by == "ratelimit" else {"Retry-After": str(seconds)}
        self.answers += [_refusal(429, None, "We had to rate limit you", headers)] * count

    def targets(self, *, beginning: str = "") -> list[str]:
        """What was asked for, in order."""
        return [seen.target for seen in self.requests if seen.target.startswith(beginning)]

    def answer(self, seen: Seen) -> Answer:
        try:
            answer = self._found(seen)
        except _Refused as refused:
            answer = refused.answer
        self.after(seen)
        return answer

    def _found(self, seen: Seen) -> Answer:
        if found := _CACHED.fullmatch(seen.path):
            repo = self._repo(found["name"], seen, needs_licence=True)
            return self._blob(repo.commits[found["revision"]][unquote(found["path"])], found["revision"], seen)
        if found := _API.fullmatch(seen.path):
            return self._api(found["name"], found["what"], found["rest"], seen)
        if found := _FILE.fullmatch(seen.path):
            return self._file(found["name"], unquote(found["revision"]), unquote(found["path"]), seen)
        if seen.path in self.pages:
            return self.pages[seen.path]
        return Answer(404, {"Content-Type": "text/html"}, b"<!doctype html><title>404</title>")

    def _repo(self, name: str, seen: Seen, *, needs_licence: bool = False) -> Repo:
        if name in self.renamed:
            new = seen.target.replace(f"/{name}", f"/{self.renamed[name]}", 1)
            raise _Refused(Answer(307, {"Location": new}))
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            raise _Refused(_refusal(401, None, "Invalid credentials in Authorization header"))
        may_read = name in self.tokens.get(token, ())
        repo = self.repos.get(name)
        if repo is None or (repo.private and not may_read):
            sentence = "Repository not found" if token else "Invalid username or password."
            raise _Refused(_refusal(404 if token else 401, "RepoNotFound", sentence))
        if repo.gated and not may_read and (needs_licence or not repo.lists_to_all):
            sentence = f"Access to model {name} is restricted. You must have access to it and be authenticated."
            raise _Refused(_refusal(403 if token else 401, "GatedRepo", sentence))
        return repo

    def _api(self, name: str, what: str | None, rest: str | None, seen: Seen) -> Answer:
        repo = self._repo(name, seen)
        revision, _, folder = (rest or "main").partition("/")
        commit = _commit(repo, unquote(revision))
        files = repo.commits[commit]
        match what:
            case "tree":
                return self._tree(repo, files, unquote(folder).strip("/"), seen)
            case "paths-info":
                is_form = "form" in seen.headers.get("content-type", "")
                asked = parse_qs(seen.body.decode())["paths"] if is_form else json.loads(seen.body)["paths"]
                return _json([entry(path, files[path], repo) for path in asked if path in files])
        return _json({
            "_id": commit[:24], "id": name, "modelId": name, "author": name.partition("/")[0], "sha": commit,
            "private": repo.private, "gated": "auto" if repo.gated else False, "disabled": False, "tags": [],
            "downloads": 0, "likes": 0, "siblings": [{"rfilename": path} for path in sorted(files)],
        })  # fmt: skip

    def _tree(self, repo: Repo, files: Mapping[str, bytes], folder: str, seen: Seen) -> Answer:
        entries = list(listing(repo, files, folder, is_recursive=seen.query.get("recursive", "").lower() == "true"))
        if folder and not entries:
            raise _Refused(_refusal(404, "EntryNotFound", f"{folder} does not exist on this revision"))
        start = int(seen.query.get("cursor", "0"))
        end = start + int(seen.query.get("limit", self.page_size))
        headers = {}
        if end < len(entries):
            more = "&".join(f"{name}={quote(value)}" for name, value in seen.query.items() if name != "cursor")
            headers["Link"] = f'<{self.url}{seen.path}?{more}{"&" if more else ""}cursor={end}>; rel="next"'
        return _json(entries[start:end], headers)

    def _file(self, name: str, revision: str, path: str, seen: Seen) -> Answer:
        repo = self._repo(name, seen, needs_licence=True)
        commit = _commit(repo, revision)
        if path not in repo.commits[commit]:
            raise _Refused(_refusal(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit}))
        data = repo.commits[commit][path]
        if len(data) < repo.lfs_from and not repo.small_files_by_cache:
            return self._blob(data, commit, seen)
        is_large = len(data) >= repo.lfs_from
        etag = hashlib.sha256(data).hexdigest() if is_large else git_oid(data)
        cached = f"/api/resolve-cache/models/{name}/{commit}/{quote(path)}?etag=%22{etag}%22"
        return Answer(
            302 if is_large else 307,
            {
                "Location": self.storage.signed(data, self.lifetime) if is_large else cached,
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{etag}"',
                "X-Linked-Size": str(len(data)),
                **({"X-Xet-Hash": xet_hash(data)} if is_large else {}),
            },
        )

    def _blob(self, data: bytes, commit: str, seen: Seen) -> Answer:
        return part(data, seen.headers, {"ETag": f'"{git_oid(data)}"', "X-Repo-Commit": commit})


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def git_oid(data: bytes) -> str:
    """What git calls a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def xet_hash(data: bytes) -> str:
    """64 hexadecimal digits that are no SHA-256 of the file, as the Hub's other storage has them."""
    return hashlib.sha256(b"xet" + data).hexdigest()


def entry(path: str, data: bytes, repo: Repo) -> dict[str, Any]:
    """A file as the tree lists it."""
    found: dict[str, Any] = {"type": "file", "oid": git_oid(data), "size": len(data), "path": path}
    if len(data) >= repo.lfs_from:
        digest = hashlib.sha256(data).hexdigest()
        found["oid"] = git_oid(digest.encode())  # of the pointer
        found["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
        found["xetHash"] = xet_hash(data)
    return found


def listing(repo: Repo, files: Mapping[str, bytes], folder: str, *, is_recursive: bool) -> Iterator[dict[str, Any]]:
    """The entries below a folder; folders are entries too."""
    start, seen = f"{folder}/" if folder else "", set()
    for path in sorted(files):
        if not path.startswith(start):
            continue
        inner = path[len(start) :].split("/")
        for depth in range(1, len(inner) if is_recursive else min(len(inner), 2)):
            directory = start + "/".join(inner[:depth])
            if directory not in seen:
                seen.add(directory)
                yield {"type": "directory", "oid": git_oid(directory.encode()), "size": 0, "path": directory}
        if is_recursive or len(inner) == 1:
            yield entry(path, files[path], repo)


def part(data: bytes, asked: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
    """The bytes, or the range of them that was asked for."""
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    found = _RANGE.fullmatch(asked.get("range", ""))
    if not found or asked.get("if-range", headers["ETag"]) != headers["ETag"]:
        return Answer(200, headers, data)
    start, end = int(found[1]), min(int(found[2] or len(data)) + 1, len(data))
    if start >= len(data):
        return Answer(416, {"Content-Range": f"bytes */{len(data)}"})
    return Answer(206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, data[start:end])


def _commit(repo: Repo, revision: str) -> str:
    commit = repo.branches.get(revision, revision)
    if commit not in repo.commits:
        raise _Refused(_refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}"))
    return commit


def _json(value: object, headers: Mapping[str, str] | None = None) -> Answer:
    return as_json(json.dumps(value).encode(), headers)


def as_json(text: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer that says so."""
    return Answer(200, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, text)


def _refusal(status: int, code: str | None, sentence: str, headers: Mapping[str, str] | None = None) -> Answer:
    named = {} if code is None else {"X-Error-Code": code}
    body = json.dumps({"error": sentence}).encode()
    return Answer(status, {"X-Error-Message": sentence, **named, **(headers or {})}, body)


@contextlib.asynccontextmanager
async def running(repos: dict[str, Repo], now: Callable[[], float] = time.time) -> AsyncIterator[Hub]:
    """A Hub with these repositories, and its storage on another port."""
    async with answering(Storage(now)) as storage, answering(Hub(repos, storage)) as served:
        yield served

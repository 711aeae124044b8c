"""The nouns. All frozen, all keyword-only: a change makes a new one with `msgspec.structs.replace`."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from arwd.errors import InvalidSha256
from arwd.states import TERMINAL, State

Trust = Literal["caller", "source", "none"]
"""Whose digest held: the request's, the source's, or nobody's."""

MAX_WHOLE = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""

MAX_ID = 256
"""Characters of a model's id."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for: which model, from where, and what it knows of the bytes."""

    id: str = ""
    """Empty: the key that the source knows the model by."""
    ref: str
    """As given: it may carry secrets in its query and must not be shown."""
    provider: str = "local"
    sha256: str | None = None
    filename: str | None = None
    quantization: str | None = None
    """Which of the files that the source offers, as `Q4_K_M`."""


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an artifact. Its mirrors may expire; its name, size and digest do not."""

    mirrors: tuple[str, ...]
    name: str | None = None
    """Its path in the model's directory, with `/`; None: the server says it, or else the URL does."""
    size: int | None = None
    sha256: str | None = None
    git_oid: str | None = None
    """The name of its content in git (SHA-1 over a header and the bytes), of files that a repository holds itself."""


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one model at one revision, as a source found them."""

    url: str
    """What may be shown: no query, no credentials."""
    files: tuple[RemoteFile, ...]
    key: str | None = None
    """What the source calls the model: `publisher/name`, `publisher/name@QUANT`, `publisher/name/path`."""
    revision: str | None = None
    """Which state of the source the files are of: a commit."""
    quantizations: tuple[str, ...] = ()
    """Those that could be asked for."""


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One accepted request and how far it came. Times are RFC 3339 UTC, sizes bytes."""

    job_id: str
    id: str
    state: State
    provider: str
    url: str
    """Redacted: without query."""
    queued_at: str
    sha256: str | None = None
    """The digest the caller gave."""
    filename: str | None = None
    """The name the caller asked for."""
    files: tuple[RemoteFile, ...] = ()
    """What a source said of each file; empty: of a plain URL nothing is known before. No mirror holds a secret."""
    directory: str | None = None
    """What the directory of a model of several files should be called; None: it is one file."""
    revision: str | None = None
    files_done: int = 0
    current_file: str | None = None
    """The one of several that began last."""
    name: str | None = None
    """The settled name below `models/`; reserved from then on."""
    total: int | None = None
    downloaded: int = 0
    attempt: int = 0
    """How many faults in a row since the last new byte; above 0 while waiting to try again."""
    code: str | None = None
    error: str | None = None
    actual_sha256: str | None = None
    waiting_for: str | None = None
    """The job that fetches the same bytes: when it ends, this one has them, or goes on with its part."""
    trust: Trust | None = None
    paused_by: Literal["user", "disk"] | None = None
    paused_at: str | None = None
    """Since when it waits for room on the disk."""
    started_at: str | None = None
    finished_at: str | None = None

    @property
    def is_final(self) -> bool:
        """Has this job ended for good?"""
        return self.state in TERMINAL

    @property
    def content(self) -> str | None:
        """The digest that says what is asked for: the caller's, else the source's, of one file or of all of them."""
        return self.sha256 or content_of(self.files)

    @property
    def wanted_name(self) -> str | None:
        """What it should be called below `models/`, as far as caller or source say; else the server does."""
        return self.directory or self.filename or (self.files[0].name if self.files else None)


def new_job(request: Request, artifact: Artifact, *, job_id: str, state: State, now: str, **more: Any) -> Job:
    """The job that this request for this artifact makes."""
    is_plain_url = artifact.key is None  # its one mirror may hold secrets, and there is nothing else to know of it
    is_directory = len(artifact.files) > 1
    return Job(
        job_id=job_id,
        id=request.id,
        state=state,
        provider=request.provider,
        url=artifact.url,
        queued_at=now,
        sha256=request.sha256,
        filename=request.filename,
        files=() if is_plain_url else artifact.files,
        directory=(artifact.key or request.id).replace("/", "--") if is_directory else None,
        revision=artifact.revision,
        **more,
    )


def content_of(files: Sequence[RemoteFile]) -> str | None:
    """PURE: one digest for all of them: the file's own, or that of their names and digests. None: not all are known."""
    if len(files) == 1:
        return files[0].sha256
    if not files or any((file.sha256 or file.git_oid) is None or file.name is None for file in files):
        return None
    lines = sorted(f"{file.name}\0{file.size}\0{file.sha256 or file.git_oid}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def total_of(files: Sequence[RemoteFile]) -> int | None:
    """PURE: the bytes of all of them; None where one does not tell."""
    sizes = [file.size for file in files if file.size is not None]
    return sum(sizes) if files and len(sizes) == len(files) else None


class ModelFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A finished file, as it was when it was checked."""

    name: str
    """Relative to `models/`, with `/`: the state directory may be moved."""
    bytes: int
    mtime_ns: int
    sha256: str


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A finished model: one verified file under its final name, or a directory of several."""

    id: str
    provider: str
    name: str
    """The file or the directory, relative to `models/`."""
    sha256: str | None = None
    """None: it has several files."""
    bytes: int
    trust: Trust
    url: str
    mtime_ns: int = 0
    job_id: str
    files: tuple[ModelFile, ...] = ()
    """Each of several."""
    list_sha256: str | None = None
    """The digest of the list of several, as their source gave it (`content_of`)."""
    revision: str | None = None
    validator: str | None = None

    @property
    def content(self) -> str | None:
        """The digest that says what it is."""
        return self.sha256 or self.list_sha256

    @property
    def on_disk(self) -> tuple[ModelFile, ...]:
        """Its files, one or several."""
        if self.sha256 is None:
            return self.files
        return (ModelFile(name=self.name, bytes=self.bytes, mtime_ns=self.mtime_ns, sha256=self.sha256),)


def parse_sha256(text: str) -> str:
    """The digest in lower case; InvalidSha256 unless it is 64 hexadecimal digits."""
    if not _SHA256.fullmatch(text):
        raise InvalidSha256("sha256 must be 64 hexadecimal digits.")
    return text.lower()


def git_blob_sha1(size: int) -> "hashlib._Hash":
    """The digest that git names a file of `size` bytes by, begun: its bytes are still to be put in (git-hash-object).

    It tells that a small file is the one of its commit. It is no proof against a forger: SHA-1 can be forged.
    """
    begun = hashlib.sha1(usedforsecurity=False)
    begun.update(b"blob %d\0" % size)
    return begun

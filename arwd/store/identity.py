"""Is this the file that its source means? Told by SHA-256 where it is known, else by git's own name of it."""

import hashlib
import os
from pathlib import Path

from arwd import fs
from arwd.errors import Sha256Mismatch
from arwd.model import RemoteFile, git_blob_sha1
from arwd.store.control import CheckedFile

_CHUNK = 1 << 20


def is_same(file: RemoteFile, other: RemoteFile) -> bool:
    """PURE: are these bytes the same, as far as their source tells?"""
    if file.sha256 or file.git_oid:
        return (file.sha256, file.git_oid, file.size) == (other.sha256, other.git_oid, other.size)
    return file == other


def compare(file: RemoteFile, actual: str, declared: str | None, data: bytes | None) -> None:
    """Sha256Mismatch unless a file with the SHA-256 `actual` is this one; `data`: all of it, if it is at hand.

    `declared`: the digest that the server sent along.
    """
    expected = file.sha256 or declared
    if expected is not None and actual != expected:
        raise Sha256Mismatch(expected=expected, actual=actual)
    if data is not None and file.sha256 is None and file.git_oid is not None:
        hasher = git_blob_sha1(len(data))
        hasher.update(data)
        compare_git(file.git_oid, hasher.hexdigest())


def compare_git(expected: str, actual: str) -> None:
    """Sha256Mismatch unless git calls the file so."""
    if actual != expected:
        raise Sha256Mismatch(expected=expected, actual=actual)


def recognised(path: Path, file: RemoteFile) -> CheckedFile | None:
    """The file that lies there, if it is this one by its digest. Blocks; OSError."""
    status = fs.status_of(path)
    if status is None or status.st_size != file.size or not (file.sha256 or file.git_oid):
        return None
    sha256, git_oid = digests(path)
    is_it = sha256 == file.sha256 if file.sha256 else git_oid == file.git_oid
    return as_checked(file.name or "", sha256, status) if is_it else None


def digests(path: Path) -> tuple[str, str]:
    """SHA-256, and git's name. Blocks; OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
        sha256, git_oid = hashlib.sha256(), git_blob_sha1(os.fstat(file.fileno()).st_size)
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            git_oid.update(chunk)
    return sha256.hexdigest(), git_oid.hexdigest()


def as_checked(name: str, sha256: str, status: os.stat_result) -> CheckedFile:
    """The file with this status was found to have this digest."""
    return CheckedFile(name=name, sha256=sha256, bytes=status.st_size, inode=status.st_ino, mtime_ns=status.st_mtime_ns)

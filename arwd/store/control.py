"""The control file of a part, `<name>.part.json`: what is known of the bytes beside it.

Rule: it is whole or it counts for nothing. It is replaced in one step, and sealed: one with a byte that is not as it
was written vouches for nothing.
"""

import errno
import functools
import logging
import os
import re
import stat
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from arwd import fs
from arwd.model import Job, RemoteFile, content_of
from arwd.store.layout import Folder

log = logging.getLogger(__name__)

_ENDING = ".part.json"
_MOST_BYTES = 16 << 20
_OURS = re.compile(rb'\{"id":"[^"]*","job_id":"job_[0-9a-f]{10}"')


class Prefix(msgspec.Struct, frozen=True, kw_only=True):
    """The digest of the first so many bytes of a part: a byte that changes while nobody looks is found out."""

    bytes: int
    sha256: str


class CheckedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One of several files, whole and checked: this very one. `name` is its path in their directory."""

    name: str
    sha256: str
    bytes: int
    inode: int
    mtime_ns: int


class Checked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part is whole and checked; only its final name is missing. It is this very file that was checked."""

    sha256: str
    """Of a directory, that of the list of its files; empty if its source does not tell all digests."""
    bytes: int
    inode: int
    mtime_ns: int
    length_known: bool = True
    files: tuple[CheckedFile, ...] = ()
    """Of a directory: all of them. Its own modification time says nothing."""


class ControlFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a part. `layout: prefix` means: its bytes are contiguous from the start of the file."""

    id: str
    job_id: str
    url: str
    """Redacted: without query."""
    boot_id: str
    provider: str = "local"
    filename: str | None = None
    """The name the caller asked for."""
    is_paused: bool = False
    """By its user: if the database is lost, it must not go on unasked."""
    layout: Literal["prefix"] = "prefix"
    synced: int = 0
    """Bytes known to be on disk: what is trusted after another boot."""
    prefix: Prefix | None = None
    size: int | None = None
    validator: str | None = None
    declared: str | None = None
    """The digest of the whole file that its server declared."""
    sha256: str | None = None
    """What the caller asked for, or the source promised."""
    checked: Checked | None = None
    directory: str | None = None
    """What the directory of several files should be called; the part is a directory then."""
    revision: str | None = None
    files: tuple[RemoteFile, ...] = ()
    """What a source said of each file."""
    seal: str = ""


def blank(job: Job) -> ControlFile:
    """The control file of a part of which nothing is known yet."""
    return ControlFile(
        id=job.id,
        job_id=job.job_id,
        url=job.url,
        boot_id=boot_id(),
        provider=job.provider,
        filename=job.filename,
        sha256=job.sha256 or content_of(job.files),
        directory=job.directory,
        revision=job.revision,
        files=job.files,
    )


def checked(status: os.stat_result, sha256: str, *, length_known: bool) -> Checked:
    """The file with this status was found whole, with this digest."""
    return Checked(
        sha256=sha256,
        bytes=status.st_size,
        inode=status.st_ino,
        mtime_ns=status.st_mtime_ns,
        length_known=length_known,
    )


def is_wanted(blank: ControlFile, said: ControlFile) -> bool:
    """PURE: may a part of this model that no job remembers be what this one asks for?"""
    return said.url == blank.url and said.sha256 in (None, blank.sha256)


def taken_over(blank: ControlFile, said: ControlFile, *, held: int, is_checked: bool) -> ControlFile:
    """PURE: what a job knows of a part that an earlier one left, `held` bytes of which may be trusted."""
    known = replace(blank, size=said.size, synced=min(said.synced, held), prefix=said.prefix)
    # Another address may serve the same file; what it says of its versions says nothing of the one that was kept.
    if said.url == blank.url:
        known = replace(known, validator=said.validator, declared=said.declared)
    return replace(known, checked=said.checked) if is_checked and is_answer(blank, said) else known


def is_answer(blank: ControlFile, said: ControlFile) -> bool:
    """PURE: is what was checked what this job wants?"""
    # What was checked for another job was not asked for by this one: its own digest decides, or the server.
    return said.checked is not None and (said.job_id == blank.job_id or said.checked.sha256 == blank.sha256)


def write(path: Path, control: ControlFile) -> None:
    """Replace the control file, durably. Blocks; OSError."""
    bare = msgspec.json.encode(replace(control, seal=""))
    fs.write_atomic(path, msgspec.json.encode(replace(control, seal=fs.seal(bare))))


def read(path: Path) -> ControlFile | None:
    """What the control file says; None if there is none, or if it is not as it was written. Blocks.

    OSError where it cannot be read just now: that says nothing about it.
    """
    try:
        control = msgspec.json.decode(_bytes(path), type=ControlFile)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("%s cannot be read: %s", path.name, error, extra={"event": "control_file_damaged"})
        return None
    bare = msgspec.json.encode(replace(control, seal=""))
    if fs.seal(bare) != control.seal:
        log.warning("%s is not as it was written", path.name, extra={"event": "control_file_damaged"})
        return None
    return control


def discard(layout: Folder, name: str, model_id: str) -> None:
    """Delete a part and its control file, unless another model's control file says otherwise. Blocks; OSError."""
    path = layout.control_file(name)
    known = read(path)
    if known is None and not os.path.lexists(path):
        return
    if known is None or known.id == model_id:
        # The part first: bytes without a control file would be nobody's.
        fs.remove(layout.part(name))
        path.unlink(missing_ok=True)


def hand_over(layout: Folder, name: str, to: str, blank: ControlFile) -> bool:
    """Give a part to another job, under another name. False if there is none to give. Blocks; OSError."""
    said, status = read(layout.control_file(name)), fs.status_of(layout.part(name))
    if said is None or status is None:
        return False
    is_directory = stat.S_ISDIR(status.st_mode)
    if not is_directory and status.st_nlink > 1:  # a link to another model's file is nobody's part
        return False
    # Vouched for before it is there: bytes of unknown origin never exist. Another boot trusts `synced` alone.
    known = blank if is_directory else taken_over(blank, said, held=status.st_size, is_checked=False)
    write(layout.control_file(to), replace(known, boot_id=said.boot_id))
    fs.rename_without_replacing(layout.part(name), layout.part(to))
    fs.fsync_directory(layout.models)
    layout.control_file(name).unlink()
    return True


def survey(layout: Folder) -> dict[str, ControlFile]:
    """Every control file that counts, by the name of its part. Blocks; OSError."""
    found: dict[str, ControlFile] = {}
    for name in sorted(path.name for path in layout.models.iterdir() if path.name.endswith(_ENDING)):
        try:
            control = read(layout.models / name)
        except OSError as error:
            log.warning("%s cannot be read now: %s", name, error, extra={"event": "control_file_unreadable"})
            continue
        if control is not None:
            found[name.removesuffix(_ENDING)] = control
    return found


def was_ours(path: Path) -> bool:
    """Was this a control file before it was damaged? Another program may call its files so. Blocks."""
    try:
        return _OURS.match(_bytes(path)) is not None
    except OSError:
        return False


def _bytes(path: Path) -> bytes:
    """The bytes of a plain file; of anything else none. Never waits for a pipe that somebody put there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return b""
        raise
    try:
        return os.read(descriptor, _MOST_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


@functools.cache
def boot_id() -> str:
    """Which boot of the machine this is; empty where it cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""  # unreadable in some sandboxes: then every start counts as a new boot

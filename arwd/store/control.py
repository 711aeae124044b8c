"""The control file of a part, `<name>.part.json`: what is known of the bytes beside it.

Rule: it is whole or it counts for nothing. It is replaced in one step, and sealed: one with a byte that is not as it
was written vouches for nothing.
"""

import functools
import logging
import os
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from arwd import fs
from arwd.model import Job
from arwd.store.layout import Layout

log = logging.getLogger(__name__)

_ENDING = ".part.json"


class Prefix(msgspec.Struct, frozen=True, kw_only=True):
    """The digest of the first so many bytes of a part: a byte that changes while nobody looks is found out."""

    bytes: int
    sha256: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The part is whole and checked; only its final name is missing. It is this very file that was checked."""

    sha256: str
    bytes: int
    inode: int
    mtime_ns: int
    length_known: bool = True


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
    sha256: str | None = None
    """The digest the caller gave."""
    checked: Checked | None = None
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
        sha256=job.sha256,
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


def write(path: Path, control: ControlFile) -> None:
    """Replace the control file, durably. Blocks; OSError."""
    bare = msgspec.json.encode(replace(control, seal=""))
    fs.write_atomic(path, msgspec.json.encode(replace(control, seal=fs.seal(bare))))


def read(path: Path) -> ControlFile | None:
    """What the control file says; None if there is none, or if it is not as it was written. Blocks."""
    try:
        control = msgspec.json.decode(path.read_bytes(), type=ControlFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("%s cannot be read: %s", path.name, error, extra={"event": "control_file_damaged"})
        return None
    bare = msgspec.json.encode(replace(control, seal=""))
    if fs.seal(bare) != control.seal:
        log.warning("%s is not as it was written", path.name, extra={"event": "control_file_damaged"})
        return None
    return control


def discard(layout: Layout, name: str, model_id: str) -> None:
    """Delete a part and its control file, unless another model's control file says otherwise. Blocks; OSError."""
    path = layout.control_file(name)
    known = read(path)
    if known is None and not os.path.lexists(path):
        return
    if known is None or known.id == model_id:
        # The part first: bytes without a control file would be nobody's.
        layout.part(name).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def survey(layout: Layout) -> dict[str, ControlFile]:
    """Every control file that counts, by the name of its part. Blocks; OSError."""
    names = [path.name.removesuffix(_ENDING) for path in layout.models.iterdir() if path.name.endswith(_ENDING)]
    found = {name: read(layout.control_file(name)) for name in sorted(names)}
    return {name: control for name, control in found.items() if control is not None}


@functools.cache
def boot_id() -> str:
    """Which boot of the machine this is; empty where it cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""  # unreadable in some sandboxes: then every start counts as a new boot

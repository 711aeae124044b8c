"""What lies on disk under a name when a job takes it up, and how much of it may be trusted."""

import os
import stat
from pathlib import Path
from typing import Literal

import msgspec

from arwd import fs
from arwd.store import control
from arwd.store.control import Checked, CheckedFile, ControlFile
from arwd.store.layout import Folder
from arwd.store.names import Claim

Use = Literal["go on", "prove", "begin anew", "discard", "leave"]
"""What the part under a name is good for: bytes of ours; bytes of another program, which may be this file's; a name
only; nothing, and it is ours; nothing, and it is not.
"""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A part as it was found."""

    use: Use
    control: ControlFile | None = None
    """What vouches for it."""
    held: int = 0
    """Bytes from its start that may be trusted."""
    lost: int = 0
    """Bytes that were ours, and of which none can be trusted, or is there any more."""
    bare: int = 0
    """Bytes without a control file: another program left them."""
    is_checked: bool = False
    """The very file that was checked is here, as the part or under its final name."""
    is_placed: bool = False
    """It is under its final name only."""


def look(layout: Folder, claim: Claim, wanted: ControlFile, is_ours: bool) -> Found:  # noqa: FBT001 (for a thread)
    """What lies under the claimed name. `is_ours`: it was settled as this job's before. Blocks; OSError."""
    name = claim.settled
    there = _size(layout.part(name))
    known = control.read(layout.control_file(name))
    # A file that is not this model's has the final name: nothing can be put there.
    is_free = claim.is_own or not os.path.lexists(layout.final(name))
    if known is None and os.path.lexists(layout.control_file(name)):
        return Found(use="begin anew", lost=there) if is_ours and is_free else Found(use="leave")
    if known is None:
        can_be_used = there and is_free and _is_alone(layout.part(name))
        return Found(use="prove", bare=there) if can_be_used else Found(use="leave")
    if known.id != wanted.id:
        return Found(use="leave")
    if not is_ours and not control.is_wanted(wanted, known):
        return Found(use="discard")
    is_answer = control.is_answer(wanted, known)
    is_link = known.checked is not None and there > 0 and not _is_alone(layout.part(name))
    if known.checked is not None and is_checked(layout, name, known.checked) and (is_answer or not is_link):
        is_placed = not is_there(layout.part(name), known.checked)
        if is_placed and claim.is_own and not is_answer:
            return Found(use="begin anew")  # it is the finished file, which stays until there is another
        return Found(use="go on", control=known, held=known.checked.bytes, is_checked=True, is_placed=is_placed)
    if is_link:
        # A link to another model's file, which was made for a job that failed: to write there would be its end.
        return Found(use="discard")
    held = trusted(there, known, control.boot_id())
    lost = 0 if held else max(there, known.synced)
    return Found(use="go on" if held or is_free else "discard", control=known, held=held, lost=lost)


def trusted(there: int, known: ControlFile, boot_id: str) -> int:
    """PURE: how many of the bytes that are there count, given what the control file knows and which boot this is."""
    # After another boot the size may be ahead of the bytes: a power cut leaves a tail of zeros.
    is_same_boot = known.boot_id == boot_id != ""
    held = there if is_same_boot else min(there, known.synced)
    return 0 if known.size is not None and held > known.size else held


def is_checked(layout: Folder, name: str, checked: Checked) -> bool:
    """Is what was checked still here and untouched? Blocks."""
    return is_there(layout.part(name), checked) or is_there(layout.final(name), checked)


def is_there(path: Path, checked: Checked) -> bool:
    """Is this the file, or the directory with all its files, that was checked, untouched since? Blocks."""
    if not checked.files:
        return is_file(path, checked)
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return False
    is_same = stat.S_ISDIR(status.st_mode) and status.st_ino == checked.inode
    return is_same and all(is_file(path / file.name, file) for file in checked.files)


def is_file(path: Path, checked: Checked | CheckedFile) -> bool:
    """Is this the file that was checked, untouched since? Blocks."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return False
    return (status.st_ino, status.st_size, status.st_mtime_ns) == (checked.inode, checked.bytes, checked.mtime_ns)


def _size(path: Path) -> int:
    status = fs.status_of(path)
    return status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0


def _is_alone(path: Path) -> bool:
    """Has the file no other name, under which we would write into it?"""
    status = fs.status_of(path)
    return status is not None and status.st_nlink == 1

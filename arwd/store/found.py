"""What lies on disk under a name when a job takes it up, and how much of it may be trusted."""

import os
import stat
from pathlib import Path

import msgspec

from arwd.store import control
from arwd.store.control import Checked, ControlFile
from arwd.store.layout import Layout


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A part as it was found. With none of these set: there is nothing, or it belongs to another model."""

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
    is_in_the_way: bool = False
    """Nothing of the part can be trusted, and its final name is that of some other file by now."""


def look(layout: Layout, name: str, model_id: str) -> Found:
    """What this model has under this name. Blocks."""
    there = _size(layout.part(name))
    known = control.read(layout.control_file(name))
    if known is None:
        is_damaged = os.path.lexists(layout.control_file(name))
        return Found(lost=there) if is_damaged else Found(bare=there)
    if known.id != model_id:
        return Found()
    if known.checked is not None and is_checked(layout, name, known.checked):
        return Found(control=known, held=known.checked.bytes, is_checked=True)
    held = trusted(there, known, control.boot_id())
    is_in_the_way = not held and os.path.lexists(layout.final(name))
    lost = 0 if held else max(there, known.synced)
    return Found(control=known, held=held, lost=lost, is_in_the_way=is_in_the_way)


def trusted(there: int, known: ControlFile, boot_id: str) -> int:
    """PURE: how many of the bytes that are there count, given what the control file knows and which boot this is."""
    # After another boot the size may be ahead of the bytes: a power cut leaves a tail of zeros.
    is_same_boot = known.boot_id == boot_id != ""
    held = there if is_same_boot else min(there, known.synced)
    return 0 if known.size is not None and held > known.size else held


def is_checked(layout: Layout, name: str, checked: Checked) -> bool:
    """Is the file that was checked still here and untouched? Blocks."""
    return is_file(layout.part(name), checked) or is_file(layout.final(name), checked)


def is_file(path: Path, checked: Checked) -> bool:
    """Is this the file that was checked, untouched since? Blocks."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return False
    return (status.st_ino, status.st_size, status.st_mtime_ns) == (checked.inode, checked.bytes, checked.mtime_ns)


def _size(path: Path) -> int:
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0

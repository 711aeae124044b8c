"""`models.json`, read back: what the files are, when the database no longer knows. A hint, never a proof.

Anybody may have written to it. What makes no sense in it is passed over, and its paths are only asked for their last
name: they are of where the directory once was.
"""

import logging
import os
import re
import stat

import msgspec

from arwd import fs
from arwd.model import MAX_WHOLE, Model, ModelFile, Trust
from arwd.store.layout import Layout

log = logging.getLogger(__name__)

_MOST_BYTES = 16 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """One of several, by its path in their directory."""

    name: str
    sha256: str
    bytes: int


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    provider: str
    path: str
    bytes: int
    trust: Trust
    sha256: str | None = None
    files: tuple[_File, ...] = ()


def listed(layout: Layout) -> list[Model]:
    """The models of the list whose file is there with that size; their digests are still to be checked. Blocks."""
    found: dict[str, Model] = {}
    names: set[str] = set()
    for raw in _entries(layout):
        model = _model(layout, raw)
        if model is not None and model.id not in found and model.name not in names:
            found[model.id] = model
            names.add(model.name)
    return list(found.values())


def _entries(layout: Layout) -> list[msgspec.Raw]:
    try:
        # Not to be held up by a pipe that somebody put there.
        with open(os.open(layout.list, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("models.json cannot be read: %s", error, extra={"event": "list_damaged"})
        return []
    if len(text) > _MOST_BYTES:
        log.warning("models.json is too long to be ours", extra={"event": "list_damaged"})
        return []
    try:
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("models.json cannot be read: %s", error, extra={"event": "list_damaged"})
        return []


def _model(layout: Layout, raw: msgspec.Raw) -> Model | None:
    try:
        entry = msgspec.json.decode(raw, type=_Entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    name = re.split(r"[/\\]", entry.path)[-1]
    makes_sense = (
        0 < len(entry.id) <= 256
        and not _CONTROL.search(entry.id)
        and fs.safe_name(name) == name
        and (entry.sha256 is None) == bool(entry.files)
    )
    if not makes_sense:
        return None
    if entry.sha256 is not None:
        files = [_file(layout, name, entry.sha256, entry.bytes)]
    else:
        files = [_file(layout, f"{name}/{file.name}", file.sha256, file.bytes) for file in entry.files]
    there = tuple(file for file in files if file is not None)
    if len(there) != len(files):
        return None
    return Model(
        id=entry.id,
        provider=entry.provider,
        name=name,
        sha256=entry.sha256,
        bytes=sum(file.bytes for file in there),
        trust=entry.trust,
        url="",
        mtime_ns=there[0].mtime_ns if entry.sha256 is not None else 0,
        job_id="",
        files=there if entry.sha256 is None else (),
    )


def _file(layout: Layout, name: str, sha256: str, size: int) -> ModelFile | None:
    """The file, if it can be one of ours and is there with that size. No step of its name leads through a link."""
    steps = name.split("/")
    is_ours = all(step not in ("", ".", "..") and not _CONTROL.search(step) for step in steps)
    if not (is_ours and "\\" not in name and 0 <= size <= MAX_WHOLE and _SHA256.fullmatch(sha256)):
        return None
    try:
        for count in range(1, len(steps)):
            if not stat.S_ISDIR(layout.final("/".join(steps[:count])).stat(follow_symlinks=False).st_mode):
                return None
        status = layout.final(name).stat(follow_symlinks=False)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        return None
    return ModelFile(name=name, bytes=size, mtime_ns=status.st_mtime_ns, sha256=sha256)

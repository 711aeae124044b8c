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
from arwd.model import MAX_WHOLE, Model, Trust
from arwd.store.layout import Layout

log = logging.getLogger(__name__)

_MOST_BYTES = 16 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    provider: str
    path: str
    sha256: str
    bytes: int
    trust: Trust


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
        and 0 <= entry.bytes <= MAX_WHOLE
        and _SHA256.fullmatch(entry.sha256)
        and fs.safe_name(name) == name
    )
    if not makes_sense:
        return None
    try:
        status = layout.final(name).stat(follow_symlinks=False)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.bytes:
        return None
    return Model(
        id=entry.id,
        provider=entry.provider,
        name=name,
        sha256=entry.sha256,
        bytes=entry.bytes,
        trust=entry.trust,
        url="",
        mtime_ns=status.st_mtime_ns,
        job_id="",
    )

"""The bytes are here already, under another id: a second name for the same file, or a copy where there are no links."""

import logging
from pathlib import Path

from arwd import fs
from arwd.jobs.record import Record
from arwd.model import ModelFile
from arwd.store.parts import Part

log = logging.getLogger(__name__)

_PIECE = 256 * 1024


async def link(part: Part, path: Path, file: ModelFile) -> bool:
    """Make the part a second name of this model's file, checked. False where that cannot be done. StorageError."""
    return await part.link(path, sha256=file.sha256, size=file.bytes, mtime_ns=file.mtime_ns)


async def copy(part: Part, path: Path, file: ModelFile, record: Record) -> bool:
    """Fill the part from this model's file. False if that is not what it was: then nothing of it is kept."""
    await part.begin(start=0, size=file.bytes, validator=None, declared=None, length_known=True, suggested=None)
    await record.began(file.bytes)
    try:
        while part.held < file.bytes:
            piece = await fs.in_thread(fs.read_piece, path, part.held, min(_PIECE, file.bytes - part.held))
            if not piece:
                break
            part.put(piece)
            record.received(len(piece))
            if part.full:
                await part.room()
    except OSError as error:
        log.warning("%s cannot be copied: %s", path.name, error.strerror, extra={"event": "copy_failed"})
    else:
        if part.held == file.bytes and await part.digest() == file.sha256:
            record.progress.finish()
            await part.close()
            return True
    record.progress.end()
    await record.restarted("part_invalid", await part.clear(), 0)
    return False

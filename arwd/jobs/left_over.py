"""What jobs leave: the part of a failed one, which the next one takes over or drops; a file that nobody lists."""

import functools
from collections.abc import Awaitable, Callable

from arwd import fs
from arwd.database import After
from arwd.errors import DiskFull
from arwd.jobs.rooms import Rooms
from arwd.model import Job, Model
from arwd.states import State
from arwd.store import control, doomed, found


def discarding(rooms: Rooms, failed: Job | None) -> After | None:
    """The deletion of the part that this job left, if it failed and left one."""
    if failed is None or failed.state is not State.FAILED or failed.name is None:
        return None
    # Looked up here: the deletion runs in another thread, and must not walk over what the loop changes.
    is_listed = failed.name in {model.name for model in rooms.library}
    return functools.partial(_discard, rooms, failed.name, failed.id, is_listed=is_listed)


def _discard(rooms: Rooms, name: str, model_id: str, *, is_listed: bool) -> None:
    known = control.read(rooms.layout.control_file(name))
    control.discard(rooms.layout, name, model_id)
    # It may have had its final name already when the job failed; then nobody else lists it.
    if known is None or known.id != model_id or known.checked is None or is_listed:
        return
    if not found.is_there(rooms.layout.final(name), known.checked):
        return
    fs.remove_files(rooms.layout.models, [f"{name}/{file.name}" for file in known.checked.files] or [name])


async def unlist(publish: Callable[[After | None], Awaitable[None]], remove: After) -> None:
    """Write down that files are gone, then `remove` them. StorageError.

    On a full disk they go first: what they took up is the room in which that can be written down. Should we end in
    between, the next start finds that they are missing.
    """
    try:
        await publish(remove)
    except DiskFull:
        with fs.translate_errors("cannot make room"):
            await fs.in_thread(remove)
        await publish(None)  # once only: the name may have come to new honours


def bury(rooms: Rooms, model: Model) -> None:
    """A condemned file was unlinked: write that down. If it is still there, the next life tries again."""
    gone = [file for file in model.on_disk if doomed.is_gone(rooms.library.path(file), file)]
    if gone:
        rooms.bus.publish(changes=(doomed.bury(*gone),))

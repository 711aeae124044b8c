"""What jobs leave: the part of a failed one, which the next one takes over or drops; a file that nobody lists."""

import functools
import os

from arwd.database import After
from arwd.jobs.rooms import Rooms
from arwd.model import Job
from arwd.states import State
from arwd.store import control, library


def discarding(rooms: Rooms, failed: Job | None) -> After | None:
    """The deletion of the part that this job left, if it failed and left one."""
    if failed is None or failed.state is not State.FAILED or failed.name is None:
        return None
    return functools.partial(control.discard, rooms.layout, failed.name, failed.id)


def bury(rooms: Rooms, name: str) -> None:
    """A condemned file was unlinked: write that down. If it is still there, the next life tries again."""
    if not os.path.lexists(rooms.layout.final(name)):
        rooms.bus.publish(changes=(library.bury(name),))

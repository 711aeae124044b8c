"""The part that a failed job leaves: the next job of its id takes it over, or it goes."""

import functools

from arwd.database import After
from arwd.jobs.rooms import Rooms
from arwd.model import Job
from arwd.states import State
from arwd.store import control


def discarding(rooms: Rooms, failed: Job | None) -> After | None:
    """The deletion of the part that this job left, if it failed and left one."""
    if failed is None or failed.state is not State.FAILED or failed.name is None:
        return None
    return functools.partial(control.discard, rooms.layout, failed.name, failed.id)

"""What a job needs of the other rooms, in one hand."""

import msgspec

from arwd.bus.local import LocalBus
from arwd.store.layout import Layout
from arwd.store.library import Library
from arwd.store.names import Names
from arwd.store.space import Space
from arwd.transfer.engine import Engine


class Rooms(msgspec.Struct, frozen=True, kw_only=True):
    """The open rooms; the composition root makes them, jobs use them."""

    bus: LocalBus
    engine: Engine
    layout: Layout
    library: Library
    names: Names
    space: Space

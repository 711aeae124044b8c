"""How a stream is told that something may be missing, without an id that comes twice or goes backwards."""

from msgspec.structs import replace

from arwd.events import GAP, Event, Gap, control


def with_gap(latest: list[Event], start: int, gap: Gap) -> list[Event]:
    """These events and the notice of the gap around them, with ids that only grow.

    The notice's id is the end of the gap. Where events stand at that very end, it moves down to below them.
    """
    taken = {event.id for event in latest}
    end = gap.to
    while end in taken:
        end -= 1
    # No room for the notice: everything between the start and the gap's end is here.
    notices = [] if end <= start else [control(end, GAP, replace(gap, to=end))]
    return sorted([*latest, *notices], key=lambda event: event.id)

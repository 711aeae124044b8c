"""PURE: which origins want to be left alone, and until when. What one job was told holds for every job."""

import msgspec

from arwd import errors, net

STATUSES = frozenset({429, 503})
"""Those by which a server says that it is asked too much."""


class Cool(msgspec.Struct, frozen=True, kw_only=True):
    """One origin's wish."""

    until: float
    """When it may be asked again, by the clock of whoever asks."""
    error: errors.TransferError
    """What it said."""


class Cooldown:
    """Mutable state: one entry for each origin that is left alone."""

    def __init__(self) -> None:
        self._cool: dict[net.Origin, Cool] = {}

    def begin(self, url: str, error: errors.TransferError, *, until: float, now: float) -> None:
        """Ask nothing of this URL's origin until then, or until later if that was said already."""
        self._cool = {origin: cool for origin, cool in self._cool.items() if cool.until > now}
        before = self._cool.get(net.origin_of(url))
        if before is None or before.until < until:
            self._cool[net.origin_of(url)] = Cool(until=until, error=error)

    def of(self, url: str, *, after: float) -> Cool | None:
        """What still holds for this URL's origin later than `after`."""
        cool = self._cool.get(net.origin_of(url))
        return None if cool is None or cool.until <= after else cool

"""PURE, given a clock: is a server so slow that another connection is worth a try?

Rule: only time spent waiting for the network counts. Bytes that arrive while the disk is behind are nobody's fault.
"""

from collections.abc import Callable


class Pace:
    """Bytes of one body, and the seconds that were spent waiting for them. Judged once a window."""

    def __init__(self, *, least: float, window: float, clock: Callable[[], float]) -> None:
        """`least`: bytes a second over `window` seconds; 0 asks for nothing."""
        self._least = least
        self._window = window
        self._clock = clock
        self._since: float | None = None
        self._waited = 0.0
        self._received = 0

    def wait(self) -> None:
        """From now on it is the network that is waited for."""
        self._since = self._clock()

    @property
    def waiting(self) -> float:
        """The seconds of the present wait."""
        return 0.0 if self._since is None else self._clock() - self._since

    def arrived(self, count: int) -> bool:
        """So many bytes came, and the wait is over. False: too few in the window that ends with them."""
        if self._since is not None:
            self._waited += self._clock() - self._since
            self._since = None
        self._received += count
        if self._waited < self._window:
            return True
        is_enough = self._received >= self._least * self._waited
        self._waited, self._received = 0.0, 0
        return is_enough

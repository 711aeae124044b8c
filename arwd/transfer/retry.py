"""PURE: an error, how often in a row, how long without a new byte -> seconds to wait, or None to give up."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from arwd.errors import ArwdError, HttpStatus, NoRoute

LONGEST_PAUSE: Final = 60.0
"""Seconds. A server that comes back is noticed within a minute."""
LONGEST_WISH: Final = 300.0
"""Seconds that a server may ask for in Retry-After; whoever asks for more is not waited for."""
ROUTE_PAUSE: Final = 5.0
"""Seconds. A network that comes back is noticed at once: asking costs nobody anything."""


def delay(
    error: ArwdError, attempt: int, *, repeated: int, idle: float, retry_for: float, first: float, jitter: float
) -> float | None:
    """Seconds until the next attempt, or None to give up.

    `attempt` counts faults since the last new byte, from 1, and `repeated` those of this kind; `idle` is the seconds
    since that byte; `first` the pause after the first fault, doubled with each further one; `jitter` is uniform in
    [0, 1): it spreads clients that failed together. What the server asks for in Retry-After is the least.
    """
    if not error.retryable or idle >= retry_for:
        return None
    if error.most_attempts is not None and repeated > error.most_attempts:
        return None
    wish = error.retry_after if isinstance(error, HttpStatus) else None
    if wish is not None and wish > LONGEST_WISH:
        return None
    longest = ROUTE_PAUSE if isinstance(error, NoRoute) else LONGEST_PAUSE
    ceiling = min(longest, first * 2.0 ** min(attempt - 1, 16))
    return max(min(ceiling * (0.5 + jitter / 2), max(retry_for - idle, 0.0)), wish or 0.0)


class Patience:
    """How long one transfer is tried without a new byte. Mutable state: the faults since that byte, and its time.

    A byte is new only once: a server that always breaks at the same place is not making progress.
    """

    def __init__(self, held: int, *, retry_for: float, first: float, clock: Callable[[], float]) -> None:
        """`held` bytes are there already. The rest as for `delay`."""
        self._retry_for = retry_for
        self._first = first
        self._clock = clock
        self._furthest = held
        self._since = self._asked = clock()
        self._faults: Counter[type[ArwdError]] = Counter()
        self._is_anew = False
        self.attempt = 0
        """Faults since the last new byte; time without a network is not a fault of anybody's."""

    def after(self, error: ArwdError, held: int, *, jitter: float) -> float | None:
        """Seconds until the next attempt, or None to give up. `held` bytes are there now."""
        now = self._clock()
        if held < self._furthest and not self._is_anew:
            # Bytes were given up: once, what comes in their place is new.
            self._is_anew, self._furthest = True, 0
        if held > self._furthest:
            self._furthest, self._since, self.attempt = held, now, 0
            self._faults.clear()
        self._faults[type(error)] += 1
        repeated = self._faults[type(error)]
        if isinstance(error, NoRoute):
            self._since += now - max(self._asked, self._since)
        else:
            self.attempt += 1
        pause = delay(
            error,
            repeated if isinstance(error, NoRoute) else self.attempt,
            repeated=repeated,
            idle=now - self._since,
            retry_for=self._retry_for,
            first=self._first,
            jitter=jitter,
        )
        if pause is not None:
            self._asked = now + pause
            if isinstance(error, NoRoute):
                self._since += pause
        return pause

"""PURE: an error, how often in a row, how long without a new byte -> seconds to wait, or None to give up."""

from arwd.errors import ArwdError

LONGEST_PAUSE = 60.0
"""Seconds. A server that comes back is noticed within a minute."""


def delay(
    error: ArwdError, attempt: int, *, idle: float, retry_for: float, first: float, jitter: float
) -> float | None:
    """Seconds until the next attempt, or None to give up.

    `attempt` counts faults since the last new byte, from 1; `idle` is the seconds since that byte; `first` the pause
    after the first fault, doubled with each further one; `jitter` is uniform in [0, 1): it spreads clients that
    failed together.
    """
    if not error.retryable or idle >= retry_for:
        return None
    ceiling = min(LONGEST_PAUSE, first * 2.0 ** min(attempt - 1, 16))
    return min(ceiling * (0.5 + jitter / 2), max(retry_for - idle, 0.0))

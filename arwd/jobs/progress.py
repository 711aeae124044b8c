"""How often a transfer is worth an event. Rule: at most four ticks a second a job; a state change never waits."""

import collections
import math
from collections.abc import Callable
from typing import Final, Protocol

TICK: Final = 0.25
"""Seconds between two ticks of one job."""
_WINDOW: Final = 5.0
"""Seconds over which the rate is measured: long enough to be calm, short enough to show a stall."""


class Timer(Protocol):
    """A call that can be called off."""

    def cancel(self) -> None:
        """Call it off."""


Later = Callable[[float, Callable[[], None]], Timer]


class Progress:
    """Bytes held, rate and time left of one job. `add` is called for every chunk and does next to nothing."""

    def __init__(self, tick: Callable[[], None], clock: Callable[[], float], later: Later) -> None:
        self._tick = tick
        self._clock = clock
        self._later = later
        self._due: Timer | None = None
        self._last_tick = -math.inf
        self._is_running = False
        self._told = -1
        self._samples: collections.deque[tuple[float, int]] = collections.deque()
        self.downloaded = 0
        self.total: int | None = None

    def begin(self, downloaded: int, total: int | None) -> None:
        """Bytes will arrive from here on."""
        self.downloaded, self.total = downloaded, total
        self._samples.clear()
        self._samples.append((self._clock(), downloaded))
        self._is_running = True

    def add(self, count: int) -> None:
        """So many more bytes have arrived."""
        self.downloaded += count
        if self._due is None:
            self.ask()

    def ask(self) -> None:
        """Tick as soon as the rhythm allows."""
        if not self._is_running or self._due is not None:
            return
        wait = self._last_tick + TICK - self._clock()
        if wait <= 0:
            self._fire_below()
        else:
            self._due = self._later(wait, self._fire_below)

    def end(self) -> None:
        """No more bytes come. The last tick, if one is due, is not sent: a state change follows."""
        self._is_running = False
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def finish(self) -> None:
        """Every byte is here: one last tick, at 100 %, unless the last one said so already."""
        if self._due is not None:
            self._due.cancel()
        if self._told != self.downloaded:
            self._fire()
        self.end()

    @property
    def percent(self) -> int | None:
        """Whole per cent, rounded down: 100 only when all are there."""
        if self.total is None:
            return None
        return 100 if self.downloaded >= self.total else self.downloaded * 100 // self.total

    @property
    def bytes_per_second(self) -> int:
        """The rate over the last seconds."""
        if not self._is_running or not self._samples:
            return 0
        then, before = self._samples[0]
        elapsed = self._clock() - then
        return int((self.downloaded - before) / elapsed) if elapsed > 0 else 0

    @property
    def eta_seconds(self) -> int | None:
        """Seconds left at this rate; None while that cannot be said."""
        rate = self.bytes_per_second
        if self.total is None or not rate:
            return None
        return math.ceil(max(self.total - self.downloaded, 0) / rate)

    def _fire_below(self) -> None:
        """Below 100 % only: that is said once, by `finish`, when what has come was found to be all."""
        self._due = None
        if self.total is None or self.downloaded < self.total:
            self._fire()

    def _fire(self) -> None:
        now = self._clock()
        self._due = None
        self._last_tick, self._told = now, self.downloaded
        self._samples.append((now, self.downloaded))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _WINDOW:
            self._samples.popleft()
        self._tick()

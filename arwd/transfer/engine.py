"""One file, from whatever is held to whole: ranged GETs until nothing is missing, retried while there is hope."""

import asyncio
import random
import time
from typing import Protocol

import aiohttp
import msgspec

from arwd import errors, net
from arwd.transfer import ranged, retry
from arwd.transfer.response import Asked, Refuse, Restart


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hard a transfer tries."""

    retry_for: float = 900.0
    """Seconds without a new byte until a transient fault ends the job."""
    retry_pause: float = 1.0
    """Seconds before the first retry; each further one waits twice as long, up to a minute."""


class Holding(ranged.Sink, Protocol):
    """A sink that knows which version its bytes are of."""

    @property
    def validator(self) -> str | None:
        """The strong validator of the bytes held."""

    @property
    def size(self) -> int | None:
        """The size of the whole file, if a server said it."""

    async def clear(self) -> None:
        """Drop every byte held."""


class Engine:
    """Fetches files through one session."""

    def __init__(self, session: aiohttp.ClientSession, options: Options) -> None:
        self._session = session
        self._options = options

    async def fetch(self, url: str, sink: Holding, report: ranged.Report, *, has_digest: bool) -> None:
        """Return when the sink holds the whole file; TransferError when that cannot be, the bytes so far kept.

        `has_digest`: a digest will decide in the end, so bytes without a validator may be continued.
        """
        attempt, since, furthest, has_restarted = 0, time.monotonic(), sink.held, False
        while True:
            if sink.held and sink.validator is None and not has_digest:
                await self._begin_anew("no_validator", sink, report)
            try:
                code = await self._once(url, sink, report)
                if code is None:
                    return
                if has_restarted:
                    raise errors.BadRange(f"{net.shown(url)} twice answered a range with something else")
                has_restarted = True
                await self._begin_anew(code, sink, report)
            except errors.TransferError as error:
                await sink.settle()
                # A byte is new only once: a server that always breaks at the same place is not making progress.
                if sink.held > furthest:
                    attempt, since, furthest = 0, time.monotonic(), sink.held
                attempt += 1
                pause = retry.delay(
                    error,
                    attempt,
                    idle=time.monotonic() - since,
                    retry_for=self._options.retry_for,
                    first=self._options.retry_pause,
                    jitter=random.random(),  # noqa: S311 (spreads clients; nothing to guess)
                )
                if pause is None:
                    raise
                await report.retrying(error, attempt, pause)
                await asyncio.sleep(pause)

    async def _begin_anew(self, code: str, sink: Holding, report: ranged.Report) -> None:
        await report.restarted(code, sink.held)
        await sink.clear()

    async def _once(self, url: str, sink: Holding, report: ranged.Report) -> str | None:
        """One request. None when the file is whole, else why the bytes held must be given up."""
        asked = Asked(offset=sink.held, validator=sink.validator, size=sink.size)
        try:
            verdict = await ranged.fetch(self._session, url, asked, sink, report)
        except errors.PartChanged:
            return "part_invalid"
        match verdict:
            case Restart(code=code):
                return code
            case Refuse(error=error):
                raise error
            case _:
                await sink.settle()
                return None

"""One file, from whatever is held to whole: ranged GETs until nothing is missing, retried while there is hope."""

import asyncio
import random
import time
from typing import Protocol

import msgspec

from arwd import errors, net
from arwd.transfer import proof, ranged, retry
from arwd.transfer.response import Asked, Refuse, Restart, RestartCode, Unchanged


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hard a transfer tries."""

    retry_for: float = 900.0
    """Seconds without a new byte until a transient fault ends the job."""
    retry_pause: float = 1.0
    """Seconds before the first retry; each further one waits twice as long, up to a minute."""


class Holding(ranged.Sink, proof.Unproven, Protocol):
    """A sink that knows which version its bytes are of."""

    @property
    def validator(self) -> str | None:
        """The strong validator of the bytes held."""

    @property
    def size(self) -> int | None:
        """The size of the whole file, if a server said it."""

    async def clear(self) -> int:
        """Drop every byte held, and say how many they were."""

    async def fall_back(self) -> int:
        """Drop what may never have reached the disk, and say how much that was."""


class Engine:
    """Fetches files through one session."""

    def __init__(self, session: net.Session, options: Options) -> None:
        self._session = session
        self._options = options

    async def fetch(
        self, url: str, sink: Holding, report: ranged.Report, *, has_digest: bool, unless: str | None = None
    ) -> bool:
        """True when the sink holds the whole file, False when the server still has the version `unless`.

        TransferError when neither can be had, the bytes so far kept.

        `has_digest`: a digest will decide in the end, so bytes without a validator may be continued.
        """
        attempt, since, furthest = 0, time.monotonic(), sink.held
        given_up: set[type[Exception]] = set()
        while True:
            if sink.held and sink.validator is None and not has_digest:
                await report.restarted("no_validator", await sink.clear(), 0)
            try:
                return await self._once(url, sink, report, unless)
            except (_Unusable, errors.PartChanged, errors.NotSynced) as error:
                # Once each: a server, or a disk, that does it again will not do better the third time.
                if type(error) in given_up:
                    raise error.final(url) if isinstance(error, _Unusable) else error from None
                given_up.add(type(error))
                await _give_up(error, sink, report)
            except errors.TransferError as error:
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

    async def _once(self, url: str, sink: Holding, report: ranged.Report, unless: str | None) -> bool:
        """One request. Returns as `fetch` does; whatever it raises, what came before is written."""
        try:
            if sink.unproven:
                await proof.prove(self._session, url, sink)
            if sink.held:
                unless = None  # a newer version is on its way already
            asked = Asked(offset=sink.held, validator=sink.validator, size=sink.size, unless=unless)
            verdict = await ranged.fetch(self._session, url, asked, sink, report)
        except errors.TransferError:
            await sink.settle()
            raise
        match verdict:
            case Restart(code=code):
                raise _Unusable(code)
            case Refuse(error=error):
                raise error
            case Unchanged():
                return False
            case _:
                await sink.settle()
                return True


class _Unusable(Exception):
    """The bytes held cannot be continued from what this server answers."""

    def __init__(self, code: RestartCode) -> None:
        super().__init__(code)
        self.code = code

    def final(self, url: str) -> errors.TransferError:
        """What it comes to when it happens again."""
        return errors.BadRange(f"{net.shown(url)} twice answered a range with something else")


async def _give_up(error: Exception, sink: Holding, report: ranged.Report) -> None:
    code = error.code if isinstance(error, _Unusable) else "part_invalid"
    dropped = await (sink.fall_back() if isinstance(error, errors.NotSynced) else sink.clear())
    await report.restarted(code, dropped, sink.held)

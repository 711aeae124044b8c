"""One file, from whatever is held to whole: ranged GETs until nothing is missing, retried while there is hope."""

import asyncio
import random
import time
from typing import Protocol
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec.structs import replace

from arwd import errors, net
from arwd.transfer import cooldown, first_bytes, proof, ranged
from arwd.transfer.response import Asked, Doubt, Refuse, Restart, RestartCode, Unchanged
from arwd.transfer.retry import Patience
from arwd.transfer.upstream import Upstream


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How hard a transfer tries, and what it takes."""

    retry_for: float = 900.0
    """Seconds without a new byte until a transient fault ends the job."""
    retry_pause: float = 1.0
    """Seconds before the first retry; each further one waits twice as long, up to a minute."""
    min_speed: float = 1024.0
    """Bytes a second that a server must send, over a window of `stall_timeout`; a slower one is asked anew. 0: any."""
    allow_unsafe_formats: bool = False
    """Take pickles too. They can run code when they are loaded."""


class Holding(ranged.Sink, proof.Unproven, Protocol):
    """A sink that knows which version its bytes are of."""

    @property
    def validator(self) -> str | None:
        """The strong validator of the bytes held."""

    @property
    def size(self) -> int | None:
        """The size of the whole file, if a server said it."""

    @property
    def begun(self) -> int:
        """How many answers it has made ready for."""

    async def clear(self) -> int:
        """Drop every byte held, and say how many they were."""

    async def fall_back(self) -> int:
        """Drop what may never have reached the disk, and say how much that was."""


class Engine:
    """Fetches files through one session."""

    def __init__(self, session: net.Session, options: Options, *, stall_timeout: float) -> None:
        self._session = session
        self._options = options
        self._stall_timeout = stall_timeout
        self._cooldown = cooldown.Cooldown()

    async def fetch(
        self,
        url: str,
        sink: Holding,
        report: ranged.Report,
        *,
        has_digest: bool,
        filename: str | None = None,
        unless: str | None = None,
        expected: int | None = None,
    ) -> bool:
        """True when the sink holds the whole file, False when the server still has the version `unless`.

        TransferError when neither can be had, the bytes so far kept.

        `has_digest`: a digest will decide in the end, so bytes without a validator may be continued. `filename`: what
        the caller calls the file; it must look like one of that name. `expected`: the size that somebody promised; a
        file of another size is refused before its first byte.
        """
        upstream = self._upstream(url, filename, has_digest=has_digest)
        patience = Patience(
            sink.held, retry_for=self._options.retry_for, first=self._options.retry_pause, clock=time.monotonic
        )
        given_up: set[str] = set()
        anew: RestartCode | None = None
        last: errors.TransferError | None = None
        rested = time.monotonic()
        while True:
            if sink.held and sink.validator is None and not has_digest:
                anew = "no_validator"
            begun = sink.begun
            await self._cool_down(url, rested, patience.attempt, report)
            try:
                return await self._once(upstream, Asked(unless=unless, expected=expected, anew=anew), sink, report)
            except _Unusable as error:
                # Once each: a server that does it again will not do better the third time.
                if error.code in given_up:
                    raise error.final(url) from None
                given_up.add(error.code)
                # What is held gives way to the next answer only when that has proved to be the file.
                anew = error.code
                continue
            except errors.PartChanged as error:
                if type(error).__name__ in given_up:
                    raise
                given_up.add(type(error).__name__)
                await _give_up(error, sink, report)
            except errors.TransferError as error:
                pause = patience.after(error, sink.held, jitter=random.random())  # noqa: S311 (nothing to guess)
                if pause is None:
                    raise
                now = time.monotonic()
                rested = now + pause
                if isinstance(error, errors.HttpStatus) and error.http_status in cooldown.STATUSES:
                    self._cooldown.begin(url, error, until=rested, now=now)
                if isinstance(error, errors.InvalidResponse):
                    upstream = replace(upstream, in_pieces=True)
                # No network is said once, however often it is looked for.
                if not (isinstance(error, errors.NoRoute) and isinstance(last, errors.NoRoute)):
                    await report.retrying(error, max(patience.attempt, 1), pause)
                last = error
                await asyncio.sleep(pause)
            if sink.begun != begun:
                anew = None

    def _upstream(self, url: str, filename: str | None, *, has_digest: bool) -> Upstream:
        return Upstream(
            session=self._session,
            url=url,
            rule=first_bytes.Rule(
                names=(unquote(urlsplit(url).path).rpartition("/")[2], *([filename] if filename else [])),
                has_digest=has_digest,
                allow_unsafe=self._options.allow_unsafe_formats,
            ),
            min_speed=self._options.min_speed,
            window=self._stall_timeout,
        )

    async def _cool_down(self, url: str, rested: float, attempt: int, report: ranged.Report) -> None:
        """Return when this origin may be asked; until the time `rested`, it was left alone already."""
        while (cool := self._cooldown.of(url, after=rested)) is not None:
            pause = max(cool.until - time.monotonic(), 0.0)
            await report.retrying(cool.error, max(attempt, 1), pause)
            await asyncio.sleep(pause)
            rested = cool.until

    async def _once(self, upstream: Upstream, asked: Asked, sink: Holding, report: ranged.Report) -> bool:
        """One request. Returns as `fetch` does; whatever it raises, what came before is written."""
        try:
            if sink.unproven:
                await proof.prove(upstream, sink)
            if sink.held and asked.anew is None:
                # With bytes at hand, a newer version is on its way already.
                asked = replace(asked, offset=sink.held, validator=sink.validator, size=sink.size, unless=None)
            verdict = await ranged.fetch(upstream, asked, sink, report)
            if isinstance(verdict, Doubt):
                verdict = await ranged.fetch(upstream, replace(asked, is_second_time=True, unless=None), sink, report)
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


async def _give_up(error: errors.PartChanged, sink: Holding, report: ranged.Report) -> None:
    dropped = await (sink.fall_back() if isinstance(error, errors.NotSynced) else sink.clear())
    await report.restarted("part_invalid", dropped, sink.held)

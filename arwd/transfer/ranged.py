"""One ranged GET: the head is judged, then its body goes to the sink. Knows nothing of retries."""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

import aiohttp

from arwd import errors, net
from arwd.transfer import first_bytes
from arwd.transfer.digests import declared_sha256
from arwd.transfer.head import Head, suggested_name
from arwd.transfer.pace import Pace
from arwd.transfer.response import Asked, Verdict, Write, judge
from arwd.transfer.upstream import Upstream
from arwd.transfer.watch import watched


class Sink(Protocol):
    """Where the bytes of one file go. It may block nobody: `full` asks the transfer to wait for `room`."""

    @property
    def held(self) -> int:
        """Bytes from the start of the file that are kept already."""

    @property
    def full(self) -> bool:
        """Is the disk behind by as much as may be held in memory?"""

    async def begin(
        self,
        *,
        start: int,
        size: int | None,
        validator: str | None,
        declared: str | None,
        length_known: bool,
        suggested: str | None,
    ) -> None:
        """Make ready to take bytes from `start` on; what is held beyond is dropped.

        `declared`: the SHA-256 of the whole file that this answer declares.
        """

    def put(self, chunk: bytes) -> None:
        """Take the next bytes."""

    async def room(self) -> None:
        """Return when `full` is no longer so."""

    async def settle(self) -> None:
        """Return when every byte taken has been written."""


class Report(Protocol):
    """Who is told how a transfer goes."""

    def received(self, count: int) -> None:
        """So many more bytes have arrived."""

    async def resumed(self, offset: int, size: int | None) -> None:
        """The transfer goes on behind the bytes held."""

    async def began(self, size: int | None) -> None:
        """The transfer begins at the first byte."""

    async def restarted(self, code: str, discarded: int, kept: int) -> None:
        """Bytes held had to be given up; so many are kept."""

    async def retrying(self, error: errors.TransferError, attempt: int, delay: float) -> None:
        """A transient fault: the next attempt follows after `delay` seconds."""


async def fetch(upstream: Upstream, asked: Asked, sink: Sink, report: Report) -> Verdict:
    """Ask for everything from `asked.offset` on. Returns the verdict once its body is in the sink.

    Raises TransferError; then the sink holds what came before the fault, or all that it held if this is not the file.
    """
    async with upstream.get(_headers(asked)) as response:
        head = upstream.head(response)
        verdict = judge(asked, head)
        if isinstance(verdict, Write):
            async with contextlib.aclosing(_body(response, upstream, verdict, head.url)) as body:
                if verdict.start and (fault := upstream.page(head)) is not None:
                    raise fault
                opening = [] if verdict.start else await _opening(body, upstream, verdict, head, held=sink.held)
                with net.paused(response):
                    await _prepare(verdict, head, sink, report)
                for chunk in opening:
                    await _take(chunk, response, sink, report)
                async for chunk in body:
                    await _take(chunk, response, sink, report)
    return verdict


async def _body(
    response: aiohttp.ClientResponse, upstream: Upstream, verdict: Write, url: str
) -> AsyncGenerator[bytes, None]:
    """The chunks of the body: no more than were declared, no fewer, and not too slowly."""
    missing = verdict.length
    pace = Pace(least=upstream.min_speed, window=upstream.window, clock=time.monotonic)
    pace.wait()
    watching = watched(response, lambda: pace.waiting, window=upstream.window, url=url)
    with net.translate_errors(url), watching:
        async for chunk, _ in response.content.iter_chunks():
            is_fast_enough = pace.arrived(len(chunk))
            if missing is not None:
                if len(chunk) > missing:
                    raise errors.SizeMismatch(f"{url} sent more than the {verdict.length} bytes of the file")
                missing -= len(chunk)
            yield chunk
            if not is_fast_enough and missing != 0:
                raise errors.Stalled(
                    f"{url}: fewer than {upstream.min_speed:g} bytes a second for {upstream.window:g} s"
                )
            pace.wait()
    if missing:
        raise errors.Truncated(f"{url}: the body ended {missing} bytes early")


async def _opening(
    body: AsyncIterator[bytes], upstream: Upstream, verdict: Write, head: Head, *, held: int
) -> list[bytes]:
    """As many chunks as have to be seen before `held` bytes give way to them; NotAModel, UnsafeFormat."""
    chunks: list[bytes] = []
    seen = 0
    while seen < first_bytes.ENOUGH and (chunk := await anext(body, None)) is not None:
        chunks.append(chunk)
        seen += len(chunk)
    fault = upstream.fault(b"".join(chunks), head, verdict.size if chunk is not None else seen, is_replacing=held > 0)
    if fault is not None:
        raise fault
    return chunks


async def _prepare(verdict: Write, head: Head, sink: Sink, report: Report) -> None:
    if verdict.restarted is not None:
        await report.restarted(verdict.restarted, sink.held, 0)
    await sink.begin(
        start=verdict.start,
        size=verdict.size,
        validator=verdict.validator,
        declared=declared_sha256(head),
        length_known=verdict.length_known,
        suggested=suggested_name(head),
    )
    if verdict.start:
        await report.resumed(verdict.start, verdict.size)
    else:
        await report.began(verdict.size)


async def _take(chunk: bytes, response: aiohttp.ClientResponse, sink: Sink, report: Report) -> None:
    sink.put(chunk)
    report.received(len(chunk))
    if sink.full:
        with net.paused(response):
            await sink.room()


def _headers(asked: Asked) -> dict[str, str]:
    if asked.unless is not None:
        # RFC 9110 §13.1: an entity tag is compared, a date is a limit.
        return {"If-None-Match" if asked.unless.startswith('"') else "If-Modified-Since": asked.unless}
    if not asked.offset:
        return {}
    headers = {"Range": f"bytes={asked.offset}-"}
    if asked.validator is not None:
        headers["If-Range"] = asked.validator
    return headers

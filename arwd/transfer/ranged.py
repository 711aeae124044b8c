"""One ranged GET: the head is judged, then its body goes to the sink. Knows nothing of retries."""

from typing import Protocol

import aiohttp

from arwd import errors, net
from arwd.transfer.response import Asked, Head, Verdict, Write, judge, suggested_name


class Sink(Protocol):
    """Where the bytes of one file go. It may block nobody: `full` asks the transfer to wait for `room`."""

    @property
    def held(self) -> int:
        """Bytes from the start of the file that are kept already."""

    @property
    def full(self) -> bool:
        """Is the disk behind by as much as may be held in memory?"""

    async def begin(
        self, *, start: int, size: int | None, validator: str | None, length_known: bool, suggested: str | None
    ) -> None:
        """Make ready to take bytes from `start` on; what is held beyond is dropped."""

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


async def fetch(session: net.Session, url: str, asked: Asked, sink: Sink, report: Report) -> Verdict:
    """Ask for everything from `asked.offset` on. Returns the verdict once its body is in the sink.

    Raises TransferError; then the sink holds what came before the fault.
    """
    async with session.get(url, _headers(asked)) as response:
        head = head_of(response)
        verdict = judge(asked, head)
        if isinstance(verdict, Write):
            with net.paused(response):
                await _prepare(verdict, suggested_name(head), sink, report)
            await _take_body(response, verdict, head.url, sink, report)
    return verdict


async def _prepare(verdict: Write, suggested: str | None, sink: Sink, report: Report) -> None:
    if verdict.restarted is not None:
        await report.restarted(verdict.restarted, sink.held, 0)
    await sink.begin(
        start=verdict.start,
        size=verdict.size,
        validator=verdict.validator,
        length_known=verdict.length_known,
        suggested=suggested,
    )
    if verdict.start:
        await report.resumed(verdict.start, verdict.size)
    else:
        await report.began(verdict.size)


async def _take_body(response: aiohttp.ClientResponse, verdict: Write, url: str, sink: Sink, report: Report) -> None:
    missing = verdict.length
    with net.translate_errors(url):
        async for chunk, _ in response.content.iter_chunks():
            if missing is not None:
                if len(chunk) > missing:
                    raise errors.SizeMismatch(f"{url} sent more bytes than it declared")
                missing -= len(chunk)
            sink.put(chunk)
            report.received(len(chunk))
            if sink.full:
                with net.paused(response):
                    await sink.room()
    if missing:
        raise errors.Truncated(f"{url}: the body ended {missing} bytes early")


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


def head_of(response: aiohttp.ClientResponse) -> Head:
    """The head of a response, for those who judge it."""
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Head(url=net.shown(str(response.url)), status=response.status, headers=headers)

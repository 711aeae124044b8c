"""One file through many attempts: what is told, what is asked, and what is never begun. No socket, no waiting."""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from arwd import errors
from arwd.transfer.cooldown import Cooldown
from arwd.transfer.engine import Engine, Options
from tests.models import gguf

ADDRESS = "https://h.example/m.gguf"
BODY = gguf(bytes(2_000))
ETAG = {"ETag": '"v1"'}


class Content:
    """A body that arrives in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        for piece in self.pieces:
            yield piece, True


class Response:
    """An answer without a connection."""

    connection = None

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"", url: str = ADDRESS) -> None:
        self.status = status
        self.headers = CIMultiDict(headers)
        self.url = self.real_url = URL(url, encoded=True)
        self.content = Content([body[offset : offset + 100] for offset in range(0, len(body), 100)])


def whole(body: bytes = BODY) -> Response:
    return Response(200, {"Content-Length": str(len(body)), **ETAG}, body)


class Session:
    """Answers each request by the next of its answers."""

    def __init__(self, *answers: Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.in_pieces: list[bool] = []

    @contextlib.asynccontextmanager
    async def get(self, url: str, headers: dict[str, str], *, in_pieces: bool) -> AsyncIterator[Response]:
        assert url == ADDRESS
        self.asked.append(headers)
        self.in_pieces.append(in_pieces)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield answer


class Sink:
    """Bytes in memory."""

    full = False
    unproven = 0

    def __init__(self, held: bytes = b"", validator: str | None = None, size: int | None = None) -> None:
        self.bytes, self.validator, self.size = held, validator, size
        self.begun = 0
        self.declared: list[str | None] = []

    @property
    def held(self) -> int:
        return len(self.bytes)

    async def begin(
        self, *, start: int, size: int | None, validator: str | None, declared: str | None, **_: object
    ) -> None:
        self.bytes, self.size, self.validator = self.bytes[:start], size, validator
        self.declared.append(declared)
        self.begun += 1

    def put(self, chunk: bytes) -> None:
        self.bytes += chunk

    async def settle(self) -> None:
        pass

    async def clear(self) -> int:
        dropped, self.bytes = self.held, b""
        return dropped


class Report:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def received(self, count: int) -> None:
        pass

    async def resumed(self, offset: int, size: int | None) -> None:
        self.told.append(("resumed", offset))

    async def began(self, size: int | None) -> None:
        self.told.append(("began", size))

    async def restarted(self, code: str, discarded: int, kept: int) -> None:
        self.told.append((code, discarded))

    async def retrying(self, error: errors.TransferError, attempt: int, delay: float) -> None:
        self.told.append((type(error).__name__, attempt))


async def fetch(session: Session, sink: Sink, report: Report, **more: Any) -> bool:
    engine = Engine(session, Options(retry_pause=0.0), stall_timeout=60.0)  # type: ignore[arg-type]
    return await engine.fetch(ADDRESS, sink, report, **({"has_digest": False} | more))  # type: ignore[arg-type]


async def test_no_network_is_said_once_however_often_it_is_looked_for() -> None:
    away = [errors.NoRoute("no network") for _ in range(50)]
    session, sink, report = Session(*away, errors.Reset("lost"), *away, whole()), Sink(), Report()
    assert await fetch(session, sink, report)
    assert report.told == [("NoRoute", 1), ("Reset", 1), ("NoRoute", 1), ("began", len(BODY))]
    assert sink.bytes == BODY


@pytest.mark.parametrize("size", [len(BODY) - 1, len(BODY) + 1, 0])
async def test_a_file_of_another_size_than_promised_is_refused_before_its_first_byte(size: int) -> None:
    session, sink = Session(whole()), Sink()
    with pytest.raises(errors.SizeMismatch, match=f"{size} were promised"):
        await fetch(session, sink, Report(), expected=size)
    assert (sink.begun, sink.bytes, len(session.asked)) == (0, b"", 1)


async def test_a_promised_size_lets_the_end_of_a_body_be_told_from_its_loss() -> None:
    sink = Sink()
    cut, rest = Response(200, ETAG, BODY[:1_000]), {"Content-Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"}
    session = Session(cut, Response(206, ETAG | rest, BODY[1_000:]))
    assert await fetch(session, sink, Report(), expected=len(BODY))
    assert (sink.bytes, session.asked[1]["Range"]) == (BODY, "bytes=1000-")


async def test_each_answer_tells_the_sink_which_digest_it_declares() -> None:
    digest = hashlib.sha256(BODY).digest()
    declared = {"Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"}
    cut = Response(200, {"Content-Length": str(len(BODY)), **ETAG, **declared}, BODY[:1_000])
    rest = {"Content-Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"}
    sink = Sink()
    assert await fetch(Session(cut, Response(206, ETAG | rest, BODY[1_000:])), sink, Report())
    assert (sink.bytes, sink.declared) == (BODY, [digest.hex(), None])


async def test_the_version_held_is_asked_about_only_while_nothing_newer_is_on_its_way() -> None:
    cut = Response(200, {"Content-Length": str(len(BODY)), "ETag": '"v2"'}, BODY[:1_000])
    rest = {"Content-Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}", "ETag": '"v2"'}
    session = Session(cut, Response(206, rest, BODY[1_000:]))
    assert await fetch(session, Sink(), Report(), unless='"v1"')
    assert [asked.get("If-None-Match") for asked in session.asked] == ['"v1"', None]
    assert not await fetch(Session(Response(304, {})), Sink(), Report(), unless='"v1"')


async def test_a_not_modified_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(errors.HttpStatus):
        await fetch(Session(Response(304, {})), Sink(), Report())


async def test_after_an_answer_that_is_no_http_the_next_is_taken_apart_with_care() -> None:
    session = Session(errors.InvalidResponse("what is this?"), errors.Reset("lost"), whole())
    assert await fetch(session, Sink(), Report())
    assert session.in_pieces == [False, True, True]
    with pytest.raises(errors.InvalidResponse):
        await fetch(Session(*[errors.InvalidResponse("what is this?")] * 2), Sink(), Report())


async def test_a_wish_that_is_made_longer_meanwhile_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    cooldown, waited = Cooldown(), []
    engine = Engine(Session(whole()), Options(), stall_timeout=60.0)  # type: ignore[arg-type]
    monkeypatch.setattr(engine, "_cooldown", cooldown)
    now = asyncio.get_running_loop().time()
    cooldown.begin(ADDRESS, errors.ServerBusy("busy", 503), until=now + 100.0, now=now)

    async def sleep(seconds: float) -> None:
        waited.append(round(seconds))
        if len(waited) == 1:
            cooldown.begin(ADDRESS, errors.TooManyRequests("too many", 429), until=now + 200.0, now=now)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    report = Report()
    assert await engine.fetch(ADDRESS, Sink(), report, has_digest=False)  # type: ignore[arg-type]
    assert report.told == [("ServerBusy", 1), ("TooManyRequests", 1), ("began", len(BODY))]
    assert waited == [100, 200]


async def test_what_is_refused_leaves_what_is_held_as_it_is() -> None:
    page = b"<html>" + bytes(2_000)
    sink = Sink(BODY[:1_000], '"v1"', len(BODY))
    with pytest.raises(errors.NotAModel):
        await fetch(Session(Response(200, {"Content-Length": str(len(page))}, page)), sink, Report())
    assert (sink.begun, sink.bytes, sink.validator) == (0, BODY[:1_000], '"v1"')


async def test_a_body_that_ends_in_its_first_bytes_keeps_nothing_of_them() -> None:
    cut = Response(200, {"Content-Length": str(len(BODY)), **ETAG}, BODY[:300])
    session, sink, report = Session(cut, whole()), Sink(), Report()
    assert await fetch(session, sink, report)
    assert report.told == [("Truncated", 1), ("began", len(BODY))]
    assert (sink.begun, sink.bytes) == (1, BODY)


async def test_a_server_that_sends_more_than_it_declared_is_not_believed() -> None:
    long = Response(200, {"Content-Length": "1950", **ETAG}, BODY)
    with pytest.raises(errors.SizeMismatch):
        await fetch(Session(long), Sink(), Report())

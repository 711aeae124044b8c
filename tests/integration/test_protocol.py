"""HTTP/1.1 as a hostile peer speaks it: over-long heads, bodies that never come, smuggling, garbage, idle sockets."""

import asyncio
import contextlib
import json
import time

import pytest

from arwd.api import endpoints, protocol
from tests.origin import Origin
from tests.running import Running
from tests.wire import JSON, PATIENCE, ask, connected, port_of, request


async def is_alive(daemon: Running) -> bool:
    return (await ask(daemon, "GET", "/healthz")).status == 200


def download_of(origin: Origin, model_id: str) -> bytes:
    return json.dumps({"id": model_id, "url": origin.url(model_id)}).encode()


async def job_ids(daemon: Running) -> list[str]:
    _, body = await daemon.call("GET", "/models/jobs")
    return [job["id"] for job in body["jobs"]]


# The head.


async def test_a_head_of_just_under_16_kib_is_taken(daemon: Running) -> None:
    answer = await ask(daemon, "GET", "/healthz", "X-Padding: " + "x" * (protocol.MAX_HEAD - 200))
    assert answer.status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: %b\r\nX-Padding: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: %b\r\n" + b"X-Small: 1\r\n" * 2_000 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: %b\r\n" + b"A:\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: %b\r\n\r\n",
        b"GET /healthz?" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: %b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: %b\r\n" + b"x" * 20_000 + b": 1\r\n\r\n",
    ],
    ids=["one long value", "many headers", "empty headers", "long target", "very long target", "long name"],
)
@pytest.mark.parametrize("pieces", ["one", "dribbles"])
async def test_a_head_above_16_kib_is_refused_with_431(daemon: Running, head: bytes, pieces: str) -> None:
    head = head.replace(b"%b", b"127.0.0.1:%d" % port_of(daemon))
    async with connected(daemon) as wire:
        answer = await wire.poured(head, len(head) if pieces == "one" else 997)
        assert answer.status == 431
        assert answer.headers["connection"] == "close"
        await wire.ended()
    assert await is_alive(daemon)


async def test_a_head_that_never_ends_is_refused_before_it_fills_the_memory(daemon: Running) -> None:
    async with connected(daemon) as wire:
        answer = await wire.poured(b"GET /healthz HTTP/1.1\r\nX-Endless: " + b"x" * 40_000, 1_000)
        assert answer.status == 431
        await wire.ended()


async def test_a_head_of_countless_headers_holds_nobody_up(daemon: Running) -> None:
    head = request(daemon, "GET", "/healthz").removesuffix(b"\r\n") + b"A:\r\n" * 4_000
    async with connected(daemon) as wire:
        begin = time.monotonic()
        wire.send(head)
        assert await is_alive(daemon)
        assert time.monotonic() - begin < 0.25


async def test_a_head_that_dribbles_ends_at_the_deadline_however_busily_it_dribbles(
    daemon: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_DEADLINE", 0.2)
    async with connected(daemon) as wire:
        begin = time.monotonic()
        wire.send(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        waiting = asyncio.create_task(wire.answer())
        while not waiting.done():
            wire.send(b"x")
            await asyncio.sleep(0.02)
        answer = await waiting
        assert answer.status == 408
        assert 0.15 < time.monotonic() - begin < 1.0
        await wire.ended()


async def test_a_connection_that_says_nothing_ends_at_the_deadline(
    daemon: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_DEADLINE", 0.2)
    async with connected(daemon) as wire:
        begin = time.monotonic()
        await wire.ended()
        assert 0.15 < time.monotonic() - begin < 1.0


async def test_the_second_head_of_a_connection_has_a_deadline_too(
    daemon: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_DEADLINE", 0.2)
    async with connected(daemon) as wire:
        wire.send(request(daemon, "GET", "/healthz"))
        assert (await wire.answer()).status == 200
        await asyncio.sleep(0.3)  # idle between two requests is not a slow head
        wire.send(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        assert (await wire.answer()).status == 408


async def test_the_deadline_of_a_head_does_not_end_an_event_stream(
    daemon: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_DEADLINE", 0.1)
    async with daemon.events() as stream:
        await stream.next()
        await asyncio.sleep(0.3)
        await daemon.call("POST", "/models/download/cancel", {"id": "nobody"})
        assert await stream.status("no-active-job")


# The body.


@pytest.mark.parametrize("framing", ["Content-Length: 50", "Transfer-Encoding: chunked"], ids=["declared", "chunked"])
@pytest.mark.parametrize("begun", [False, True], ids=["nothing comes", "it begins"])
async def test_a_body_that_never_comes_is_408(
    daemon: Running, monkeypatch: pytest.MonkeyPatch, framing: str, begun: bool
) -> None:
    monkeypatch.setattr(endpoints, "BODY_DEADLINE", 0.2)
    async with connected(daemon) as wire:
        wire.send(request(daemon, "POST", "/models/download", JSON, framing))
        if begun:
            wire.send(b'{"id' if framing.startswith("Content") else b'4\r\n{"id\r\n')
        answer = await wire.answer()
        assert (answer.status, answer.json()["code"]) == (408, "request_timeout")
        assert answer.headers["connection"] == "close"
        assert await wire.ended() == b""


async def test_a_body_that_dribbles_ends_at_the_deadline(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "BODY_DEADLINE", 0.2)
    async with connected(daemon) as wire:
        wire.send(request(daemon, "POST", "/models/download", JSON, "Content-Length: 100000"))
        waiting = asyncio.create_task(wire.answer())
        begin = time.monotonic()
        while not waiting.done():
            wire.send(b" ")
            await asyncio.sleep(0.02)
        assert (await waiting).status == 408
        assert time.monotonic() - begin < 1.0


async def test_a_client_that_leaves_amid_its_body_starts_nothing(daemon: Running, origin: Origin) -> None:
    body = download_of(origin, "gone")
    for cut in (0, 1, len(body) // 2, len(body) - 1):
        async with connected(daemon) as wire:
            wire.send(request(daemon, "POST", "/models/download", JSON, body=body)[: cut - len(body)])
    assert await is_alive(daemon)
    assert await job_ids(daemon) == []
    assert origin.accepts == 0


async def test_a_body_in_dribbles_is_one_body(daemon: Running, origin: Origin) -> None:
    async with connected(daemon) as wire:
        for byte in request(daemon, "POST", "/models/download", JSON, body=download_of(origin, "slow")):
            wire.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await wire.answer()).status == 200
    assert (await daemon.settled("slow"))["status"] == "complete"


async def test_a_chunked_body_is_as_good_as_a_declared_one(daemon: Running, origin: Origin) -> None:
    body = download_of(origin, "chunked")
    async with connected(daemon) as wire:
        wire.send(request(daemon, "POST", "/models/download", JSON, "Transfer-Encoding: chunked"))
        for offset in range(0, len(body), 7):
            piece = body[offset : offset + 7]
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.send(b"0\r\n\r\n")
        assert (await wire.answer()).status == 200


async def test_expect_100_continue_is_answered(daemon: Running) -> None:
    async with connected(daemon) as wire:
        wire.send(
            request(daemon, "POST", "/models/download/cancel", JSON, "Expect: 100-continue", "Content-Length: 10")
        )
        async with asyncio.timeout(PATIENCE):
            assert await wire._reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b'{"id":"x"}')
        assert (await wire.answer()).status == 200


# Many connections, many requests.


async def test_a_hundred_half_open_sockets_do_not_slow_a_good_request(daemon: Running) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for number in range(100):
            wire = await stack.enter_async_context(connected(daemon))
            wire.send(b"POST /models/download HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y"[: number % 60])
        best = 1.0
        for _ in range(5):
            begin = time.monotonic()
            assert await is_alive(daemon)
            best = min(best, time.monotonic() - begin)
        assert best < 0.1


async def test_a_hundred_half_open_sockets_are_all_closed_at_the_deadline(
    daemon: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_DEADLINE", 0.2)
    async with contextlib.AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(connected(daemon)) for _ in range(100)]
        begin = time.monotonic()
        await asyncio.gather(*(wire.ended() for wire in wires))
        assert time.monotonic() - begin < 1.5


async def test_one_request_after_the_other_does_not_wait_for_delayed_acknowledgements(daemon: Running) -> None:
    """Without TCP_NODELAY the second write of each response waits up to 40 ms for the peer's ACK."""
    async with connected(daemon) as wire:
        begin = time.monotonic()
        for _ in range(20):
            wire.send(request(daemon, "GET", "/healthz"))
            assert (await wire.answer()).status == 200
        assert time.monotonic() - begin < 0.3


async def test_pipelined_requests_are_answered_in_order(daemon: Running) -> None:
    async with connected(daemon) as wire:
        wanted = [
            ("GET", "/healthz", 200),
            ("GET", "/nowhere", 404),
            ("HEAD", "/probe", 200),
            ("DELETE", "/probe", 405),
        ]
        wire.send(
            b"".join(
                request(daemon, method, target, f"X-Request-Id: number-{number}")
                for number, (method, target, _) in enumerate(wanted * 5)
            )
        )
        for number, (method, _, status) in enumerate(wanted * 5):
            answer = await wire.answer(method)
            assert (answer.status, answer.headers["x-request-id"]) == (status, f"number-{number}")


async def test_pipelined_commands_are_each_carried_out_once(daemon: Running, origin: Origin) -> None:
    async with connected(daemon) as wire:
        wire.send(
            b"".join(
                request(daemon, "POST", "/models/download", JSON, body=download_of(origin, f"m{number}"))
                for number in range(5)
            )
        )
        assert [(await wire.answer()).status for _ in range(5)] == [200] * 5
    assert sorted(await job_ids(daemon)) == [f"m{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("method", "target", "fields", "body", "status"),
    [
        ("GET", "/nowhere", (), None, 404),
        ("PUT", "/models", (), None, 405),
        ("POST", "/models/download", (JSON,), b"not JSON", 400),
        ("POST", "/models/download", ("Content-Type: text/plain",), b"GET /healthz HTTP/1.1\r\n\r\n", 415),
        ("POST", "/models/download", (JSON, "Origin: http://evil.example"), b'{"id":"x"}', 403),
        ("GET", "/events?after=x", (), None, 400),
        ("HEAD", "/events", (), None, 200),
    ],
    ids=["404", "405", "400", "415", "403", "bad parameter", "HEAD of the stream"],
)
async def test_a_connection_lives_on_after_an_error(
    daemon: Running, method: str, target: str, fields: tuple[str, ...], body: bytes | None, status: int
) -> None:
    async with connected(daemon) as wire:
        for _ in range(3):
            wire.send(request(daemon, method, target, *fields, body=body))
            assert (await wire.answer(method)).status == status
            wire.send(request(daemon, "GET", "/healthz"))
            assert (await wire.answer()).json() == {"ok": True}


async def test_the_body_of_a_refused_request_is_never_read_as_a_request(daemon: Running, origin: Origin) -> None:
    inner = request(daemon, "POST", "/models/download", JSON, body=download_of(origin, "smuggled"))
    for fields, status in ((("Content-Type: text/plain",), 415), ((JSON, "Origin: null"), 403)):
        async with connected(daemon) as wire:
            wire.send(request(daemon, "POST", "/models/download", *fields, body=inner))
            assert (await wire.answer()).status == status
            wire.send(request(daemon, "GET", "/healthz"))
            with contextlib.suppress(EOFError):  # to hang up after a refusal is as good
                assert (await wire.answer()).json() == {"ok": True}
    async with connected(daemon) as wire:
        wire.send(request(daemon, "GET", "/healthz", body=inner))
        assert (await wire.answer()).json() == {"ok": True}
        wire.send(request(daemon, "GET", "/version"))
        assert "python" in (await wire.answer()).json()
    assert await job_ids(daemon) == []


async def test_connection_close_is_honored(daemon: Running) -> None:
    async with connected(daemon) as wire:
        wire.send(request(daemon, "GET", "/healthz", "Connection: close"))
        assert (await wire.answer()).headers["connection"] == "close"
        assert await wire.ended() == b""


async def test_http_1_0_is_answered_and_hung_up(daemon: Running) -> None:
    async with connected(daemon) as wire:
        wire.send(b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await wire.answer()).json() == {"ok": True}
        assert await wire.ended() == b""


# Garbage and smuggling.


GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    b"\x00" * 64,
    b"hello\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /healthz\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /healthz HTTP/1.1 x\r\nHost: 127.0.0.1\r\n\r\n",
    b"NONSENSE /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"G\x00T /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nno colon\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n: no name\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX\x01: a\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    b"GET healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /heal\x01thz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


async def test_garbage_gets_400_and_the_end(daemon: Running, subtests: pytest.Subtests) -> None:
    for data in GARBAGE:
        with subtests.test(repr(data)):
            async with connected(daemon) as wire:
                wire.send(data)
                answer = await wire.answer()
                assert (answer.status, answer.headers["connection"]) == (400, "close")
                assert await wire.ended() == b""
            assert await is_alive(daemon)


@pytest.mark.parametrize("target", ["*", "http://127.0.0.1", "127.0.0.1:80"])
@pytest.mark.parametrize("method", ["OPTIONS", "CONNECT", "GET"])
async def test_unusual_targets_are_refused_without_a_fault(daemon: Running, method: str, target: str) -> None:
    async with connected(daemon) as wire:
        wire.send(request(daemon, method, target, "Connection: close"))
        answer = await wire.answer()
        assert 400 <= answer.status < 500
    assert await is_alive(daemon)


async def test_an_upgrade_is_not_taken_up(daemon: Running) -> None:
    for protocol_name in ("websocket", "h2c"):
        answer = await ask(
            daemon, "GET", "/healthz", "Connection: Upgrade", f"Upgrade: {protocol_name}", "Sec-WebSocket-Version: 13"
        )
        assert (answer.status, answer.json()) == (200, {"ok": True})


FRAMINGS = (
    ("Content-Length: {length}", "Content-Length: 0"),
    ("Content-Length: 0", "Content-Length: {length}"),
    ("Content-Length: {length}", "Content-Length: {length}"),
    ("Content-Length: {length}, {length}",),
    ("Content-Length: +{length}",),
    ("Content-Length: -1",),
    ("Content-Length: 0x10",),
    ("Content-Length: 1e3",),
    ("Content-Length: 99999999999999999999999999",),
    ("Content-Length:",),
    ("Content-Length: {length} 0",),
    ("Transfer-Encoding: chunked", "Content-Length: {length}"),
    ("Content-Length: {length}", "Transfer-Encoding: chunked"),
    ("Content-Length: {length}", "Transfer-Encoding: identity"),
    ("Transfer-Encoding: xchunked",),
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding: gzip",),
    ("Transfer-Encoding: \x0bchunked", "Content-Length: {length}"),
    ("Transfer-Encoding : chunked", "Content-Length: {length}"),
    (" Transfer-Encoding: chunked", "Content-Length: {length}"),
    ("Transfer-Encoding\t: chunked",),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
)


async def test_ambiguous_framing_is_refused_and_carries_nothing_in(
    daemon: Running, origin: Origin, subtests: pytest.Subtests
) -> None:
    inner = request(daemon, "POST", "/models/download", JSON, body=download_of(origin, "smuggled"))
    body = b"0\r\n\r\n" + inner
    for framing in FRAMINGS:
        fields = [field.format(length=len(body)) for field in framing]
        with subtests.test(str(framing)):
            async with connected(daemon) as wire:
                wire.send(request(daemon, "POST", "/models/download/cancel", JSON, *fields) + body)
                assert (await wire.answer()).status == 400
                assert await wire.ended() == b""
            assert await job_ids(daemon) == []
            assert origin.accepts == 0


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-1\r\n{}\r\n0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}xx0\r\n\r\n",
        b"\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["not hex", "negative", "0x", "overflow", "no CRLF after the chunk", "no size"],
)
async def test_a_malformed_chunk_is_refused(daemon: Running, body: bytes) -> None:
    async with connected(daemon) as wire:
        wire.send(request(daemon, "POST", "/models/download/cancel", JSON, "Transfer-Encoding: chunked") + body)
        answer = await wire.answer()
        assert answer.status == 400
        await wire.ended()
    assert await is_alive(daemon)


async def test_random_bytes_never_break_the_daemon(daemon: Running) -> None:
    seeds = [bytes((number * 7 + index * 13) % 256 for index in range(200)) for number in range(50)]
    good = request(daemon, "GET", "/healthz")
    for number, noise in enumerate(seeds):
        async with connected(daemon) as wire:
            cut = number % len(good)
            wire.send(good[:cut] + noise + good[cut:] + b"\r\n\r\n")
            with contextlib.suppress(EOFError):
                assert (await wire.answer()).status < 500
    assert await is_alive(daemon)

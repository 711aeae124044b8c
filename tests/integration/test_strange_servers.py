"""Links that expire, answers with something behind them, and one server of several that answers otherwise."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arwd.transfer import response
from tests import origin as origins
from tests import running
from tests.models import gguf
from tests.origin import Origin, Raw, Serve, Status
from tests.running import Running

SOME = 400_000
SMALL = gguf(bytes(range(256)) * 240)
GARBAGE = b"\x00 and something more\r\n\r\n"


@pytest.fixture
async def hub(origin: Origin) -> AsyncIterator[Origin]:
    """Leads to the origin by a signed link."""
    async with origins.running(b"") as served:
        served.script(Status(302, {"Location": origin.url("blob") + "?signature=s3cr3t"}))
        yield served


@pytest.mark.parametrize("status", [401, 403])
async def test_a_link_that_expires_in_the_middle_is_asked_for_anew_and_the_bytes_are_kept(
    daemon: Running, origin: Origin, hub: Origin, data: bytes, status: int
) -> None:
    origin.script(Serve(SOME), Status(status), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", hub.url())
        assert (await stream.status("retrying"))["code"] == "truncated"
        told = await stream.status("retrying")
        assert (told["code"], told["http_status"]) == ("unauthorized", status)
        assert (await stream.status("resumed"))["offset"] == SOME
        assert (await stream.status("complete", "error"))["bytes"] == len(data)
    assert (len(hub.requests), len(origin.requests)) == (3, 3)
    assert b"s3cr3t" not in stream.raw


async def test_a_link_that_is_refused_each_time_is_given_up_after_three_more(
    daemon: Running, origin: Origin, hub: Origin, data: bytes
) -> None:
    origin.script(Serve(SOME), Status(403))
    await daemon.download("m", hub.url())
    last = await daemon.settled("m")
    assert (last["code"], last["http_status"]) == ("unauthorized", 403)
    assert (len(hub.requests), len(origin.requests)) == (5, 5)
    assert (daemon.models / "model.gguf.part").read_bytes() == data[:SOME]


@pytest.mark.parametrize("status", [404, 410])
async def test_where_a_fresh_link_leads_to_nothing_there_is_nothing(
    daemon: Running, origin: Origin, hub: Origin, status: int
) -> None:
    origin.script(Status(status))
    await daemon.download("m", hub.url())
    assert (await daemon.settled("m"))["code"] == "not_found"
    assert len(hub.requests) == 1


async def test_a_refusal_by_the_very_server_that_was_asked_is_final(daemon: Running, origin: Origin) -> None:
    origin.script(Status(403))
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["code"] == "unauthorized"
    assert len(origin.requests) == 1


def with_garbage(body: bytes, start: int = 0) -> Raw:
    status = f"206 X\r\nContent-Range: bytes {start}-{len(body) - 1}/{len(body)}" if start else "200 OK"
    return Raw(
        f'HTTP/1.1 {status}\r\nETag: "v1"\r\nContent-Length: {len(body) - start}\r\n\r\n'.encode()
        + body[start:]
        + GARBAGE
    )


async def test_garbage_behind_a_body_costs_one_more_request_and_not_the_file(daemon: Running, origin: Origin) -> None:
    """Head, body and garbage come in one read."""
    origin.script(with_garbage(SMALL))
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        last = await stream.status("complete", "error")
    told = [message.payload for message in stream.messages if message.payload.get("status") == "retrying"]
    assert (last["status"], [each["code"] for each in told]) == ("complete", ["invalid_response"])
    assert (daemon.models / "model.gguf").read_bytes() == SMALL
    assert len(origin.requests) == 2


async def test_garbage_behind_a_range_keeps_what_is_held(daemon: Running, origin: Origin) -> None:
    origin.data = SMALL
    origin.script(Serve(40_000), with_garbage(SMALL, 40_000))
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("resumed"))["offset"] == 40_000
        assert (await stream.status("complete", "error"))["status"] == "complete"
    assert (daemon.models / "model.gguf").read_bytes() == SMALL


CHUNK = b"3e8\r\n" + SMALL[:1_000] + b"\r\n"
HEAD = 'HTTP/1.1 {}\r\nETag: "v1"\r\nTransfer-Encoding: chunked\r\n{}\r\n'


async def test_a_body_that_breaks_later_on_holds_nobody_up(daemon: Running, origin: Origin) -> None:
    origin.data = SMALL
    origin.script(Raw(HEAD.format("200 OK", "").encode() + CHUNK, "wait", b"zz\r\n"), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.until(lambda message: message.payload.get("downloaded") == 1_000)
        origin.go_on.set()
        assert (await stream.status("retrying"))["code"] == "invalid_response"
        assert (await stream.status("resumed"))["offset"] == 1_000
        assert (await stream.status("complete", "error"))["status"] == "complete"


async def test_nor_does_the_proof_of_a_part(daemon: Running, origin: Origin) -> None:
    origin.data = SMALL
    (daemon.models / "model.gguf.part").write_bytes(SMALL[:2_000])
    head = HEAD.format("206 X", f"Content-Range: bytes 0-1999/{len(SMALL)}\r\n").encode()
    origin.script(Raw(head + CHUNK, "wait", b"zz\r\n"), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await origin.requested()
        origin.go_on.set()
        assert (await stream.status("retrying"))["code"] in ("invalid_response", "truncated")
        assert (await stream.status("resumed"))["offset"] == 2_000
        assert (await stream.status("complete", "error"))["status"] == "complete"


async def test_digits_without_end_are_no_sign_of_life(tmp_path: Path, origin: Origin) -> None:
    origin.data = SMALL
    digits = b"0" * 1_000
    origin.script(Raw(HEAD.format("200 OK", "").encode() + CHUNK + digits, "flood", digits), Serve())
    async with running.daemon(tmp_path / "hasty", stall_timeout=1) as hasty, hasty.events("id=m") as stream:
        await hasty.download("m", origin.url())
        assert (await stream.status("retrying"))["code"] == "stalled"
        assert (await stream.status("resumed"))["offset"] == 1_000


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 36893488147419103232\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6badness\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
    ],
)
async def test_what_makes_no_sense_is_asked_once_more_and_then_given_up(
    daemon: Running, origin: Origin, data: bytes, answer: bytes
) -> None:
    origin.script(Raw(answer), Serve())
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["bytes"] == len(data)
    origin.script(Raw(answer))
    before = len(origin.requests)
    await daemon.download("n", origin.url("n.gguf"))
    assert (await daemon.settled("n"))["code"] == "invalid_response"
    assert len(origin.requests) == before + 2


async def test_much_that_is_held_is_not_given_up_for_one_server_of_several(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "PRECIOUS", SOME)
    origin.script(Serve(SOME), Serve(ranges=False), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("resumed", "restarted"))["offset"] == SOME
        assert (await stream.status("complete", "error"))["bytes"] == len(data)
    assert origin.accepts == len(origin.requests) == 3
    assert [request.headers["Range"] for request in origin.requests[1:]] == [f"bytes={SOME}-"] * 2


async def test_but_if_the_next_says_the_same_it_is_believed(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "PRECIOUS", SOME)
    origin.script(Serve(SOME), Serve(ranges=False))
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("resumed", "restarted"))["code"] == "range_ignored"
        assert (await stream.status("complete", "error"))["bytes"] == len(data)
    assert len(origin.requests) == 3

"""The fault model of the transfer, row by row: which code, retried or not, and what becomes of the part.

Each fault meets a transfer that holds HELD bytes. TLS, proxies, limits and slow servers have tests of their own.
"""

import asyncio
import contextlib
import email.utils
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import origin as origins
from tests import running
from tests.origin import Origin, Raw, Reset, Seen, Serve, Stall, Status, Step
from tests.running import Running
from tests.scenarios import FIRST, HELD, SIZE, message

REST = SIZE - HELD
PATIENCE = 20.0
"""Seconds in which a job that will end ends."""
SECRET = "signature-that-nobody-may-see"
RANGE = (f"Content-Range: bytes {HELD}-{SIZE - 1}/{SIZE}", 'ETag: "v1"')


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with origins.running(FIRST) as served:
        yield served


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    async with running.daemon(tmp_path / "state", stall_timeout=1, connect_timeout=1) as started:
        yield started


async def told(daemon: Running, url: str, **more: Any) -> list[dict[str, Any]]:
    """Everything about a job from its beginning to its end."""
    await daemon.download("m", f"{url}?X-Signature={SECRET}", **more)
    async with asyncio.timeout(PATIENCE), daemon.events("id=m&until=done&after=0") as stream:
        messages = await stream.rest()
    assert SECRET.encode() not in stream.raw
    return [message.payload for message in messages]


def codes(events: list[dict[str, Any]], status: str) -> list[str]:
    return [event["code"] for event in events if event.get("status") == status]


def assert_whole(daemon: Running, events: list[dict[str, Any]]) -> None:
    assert events[-1]["status"] == "complete", events[-1]
    assert daemon.files() == ["model.gguf"]
    assert (daemon.models / "model.gguf").read_bytes() == FIRST


def assert_failed(daemon: Running, events: list[dict[str, Any]], code: str, held: int = HELD) -> None:
    """It ended in this code, in a sentence, and the part is kept."""
    assert (events[-1]["status"], events[-1]["code"]) == ("error", code)
    assert len(events[-1]["error"].split()) > 2
    assert (daemon.models / "model.gguf.part").read_bytes() == FIRST[:held]
    assert "model.gguf" not in daemon.files()


def ranged(*fields: str, body: bytes = FIRST[HELD:], end: str = "close") -> Raw:
    """A 206 of what is missing, its framing as it is written here."""
    return message("206 Partial Content", *RANGE, *fields, body=body, end=end)


def chunked(body: bytes) -> Raw:
    return ranged("Transfer-Encoding: chunked", body=body)


def by_length(*fields: str, first: str = "HTTP/1.1 206 Partial Content") -> Raw:
    """A 206 that is right but for these fields."""
    lines = "".join(f"{field}\r\n" for field in (first, *RANGE, f"Content-Length: {REST}", *fields, ""))
    return Raw(lines.encode("latin-1") + FIRST[HELD:])


# What passes: the same bytes are kept, and the same request is made again

LOST = ("reset", "truncated")
"""A body that was cut off ended early as well: the fault model has one row for both."""
PASSING: dict[str, tuple[Step, tuple[str, ...], int]] = {
    "the body ends early": (Serve(10_000), ("truncated",), HELD + 10_000),
    "the connection ends before a byte of the body": (Serve(0), ("truncated",), HELD),
    "the connection ends within the head": (Raw(b"HTTP/1.1 206 Par"), ("reset",), HELD),
    "the connection ends before the head": (Raw(b""), ("reset",), HELD),
    "the connection is reset before the head": (Raw(b"", end="reset"), ("reset",), HELD),
    "the connection is reset within the body": (Reset(10_000), LOST, HELD + 10_000),
    "a chunk ends early": (chunked(b"2710\r\n" + FIRST[HELD : HELD + 1_000]), LOST, HELD + 1_000),
    "the last chunk is missing": (chunked(b"3e8\r\n" + FIRST[HELD : HELD + 1_000] + b"\r\n"), LOST, HELD + 1_000),
    "nothing comes any more": (Stall(10_000), ("stalled",), HELD + 10_000),
    "nothing comes at all": (Raw(b"", end="wait"), ("stalled",), HELD),
    "the head does not end": (Raw(b"HTTP/1.1 206 Partial Content\r\nETag:", end="wait"), ("stalled",), HELD),
    **{
        f"status {status}": (Status(status), ("too_many_requests" if status == 429 else "http_status",), HELD)
        for status in (408, 425, 429, 500, 502, 503, 504)
    },
}


@pytest.mark.parametrize("fault", PASSING)
async def test_a_fault_that_may_pass_is_tried_again_behind_the_bytes_held(
    daemon: Running, origin: Origin, fault: str
) -> None:
    step, expected, held = PASSING[fault]
    # Where no head came, the HTTP client may have asked a second time by itself.
    times = 2 if expected == ("reset",) else 1
    origin.script(Serve(HELD), *[step] * times, Serve())
    events = await told(daemon, origin.url("model.gguf"))
    first, *later = codes(events, "retrying")
    assert first == "truncated"
    assert 1 <= len(later) <= times
    assert set(later) <= set(expected)
    assert codes(events, "restarted") == []
    assert origin.requests[-1].headers["Range"] == f"bytes={held}-"
    assert_whole(daemon, events)
    if isinstance(step, Status):
        assert [event["http_status"] for event in events if "http_status" in event] == [step.code]


@pytest.mark.parametrize(("step", "code"), [(Status(503), "http_status"), (Raw(b""), "reset")])
async def test_a_fault_that_does_not_pass_ends_in_its_code_when_the_time_is_over(
    tmp_path: Path, origin: Origin, step: Step, code: str
) -> None:
    origin.script(Serve(HELD), step)
    async with running.daemon(tmp_path / "state", retry_for=0.5) as daemon:
        assert_failed(daemon, await told(daemon, origin.url("model.gguf")), code)
    assert len(origin.requests) > 3


# What does not pass: said at once, the part kept

REFUSED: dict[str, tuple[Step, str]] = {
    "401": (Status(401), "unauthorized"),
    "403": (Status(403), "unauthorized"),
    "404": (Status(404), "not_found"),
    "410": (Status(410), "not_found"),
    **{
        str(status): (Status(status), "http_status")
        for status in (
            201, 202, 204, 205, 207, 300, 304, 305, 306, 400, 402, 405, 406, 407, 409, 411, 412, 413, 414, 415, 418,
            421, 422, 423, 424, 426, 428, 431, 451, 499, 501, 505, 506, 507, 508, 510, 511, 599,
        )
    },
    "a redirect without a Location": (Status(302), "bad_redirect"),
    "a redirect to an empty Location": (Status(307, {"Location": ""}), "bad_redirect"),
    "a redirect to half a host": (Status(301, {"Location": "http://[::1/x"}), "bad_redirect"),
    "a redirect to a port that is none": (Status(308, {"Location": "http://127.0.0.1:99999/x"}), "bad_redirect"),
    "a redirect with a control character": (Status(302, {"Location": "/a\tb"}), "bad_redirect"),
    "a redirect with a password": (Status(302, {"Location": "http://u:p@127.0.0.1/x"}), "bad_redirect"),
    "a redirect to ftp": (Status(303, {"Location": "ftp://127.0.0.1/x"}), "bad_redirect"),
    "a redirect to a file": (Status(302, {"Location": "file:///etc/passwd"}), "bad_redirect"),
    "a redirect to a denied address": (Status(302, {"Location": "http://169.254.169.254/x"}), "blocked_address"),
    "a redirect to itself": (lambda seen: Status(302, {"Location": seen.target}), "too_many_redirects"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
async def test_a_refusal_is_not_tried_again(daemon: Running, origin: Origin, fault: str) -> None:
    step, code = REFUSED[fault]
    origin.script(Serve(HELD), step)
    events = await told(daemon, origin.url("model.gguf"))
    assert codes(events, "retrying") == ["truncated"]
    assert_failed(daemon, events, code)
    if isinstance(step, Status) and fault.isdecimal():
        assert events[-1]["http_status"] == step.code
    assert len(origin.requests) == (7 if code == "too_many_redirects" else 2)


def hops(count: int) -> Step:
    """So many redirects, each with a query of its own, then the file."""

    def answer(seen: Seen) -> Step:
        number = int(seen.target.partition("hop=")[2] or 0)
        return Serve() if number == count else Status(302, {"Location": f"/cdn?hop={number + 1}"})

    return answer


@pytest.mark.parametrize("count", [1, 5])
async def test_up_to_five_redirects_are_followed(daemon: Running, origin: Origin, count: int) -> None:
    origin.script(Serve(HELD), hops(count))
    assert_whole(daemon, await told(daemon, origin.url("model.gguf")))
    assert origin.requests[-1].headers["Range"] == f"bytes={HELD}-"


async def test_a_sixth_redirect_is_one_too_many(daemon: Running, origin: Origin) -> None:
    origin.script(Serve(HELD), hops(6))
    assert_failed(daemon, await told(daemon, origin.url("model.gguf")), "too_many_redirects")


# What is not HTTP: it may have been an accident, so it is tried again once

MALFORMED: dict[str, Step] = {
    "a negative length": ranged("Content-Length: -1"),
    "a length of 2^65": ranged(f"Content-Length: {2**65}"),
    "a length of 10^30": ranged(f"Content-Length: {10**30}"),
    "a length with letters": ranged("Content-Length: 6badness"),
    "a length with a plus": ranged(f"Content-Length: +{REST}"),
    "an empty length": ranged("Content-Length:"),
    "two lengths": ranged(f"Content-Length: {REST}", "Content-Length: 5"),
    "a list of lengths": ranged(f"Content-Length: {REST}, 5"),
    "a chunk whose size is no number": chunked(b"zz\r\nabc\r\n0\r\n\r\n"),
    "a chunk of a negative size": chunked(b"-5\r\nabcde\r\n0\r\n\r\n"),
    "a chunk of 2^68": chunked(b"1" + b"0" * 17 + b"\r\nabc\r\n0\r\n\r\n"),
    "both framings": ranged("Transfer-Encoding: chunked", f"Content-Length: {REST}", body=b"0\r\n\r\n"),
    "one line of 70 KiB": by_length(f"X-Long: {'x' * 70_000}"),
    "70 KiB of lines": by_length(*[f"X-{number}: {'x' * 1_000}" for number in range(70)]),
    "more than a hundred lines": by_length(*[f"X-{number}: x" for number in range(101)]),
    "a NUL in the head": by_length("X-Nul: a\0b"),
    "a bare CR in the head": by_length("X-Cr: a\rb"),
    "a line without a colon": by_length("nonsense"),
    "a name with a space": by_length("X Y: z"),
    "HTTP/0.9": Raw(FIRST[HELD:]),
    "HTTP/1.2": by_length(first="HTTP/1.2 206 Partial Content"),
    "HTTP/2": by_length(first="HTTP/2 206 Partial Content"),
    "another protocol": Raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a status of two digits": by_length(first="HTTP/1.1 20 X"),
    "a status of letters": by_length(first="HTTP/1.1 abc X"),
}


@pytest.mark.parametrize("fault", MALFORMED)
async def test_what_is_not_http_is_tried_again_once(daemon: Running, origin: Origin, fault: str) -> None:
    origin.script(Serve(HELD), MALFORMED[fault])
    events = await told(daemon, origin.url("model.gguf"))
    assert_failed(daemon, events, "invalid_response")
    assert codes(events, "retrying") == ["truncated", "invalid_response"]
    assert codes(events, "restarted") == []
    assert [request.headers.get("Range") for request in origin.requests[1:]] == [f"bytes={HELD}-"] * 2


@pytest.mark.parametrize("fault", MALFORMED)
async def test_an_accident_costs_nothing(daemon: Running, origin: Origin, fault: str) -> None:
    origin.script(Serve(HELD), MALFORMED[fault], Serve())
    events = await told(daemon, origin.url("model.gguf"))
    assert codes(events, "restarted") == []
    assert_whole(daemon, events)


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked, chunked", "identity"])
async def test_a_coding_that_nobody_asked_for_is_tried_again_once(daemon: Running, origin: Origin, coding: str) -> None:
    head = message("200 OK", f"Transfer-Encoding: {coding}").data
    origin.script(Raw(head + b"186a0\r\n" + FIRST + b"\r\n0\r\n\r\n"))
    events = await told(daemon, origin.url("model.gguf"))
    assert (codes(events, "retrying"), codes(events, "error")) == (["invalid_response"], ["invalid_response"])
    assert (len(origin.requests), daemon.files()) == (2, [])


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked, chunked", "identity"])
async def test_a_range_in_a_coding_that_nobody_asked_for_is_not_written(
    daemon: Running, origin: Origin, coding: str
) -> None:
    origin.script(Serve(HELD), ranged(f"Transfer-Encoding: {coding}", body=b"3e8\r\n" + b"x" * 1_000), Serve())
    assert_whole(daemon, await told(daemon, origin.url("model.gguf")))


async def test_a_broken_chunk_keeps_what_came_before_it(daemon: Running, origin: Origin) -> None:
    right = b"3e8\r\n" + FIRST[HELD : HELD + 1_000] + b"\r\n"
    origin.script(Serve(HELD), chunked(right + b"zz\r\n"), Serve())
    events = await told(daemon, origin.url("model.gguf"))
    assert codes(events, "retrying") == ["truncated", "invalid_response"]
    assert_whole(daemon, events)


async def test_a_chunk_that_breaks_long_after_the_head_holds_nobody_up(daemon: Running, origin: Origin) -> None:
    right = b"3e8\r\n" + FIRST[HELD : HELD + 1_000] + b"\r\n"
    broken = ranged("Transfer-Encoding: chunked", body=right, end="wait")
    origin.script(Serve(HELD), Raw(broken.data, broken.end, later=b"no number\r\n"), Serve())
    async with daemon.events("id=m") as stream, asyncio.timeout(PATIENCE):
        await daemon.download("m", origin.url("model.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == HELD + 1_000)
        origin.go_on.set()
        await stream.status("complete", "error")
    events = [message.payload for message in stream.messages]
    assert codes(events, "retrying") == ["truncated", "invalid_response"]
    assert origin.requests[-1].headers["Range"] == f"bytes={HELD + 1_000}-"
    assert_whole(daemon, events)


# Answers before the answer

INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize("count", [1, 32])
async def test_interim_answers_are_skipped(daemon: Running, origin: Origin, count: int) -> None:
    right = by_length()
    origin.script(Serve(HELD), Raw(INTERIM * count + right.data))
    assert_whole(daemon, await told(daemon, origin.url("model.gguf")))


ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "interim answers": (b"", INTERIM),
    "fields of a head": (b"HTTP/1.1 200 OK\r\n", b"X-Endless: yes\r\n"),
    "a chunk's size": (chunked(b"").data, b"0" * 1_000),
    "a chunk's extension": (chunked(b"3e8;").data, b"x" * 1_000),
    "fields behind the last chunk": (chunked(b"0\r\n").data, b"X-Endless: yes\r\n"),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_what_has_no_end_and_is_no_file_comes_to_an_end(daemon: Running, origin: Origin, what: str) -> None:
    begin, more = ENDLESS[what]

    def endless(_: Seen) -> Step:
        return Raw(begin + more, "flood", more)

    origin.script(Serve(HELD), endless, Status(404))
    events = await told(daemon, origin.url("model.gguf"))
    named = codes(events, "retrying")[1:] + codes(events, "error")
    assert named[0] in ("invalid_response", "http_status", "stalled", "truncated")
    assert (daemon.models / "model.gguf.part").read_bytes() == FIRST[:HELD]


# What the server asks for


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("2", 2, 4), ("0", 0, 1), ("-5", 0, 1), ("soon", 0, 1), ("1.5", 0, 2), ("", 0, 1),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 1), ("Thu, 32 Jan 2099 00:00:00 GMT", 0, 1), ("in 3 s", 0, 3),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_may_say_when_to_come_back(
    daemon: Running, origin: Origin, status: int, value: str, least: int, most: int
) -> None:
    value = email.utils.formatdate(time.time() + 3, usegmt=True) if value == "in 3 s" else value
    origin.script(Serve(HELD), Status(status, {"Retry-After": value}), Serve())
    begin = time.monotonic()
    events = await told(daemon, origin.url("model.gguf"))
    pauses = [event["next_attempt_in"] for event in events if event.get("http_status") == status]
    assert [least <= pause <= most for pause in pauses] == [True]
    assert time.monotonic() - begin >= least * 0.95
    assert_whole(daemon, events)


@pytest.mark.parametrize("value", ["301", "1000000000000", "Fri, 01 Jan 2199 00:00:00 GMT"])
async def test_a_server_that_asks_for_more_than_five_minutes_ends_the_job(
    daemon: Running, origin: Origin, value: str
) -> None:
    origin.script(Serve(HELD), Status(429, {"Retry-After": value}))
    events = await told(daemon, origin.url("model.gguf"))
    assert_failed(daemon, events, "too_many_requests")
    assert len(origin.requests) == 2


# Who cannot be reached


@contextlib.contextmanager
def deaf(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A listener that takes no connection: its queue is full."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(family))
        listening.bind((host, port))
        listening.listen(0)
        for _ in range(4):
            filling = stack.enter_context(socket.socket(family))
            filling.setblocking(False)
            filling.connect_ex(listening.getsockname()[:2])
        yield listening.getsockname()[1]


def nobody() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


async def test_a_refused_connection_is_tried_again(daemon: Running, origin: Origin) -> None:
    # The redirect is asked for again from where it came: that is why the second time it can be another.
    origin.script(Serve(HELD), Status(307, {"Location": f"http://127.0.0.1:{nobody()}/x?{SECRET}"}), Serve())
    events = await told(daemon, origin.url("model.gguf"))
    assert codes(events, "retrying") == ["truncated", "connect"]
    assert origin.requests[-1].headers["Range"] == f"bytes={HELD}-"
    assert_whole(daemon, events)


async def test_a_connection_that_does_not_stand_in_time_is_tried_again(daemon: Running, origin: Origin) -> None:
    with deaf() as port:
        origin.script(Serve(HELD), Status(307, {"Location": f"http://127.0.0.1:{port}/x?{SECRET}"}), Serve())
        events = await told(daemon, origin.url("model.gguf"))
    assert codes(events, "retrying") == ["truncated", "connect"]
    assert_whole(daemon, events)


async def test_a_server_that_nobody_reaches_ends_in_its_code(tmp_path: Path) -> None:
    async with running.daemon(tmp_path / "state", retry_for=0.3) as daemon:
        events = await told(daemon, f"http://127.0.0.1:{nobody()}/model.gguf")
        assert (events[-1]["status"], events[-1]["code"]) == ("error", "connect")
        assert daemon.files() == []


class Resolver:
    """Answers in place of the system for one name; every other name is a mistake."""

    NAME = "models.example"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: socket.gaierror | list[str]) -> None:
        """The last answer is given for ever."""
        self.asked = 0
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        if host != self.NAME:
            return self._real(host, port, *rest, **more)
        self.asked += 1
        answer = next(self._answers)
        if isinstance(answer, socket.gaierror):
            raise answer
        return [found for literal in answer for found in self._real(literal, port, type=socket.SOCK_STREAM)]


NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_ANSWER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


async def test_a_name_that_does_not_exist_is_asked_for_three_times_more(
    daemon: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(monkeypatch, NO_SUCH_NAME)
    events = await told(daemon, f"http://{Resolver.NAME}/model.gguf")
    assert (events[-1]["status"], events[-1]["code"]) == ("error", "dns")
    assert codes(events, "retrying") == ["dns"] * 3
    assert resolver.asked == 4
    assert daemon.files() == []


@pytest.mark.parametrize("fault", [NO_SUCH_NAME, NO_ANSWER])
async def test_a_name_that_is_found_again_costs_nothing(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch, fault: socket.gaierror
) -> None:
    Resolver(monkeypatch, fault, fault, ["127.0.0.1"])
    events = await told(daemon, f"http://{Resolver.NAME}:{origin.port}/model.gguf")
    assert codes(events, "retrying") == ["dns", "dns"]
    assert_whole(daemon, events)


async def test_resolvers_that_do_not_answer_are_asked_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(monkeypatch, NO_ANSWER)
    async with running.daemon(tmp_path / "state", retry_for=1) as daemon:
        events = await told(daemon, f"http://{Resolver.NAME}/model.gguf")
    assert (events[-1]["status"], events[-1]["code"]) == ("error", "dns")
    assert resolver.asked > 4


async def test_an_address_that_swallows_everything_holds_nobody_up(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Resolver(monkeypatch, ["::1", "127.0.0.1"])
    async with running.daemon(tmp_path / "state") as daemon:
        with deaf("::1", origin.port):
            begin = time.monotonic()
            events = await told(daemon, f"http://{Resolver.NAME}:{origin.port}/model.gguf")
            assert time.monotonic() - begin < 5
        assert codes(events, "retrying") == []
        assert_whole(daemon, events)


# Links that expire


class Signed:
    """An origin that sends to another server by links; a link is good for so many requests."""

    def __init__(self, cdn: Origin, *, good_for: int, refusal: int, is_ever_good: bool = True) -> None:
        self.cdn, self.good_for, self.refusal, self.is_ever_good = cdn, good_for, refusal, is_ever_good
        self.links = 0
        self.used: dict[str, int] = {}

    def link(self, _: Seen) -> Step:
        self.links += 1
        return Status(302, {"Location": self.cdn.url(f"model.gguf?X-Signature={SECRET}-{self.links}")})

    def file(self, seen: Seen) -> Step:
        self.used[seen.target] = self.used.get(seen.target, 0) + 1
        is_expired = self.used[seen.target] > self.good_for or not self.is_ever_good
        if len(self.cdn.requests) == 1:
            return Serve(HELD)
        return Status(self.refusal) if is_expired else Serve()


@pytest.mark.parametrize("refusal", [400, 401, 403])
async def test_a_link_that_expired_is_fetched_anew_and_the_bytes_are_kept(
    daemon: Running, origin: Origin, refusal: int
) -> None:
    async with origins.running(FIRST) as cdn:
        expired = itertools.chain([Serve(HELD), Status(refusal)], itertools.repeat(Serve()))
        signed = Signed(cdn, good_for=1, refusal=refusal)
        origin.script(signed.link)
        cdn.script(lambda _: next(expired))
        events = await told(daemon, origin.url("model.gguf"))
        assert_whole(daemon, events)
        assert codes(events, "restarted") == []
        assert cdn.requests[-1].headers["Range"] == f"bytes={HELD}-"
        assert cdn.requests[-1].target.endswith(f"-{signed.links}"), "an old link was asked again"


@pytest.mark.parametrize("refusal", [400, 401, 403])
async def test_a_link_that_is_never_good_ends_after_three_new_ones(
    daemon: Running, origin: Origin, refusal: int
) -> None:
    async with origins.running(FIRST) as cdn:
        signed = Signed(cdn, good_for=0, refusal=refusal, is_ever_good=False)
        origin.script(signed.link)
        cdn.script(signed.file)
        events = await told(daemon, origin.url("model.gguf"))
    assert_failed(daemon, events, "unauthorized")
    assert codes(events, "retrying") == ["truncated", *["unauthorized"] * 3]
    assert signed.links == 5


# What the whole turns out to be


async def test_a_wrong_digest_of_a_file_that_came_in_one_piece_is_not_fetched_twice(
    daemon: Running, origin: Origin
) -> None:
    events = await told(daemon, origin.url("model.gguf"), sha256="0" * 64)
    assert (events[-1]["status"], events[-1]["code"]) == ("error", "sha256_mismatch")
    assert {"expected", "actual"} <= events[-1].keys()
    assert (len(origin.requests), daemon.files()) == (1, [])


async def test_a_wrong_digest_of_a_file_in_pieces_is_fetched_once_more(daemon: Running, origin: Origin) -> None:
    origin.script(Serve(HELD), Serve())
    events = await told(daemon, origin.url("model.gguf"), sha256="0" * 64)
    assert codes(events, "restarted") == codes(events, "error") == ["sha256_mismatch"]
    assert (len(origin.requests), daemon.files()) == (3, [])


def dated(modified: str | None, date: str | None, etag: str | None = None) -> dict[str, str]:
    return {name: value for name, value in (("Last-Modified", modified), ("Date", date), ("ETag", etag)) if value}


NOW = "Tue, 01 Jul 2025 12:00:00 GMT"
WORTHLESS = {
    "none": dated(None, NOW),
    "junk": dated("yesterday", NOW),
    "the future": dated("Wed, 02 Jul 2025 12:00:00 GMT", NOW),
    "the same minute": dated("Tue, 01 Jul 2025 11:59:30 GMT", NOW),
    "the epoch": dated("Thu, 01 Jan 1970 00:00:00 GMT", NOW),
    "no Date beside it": dated("Tue, 01 Jul 2024 12:00:00 GMT", None),
    "a weak ETag": dated(None, NOW, 'W/"v1"'),
    "an ETag without quotes": dated(None, NOW, "v1"),
}


@pytest.mark.parametrize("validator", WORTHLESS)
async def test_without_a_validator_that_is_worth_something_nothing_is_continued(
    daemon: Running, origin: Origin, validator: str
) -> None:
    headers = WORTHLESS[validator]
    origin.script(Serve(HELD, headers, etag=None), Serve(headers=headers, etag=None))
    events = await told(daemon, origin.url("model.gguf"))
    assert codes(events, "restarted") == ["no_validator"]
    assert "Range" not in origin.requests[-1].headers
    assert_whole(daemon, events)


async def test_an_old_date_is_a_validator(daemon: Running, origin: Origin) -> None:
    headers = dated("Mon, 01 Jul 2024 12:00:00 GMT", NOW)
    origin.script(Serve(HELD, headers, etag=None), Serve(headers=headers, etag=None, is_blind=True))
    events = await told(daemon, origin.url("model.gguf"))
    assert codes(events, "restarted") == []
    assert origin.requests[-1].headers["If-Range"] == headers["Last-Modified"]
    assert_whole(daemon, events)

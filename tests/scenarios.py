"""Twenty-two things that a server can do when a part is to be continued, as data.

Each scenario begins behind a part that a real transfer left. From then on the server answers every range as the
scenario says; asked from the first byte on it is honest, unless the scenario says otherwise.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.origin import Raw, Seen, Serve, Status, Step

SIZE = 100_000
HELD = 40_000
"""Bytes of the part."""
GGUF = b"GGUF\x03\0\0\0" + bytes(15) + b"\1"
"""A head that a model file may begin with: nobody takes what follows for something else."""
LOGIN = b"<!doctype html><html><head><title>Sign in</title></head><body>The network wants a password.</body></html>\n"


def version(number: int, size: int = SIZE) -> bytes:
    """A model file; no two versions have anything but the head in common."""
    return GGUF + random.Random(number).randbytes(size - len(GGUF))


FIRST = version(1)
OTHER = version(2)
LONGER = version(3, SIZE + 25_000)
SHORTER = version(4, 20_000)


def message(status: str, *fields: str, body: bytes = b"", end: str = "close") -> Raw:
    """A response, its head as it is written here."""
    return Raw("".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *fields, "")).encode("latin-1") + body, end)


def offset(seen: Seen) -> int:
    """From which byte on the request asks."""
    match = re.fullmatch(r"bytes=(\d+)-\d*", seen.headers.get("Range", ""))
    return 0 if match is None else int(match[1])


def _login(*, status: str = "200 OK", fields: tuple[str, ...] = ()) -> Raw:
    return message(status, "Content-Type: text/html", f"Content-Length: {len(LOGIN)}", *fields, body=LOGIN)


def _of_range(write: Callable[[int], Step], otherwise: Step | None = None) -> Callable[[Seen], Step]:
    """To a range from N on the answer is `write(N)`, to all else an honest one."""
    return lambda seen: write(offset(seen)) if "Range" in seen.headers else otherwise or Serve(data=FIRST)


def _partial(place: str, *fields: str, start: int | None = None, length: int = 0) -> Callable[[Seen], Step]:
    """206 of the first version, with a Content-Range of its own; `start` and `length` move the body and its length."""

    def write(first: int) -> Step:
        body = FIRST[first if start is None else first + start :]
        lines = [place.format(first=first, before=first - 1_000, last=SIZE - 1, size=SIZE)] if place else []
        lines += [f"Content-Length: {len(body) + length}", 'ETag: "v1"', *fields]
        return message("206 Partial Content", *lines, body=body)

    return _of_range(write)


def _multipart(first: int) -> Step:
    part = f"--b\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{SIZE - 1}/{SIZE}\r\n\r\n"
    body = part.encode() + FIRST[first:] + b"\r\n--b--\r\n"
    fields = ("Content-Type: multipart/byteranges; boundary=b", f"Content-Length: {len(body)}", 'ETag: "v1"')
    return message("206 Partial Content", *fields, body=body)


def _short_html(first: int) -> Step:
    return _login(status="206 Partial Content", fields=(f"Content-Range: bytes {first}-{SIZE - 1}/{SIZE}",))


def _with_garbage(first: int) -> Step:
    head = (f"Content-Range: bytes {first}-{SIZE - 1}/{SIZE}", f"Content-Length: {SIZE - first}", 'ETag: "v1"')
    return message("206 Partial Content", *head, body=FIRST[first:] + b"and something that nobody asked for")


def _unsatisfied(*fields: str, now: bytes = FIRST, etag: str = '"v1"') -> Callable[[Seen], Step]:
    refusal = message("416 Range Not Satisfiable", "Content-Length: 0", *fields)
    return _of_range(lambda _: refusal, Serve(data=now, etag=etag))


def _to_login(seen: Seen) -> Step:
    return _login() if seen.target.startswith("/login") else Status(302, {"Location": "/login?back=here"})


def _changed(now: bytes, *, is_blind: bool) -> Step:
    return Serve(data=now, etag='"v2"', is_blind=is_blind)


@dataclass(frozen=True)
class Scenario:
    """What the server does, and what must come of it."""

    name: str
    answer: Step
    restarted: str | None = None
    """Why the bytes of the part are given up; None: they are kept."""
    failed: str | None = None
    """The code in which the job ends; None: it is completed."""
    file: bytes = FIRST
    """What the server has now, and so what the file must be."""


_RANGE = "Content-Range: bytes {first}-{last}/{size}"

SCENARIOS = (
    Scenario("a correct 206", Serve(data=FIRST)),
    Scenario("a 200 with the whole file", Serve(data=FIRST, ranges=False), "range_ignored"),
    Scenario(
        "a 206 from the first byte on", _partial("Content-Range: bytes 0-{last}/{size}", start=-HELD), "bad_range"
    ),
    Scenario(
        "a 206 from 1,000 bytes earlier on", _partial(_RANGE.replace("first", "before"), start=-1_000), "bad_range"
    ),
    Scenario("a 206 without a Content-Range", _partial(""), "bad_range"),
    Scenario("another file of another size in a 206", _changed(LONGER, is_blind=True), "upstream_changed", file=LONGER),
    Scenario("another file of the same size in a 206", _changed(OTHER, is_blind=True), "upstream_changed", file=OTHER),
    Scenario("another file in a 200", _changed(OTHER, is_blind=False), "upstream_changed", file=OTHER),
    Scenario("a 416 that lies", _unsatisfied(f"Content-Range: bytes */{SIZE}"), "bad_range"),
    Scenario(
        "a 416 of a file that shrank",
        _unsatisfied(f"Content-Range: bytes */{len(SHORTER)}", now=SHORTER, etag='"v2"'),
        "bad_range",
        file=SHORTER,
    ),
    Scenario("a 416 without a Content-Range", _unsatisfied(), "bad_range"),
    Scenario("a 206 that says it is compressed", _partial(_RANGE, "Content-Encoding: gzip"), "bad_range"),
    Scenario("10,000 bytes of what was declared", Serve(10_000, data=FIRST)),
    Scenario("garbage behind the declared end", _of_range(_with_garbage)),
    Scenario("a Content-Length beyond the range", _partial(_RANGE, length=700), "bad_range"),
    Scenario("a multipart 206", _of_range(_multipart), "bad_range"),
    Scenario("a range of items", _partial("Content-Range: items {first}-{last}/{size}"), "bad_range"),
    Scenario("a login page in a 200", lambda _: _login(), failed="not_a_model"),
    Scenario("a login page in a 206", _of_range(_short_html), "bad_range"),
    Scenario("a 403", Status(403), failed="unauthorized"),
    Scenario("a redirect to itself", lambda seen: Status(302, {"Location": seen.target}), failed="too_many_redirects"),
    Scenario("a redirect to a login page", _to_login, failed="not_a_model"),
)

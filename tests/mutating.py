"""A server that answers each request in another wrong way, and publishes other content in between: all by one seed.

`Course(seed)` is one file, one server and one order of faults; `follow` sends a daemon through it. Whatever happens,
the file under its final name is one version that was served. What no client can know without a digest, content that
changed under an unchanged validator, is told apart by the server, which knows what it did.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests import oracle
from tests import origin as origins
from tests.origin import Origin, Raw, Seen, Status, Step
from tests.running import Running
from tests.scenarios import GGUF, LOGIN, message, offset

LEAST, MOST = 12_000, 160_000
"""Bytes of a file."""
MOST_ACTS = 7
PATIENCE = 25.0
"""Seconds that one course may take among many others."""
STUCK = {"status": "stuck"}
"""The last word on what did not end."""

PUBLISHED = {"": 70, "new": 14, "silent": 8, "touched": 8}
"""What may have been published before an answer, and how likely: nothing; other content under a new validator; other
content under the old one; the same content under a new validator."""
STYLES = {"etag": 6, "date": 2, "weak": 1, "none": 1}
"""What kind of validator the server sends."""
DIGESTS = {"none": 5, "last": 4, "first": 1}
"""Whose digest the user gives."""
KINDS = {
    # the file, or as much of it as comes
    "honest": 6, "cut": 14, "reset": 6, "wait": 8, "chunked": 3, "chunked, cut": 5, "closed": 2, "closed, cut": 3,
    "interim": 2, "whole": 4,
    # ranges
    "blind": 5, "blind and unsigned": 3, "early": 3, "far total": 2, "short end": 2, "open total": 2, "no place": 2,
    "items": 1, "multipart": 1, "416 bare": 1, "416 of another size": 1, "416 of what is held": 1,
    # framing and content
    "long": 3, "brief": 2, "elsewhere": 1, "torn": 2, "gzip": 2, "chunked, broken": 1, "chunked, broken later": 2,
    "both framings": 1,
    # no file at all
    "html": 2, "html by another name": 2, "html in a range": 2, "json": 1, "lfs": 1, "junk": 1, "nothing": 1,
    "moved": 4, "login": 2, "loop": 1, "401": 1, "403": 1, "404": 1, "418": 1, "429": 1, "500": 2, "503": 1,
}  # fmt: skip

BREAKS = {"cut": 3, "reset": 2, "wait": 3, "chunked, cut": 2, "closed, cut": 1}

_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"


@dataclass(frozen=True)
class Act:
    """One answer, before it is known to what."""

    kind: str
    at: float
    """Where it breaks, as a share of what is left to send."""
    by: int
    """How many bytes it is wrong by."""
    published: str


@dataclass(frozen=True)
class Answer:
    """A response to be: what an honest one would be, until an act changes it."""

    start: int | None
    """The first byte of the range; None: the whole file, in a 200."""
    body: bytes
    place: str | None
    """The Content-Range."""
    signs: tuple[str, ...]
    """The validator's fields."""
    framing: str = "length"
    wrong_by: int = 0
    """How far the Content-Length is from the truth."""
    fields: tuple[str, ...] = ()

    def raw(self, cut: int | None = None, end: str = "close") -> Raw:
        """As it is sent: `cut` bytes of the body, and then the `end`."""
        body = self.body if cut is None else self.body[:cut]
        fields = [*self.signs, *self.fields]
        if self.place is not None:
            fields.append(f"Content-Range: {self.place}")
        if self.framing == "chunked":
            fields.append("Transfer-Encoding: chunked")
            pieces = [body[i : i + 30_000] for i in range(0, len(body), 30_000)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            body += b"0\r\n\r\n" if cut is None else b""
        elif self.framing == "length":
            fields.append(f"Content-Length: {len(self.body) + self.wrong_by}")
        status = "200 OK" if self.start is None else "206 Partial Content"
        return message(status, *fields, "Connection: close", body=body, end=end)


class Course:
    """One server with its faults, and what it knows of them."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self._dice = random.Random(seed)
        self.style = self._one_of(STYLES)
        self.digest_of = self._one_of(DIGESTS)
        self.acts = [self._act(KINDS) for _ in range(self._dice.randint(1, MOST_ACTS))]
        if self._dice.random() < 0.8:
            # Most courses begin with a part: what may go wrong later goes wrong behind one.
            self.acts.insert(0, self._act(BREAKS))
        self.served: list[bytes] = []
        """Every content that a response was, or was part of."""
        self._named: dict[str, set[bytes]] = {}
        """What each validator stood for."""
        self.is_undetectable = False
        """Content went on under a validator that stood for something else: without a digest nobody can know."""
        self.waits = asyncio.Event()
        """The server sends no more until somebody interrupts."""
        self.lingers = asyncio.Event()
        """The server sends the rest a little later."""
        self.story: list[str] = []
        self.prepare()

    def prepare(self) -> None:
        """Settle what will be published, so that the digest of the last version can be asked for."""
        versions = [self._first()]
        for act in self.acts:
            if act.published:
                versions.append(self._next(versions[-1], act.published))
        self.first, *coming = versions
        self.last, self._publications = versions[-1], iter(coming)
        self.now, self._number, self._left = self.first, 0, list(self.acts)

    @property
    def digest(self) -> str | None:
        """What the user says the file is."""
        version = {"none": None, "first": self.first, "last": self.last}[self.digest_of]
        return None if version is None else oracle.digest(version)

    @property
    def must_succeed(self) -> bool:
        """Once the faults are over, is there no reason left to fail?"""
        return self.digest in (None, oracle.digest(self.last))

    def describe(self) -> str:
        """All that is needed to do it again."""
        acts = "\n".join(f"  {act}" for act in self.acts)
        story = "\n".join(f"  {line}" for line in self.story)
        return f"seed {self.seed!r}: {self.style}, digest: {self.digest_of}\n{acts}\nwhat happened:\n{story}"

    def answer(self, seen: Seen) -> Step:
        """The next act; when all are over, the truth."""
        if seen.target.startswith("/login"):
            return _login()
        act = self._left.pop(0) if self._left else Act("honest", 0.0, 1, "")
        if act.published:
            self.now = next(self._publications)
            self._number += act.published != "silent"
        asked = f"{seen.headers.get('Range', 'all')} if {seen.headers.get('If-Range', 'any')}"
        self.story.append(f"{asked} -> {act.kind} {act.at:.3f} {act.by} {act.published} of v{self._number}")
        return self._played(act, seen)

    def _played(self, act: Act, seen: Seen) -> Step:
        match act.kind:
            case "html" | "html by another name" | "json" | "lfs" | "junk" | "nothing":
                return _no_file(act.kind)
            case "moved":
                return Status(302, {"Location": f"/{act.by}/model.gguf"})
            case "login":
                return Status(302, {"Location": "/login"})
            case "loop":
                self._left = [replace(act, kind="loop, on", published="")] * 5 + self._left
                return Status(302, {"Location": seen.target})
            case "loop, on":
                return Status(302, {"Location": seen.target})
            case "429" | "503":
                return Status(int(act.kind), {"Retry-After": "0"})
            case kind if kind.isdecimal():
                return Status(int(kind))
            case kind if kind.startswith("416"):
                return self._unsatisfied(kind, act, seen)
        answer = self._honest(seen, is_blind=act.kind.startswith("blind"), is_whole=act.kind in ("whole", "brief"))
        if isinstance(answer, Raw):
            return answer
        cut = int(len(answer.body) * act.at)
        if act.kind == "wait":
            self.waits.set()
        answer = self._bent(act, answer, seen)
        self._said(answer, seen)
        match act.kind:
            case "cut" | "chunked, cut" | "closed, cut":
                return answer.raw(cut)
            case "reset" | "wait":
                return answer.raw(cut, act.kind)
            case "chunked, broken":
                return Raw(answer.raw(max(cut, 1)).data + b"no number\r\n")
            case "chunked, broken later":
                self.lingers.set()
                return Raw(answer.raw(max(cut, 1)).data, "wait", later=b"no number\r\n")
            case "brief" if answer.start is None:
                sent = answer.raw()
                return Raw(sent.data + self.now[len(answer.body) :], sent.end)
            case "interim":
                return Raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer.raw().data)
            case _:
                return answer.raw()

    def _honest(self, seen: Seen, *, is_blind: bool, is_whole: bool) -> Answer | Raw:
        """What a good server would say, or one that does not look at If-Range."""
        start, size, condition = offset(seen), len(self.now), seen.headers.get("If-Range")
        is_range = start > 0 and not is_whole and (is_blind or condition in (None, self._validator))
        if is_range and start >= size:
            self._goes_on(seen, self.now, self._validator)
            return message("416 X", f"Content-Range: bytes */{size}", "Content-Length: 0", "Connection: close")
        if is_range:
            return Answer(start, self.now[start:], f"bytes {start}-{size - 1}/{size}", self._signs)
        return Answer(None, self.now, None, self._signs)

    def _bent(self, act: Act, answer: Answer, seen: Seen) -> Answer:
        """The answer as this act makes it."""
        start, size, by = answer.start, len(self.now), act.by
        match act.kind:
            case "chunked" | "chunked, cut" | "chunked, broken" | "chunked, broken later":
                return replace(answer, framing="chunked")
            case "both framings":
                return replace(answer, framing="chunked", fields=(f"Content-Length: {len(answer.body)}",))
            case "closed" | "closed, cut":
                return replace(answer, framing="closed")
            case "blind and unsigned" if start is not None:
                return replace(answer, signs=())
            case "early" if start is not None:
                early = max(start - by, 0)
                return replace(answer, body=self.now[early:], place=f"bytes {early}-{size - 1}/{size}")
            case "far total" if start is not None:
                return replace(answer, place=f"bytes {start}-{size - 1}/{size + by}")
            case "short end" if start is not None and size - start > by:
                return replace(answer, body=answer.body[:-by], place=f"bytes {start}-{size - 1 - by}/{size}")
            case "open total" if start is not None:
                return replace(answer, place=f"bytes {start}-{size - 1}/*")
            case "no place" if start is not None:
                return replace(answer, place=None)
            case "items" if start is not None:
                return replace(answer, place=f"items {start}-{size - 1}/{size}")
            case "multipart" if start is not None:
                return replace(answer, place=None, fields=("Content-Type: multipart/byteranges; boundary=b",))
            case "html in a range" if start is not None:
                return replace(answer, body=LOGIN, fields=("Content-Type: text/html",))
            case "gzip":
                return replace(answer, fields=("Content-Encoding: gzip",))
            case "long":
                return replace(answer, wrong_by=by)
            case "brief" if start is None:
                return replace(answer, body=answer.body[:-by])
            case "elsewhere" if start is not None:
                return replace(answer, body=self.now[start - 1 : -1])
            case "torn":
                middle = len(answer.body) // 2
                return replace(answer, body=answer.body[:middle] + self._dice.randbytes(len(answer.body) - middle))
            case _:
                return answer

    def _said(self, answer: Answer, seen: Seen) -> None:
        """Remember what this response is of, and whether it can be told from what it is not."""
        if answer.fields and answer.fields[0] in ("Content-Encoding: gzip", "Content-Type: text/html"):
            return
        content = answer.body if answer.start is None else self.now[: answer.start] + answer.body
        is_signed = self._validator if answer.signs else None
        if answer.start is None:
            self.served.append(content)
        else:
            self._goes_on(seen, content, is_signed)
        if is_signed is not None:
            self._named.setdefault(is_signed, set()).add(content)

    def _goes_on(self, seen: Seen, content: bytes, validator: str | None) -> None:
        """A range of `content` is sent to somebody who holds what If-Range stands for."""
        condition = seen.headers.get("If-Range")
        if condition is not None and validator in (None, condition):
            self.is_undetectable |= self._named.get(condition, {content}) != {content}

    def _unsatisfied(self, kind: str, act: Act, seen: Seen) -> Step:
        size = {"416 of another size": act.by, "416 of what is held": offset(seen)}.get(kind)
        # Where the size was never said, "that is all there is" cannot be told from the truth.
        self.is_undetectable |= size == offset(seen) != len(self.now) and "If-Range" in seen.headers
        fields = () if size is None else (f"Content-Range: bytes */{size}",)
        return message("416 Range Not Satisfiable", "Content-Length: 0", "Connection: close", *fields)

    @property
    def _validator(self) -> str | None:
        """What stands in If-Range, if it is this version that is held."""
        match self.style:
            case "etag":
                return f'"v{self._number}"'
            case "date":
                return f"Mon, {self._number + 1:02} Jan 2024 00:00:00 GMT"
            case _:
                return None

    @property
    def _signs(self) -> tuple[str, ...]:
        match self.style:
            case "etag":
                return (f"ETag: {self._validator}",)
            case "date":
                return (f"Last-Modified: {self._validator}", "Date: Tue, 01 Jul 2025 12:00:00 GMT")
            case "weak":
                return (f'ETag: W/"v{self._number}"',)
            case _:
                return ()

    def _first(self) -> bytes:
        return GGUF + self._dice.randbytes(self._dice.randint(LEAST, MOST))

    def _next(self, before: bytes, published: str) -> bytes:
        if published == "touched":
            return before
        # Often the same size, often the same beginning: what is easily taken for the same file.
        fresh = before if self._dice.random() < 0.6 else self._first()
        kept = int(min(len(before), len(fresh)) * self._dice.random()) if self._dice.random() < 0.5 else len(GGUF)
        kept = max(kept, len(GGUF))
        return before[:kept] + self._dice.randbytes(len(fresh) - kept)

    def _act(self, kinds: dict[str, int]) -> Act:
        return Act(self._one_of(kinds), self._dice.random(), self._dice.randint(1, 5_000), self._one_of(PUBLISHED))

    def _one_of(self, weights: dict[str, int]) -> str:
        return self._dice.choices(list(weights), list(weights.values()))[0]


def _login() -> Raw:
    fields = ("Content-Type: text/html", f"Content-Length: {len(LOGIN)}", "Connection: close")
    return message("200 OK", *fields, body=LOGIN)


def _no_file(kind: str) -> Raw:
    """An answer that claims to be well, and is not the file."""
    match kind:
        case "html":
            return _login()
        case "html by another name":
            fields, body = ("Content-Type: application/octet-stream",), LOGIN
        case "json":
            fields, body = ("Content-Type: application/json",), b'{"error": "the model is gated", "code": 17}'
        case "lfs":
            fields, body = ("Content-Type: text/plain",), _LFS
        case "junk":
            return Raw(b"220 ready\r\n")
        case _:
            return Raw(b"")
    return message("200 OK", *fields, f"Content-Length: {len(body)}", "Connection: close", body=body)


@dataclass(frozen=True)
class Outcome:
    """How a course ended."""

    course: Course
    last: dict[str, Any]
    """The last word on it."""
    file: bytes | None
    """What has the final name."""

    @property
    def is_mixed(self) -> bool:
        """Is there a file that nobody ever served?"""
        if self.file is None:
            return False
        if self.course.digest is not None:
            return oracle.digest(self.file) != self.course.digest
        if self.last.get("length_known") is False:
            return not any(version.startswith(self.file) for version in self.course.served)
        return self.file not in self.course.served

    @property
    def is_excused(self) -> bool:
        """Could nobody have known?"""
        return self.course.digest is None and self.course.is_undetectable

    @property
    def fault(self) -> str | None:
        """What is wrong, beyond what nobody could have known; None if all is well."""
        if self.last is STUCK:
            return f"it did not end within {PATIENCE:g} s"
        if self.is_mixed and not self.is_excused:
            return "the file is not one that was served"
        if self.last["status"] == "complete":
            assert self.file is not None
            is_said = (self.last["bytes"], self.last["sha256"]) == (len(self.file), oracle.digest(self.file))
            return None if is_said else "the file is not what was said of it"
        if self.file is not None:
            return "a job that failed left a file"
        return "the server was well, and the file did not come" if self.course.must_succeed else None

    def __str__(self) -> str:
        return f"{self.fault}\n{self.last}\n{self.course.describe()}"


async def follow(daemon: Running, course: Course) -> Outcome:
    """Ask for the file until it is there, or the faults are over and it still does not come."""
    model_id = f"m{course.seed}"
    last = STUCK
    async with origins.running(course.now) as origin:
        origin.script(course.answer)
        with contextlib.suppress(TimeoutError), _interrupting(daemon, model_id, origin, course):
            async with asyncio.timeout(PATIENCE):
                last = await _ask(daemon, model_id, origin, course)
    path = daemon.models / str(last.get("file", f"{model_id}.gguf"))
    outcome = Outcome(course, last, path.read_bytes() if path.exists() else None)
    await daemon.call("POST", "/models/delete", {"id": model_id})
    return outcome


async def _ask(daemon: Running, model_id: str, origin: Origin, course: Course) -> dict[str, Any]:
    """The last word on the last request."""
    more = {} if course.digest is None else {"sha256": course.digest}
    last: dict[str, Any] = {}
    for _ in range(len(course.acts) + 2):
        await daemon.download(model_id, origin.url(f"{model_id}.gguf"), **more)
        last = await daemon.settled(model_id)
        course.story.append(f"{last['status']} {last.get('code', '')}")
        if last["status"] == "complete":
            break
    return last


@contextlib.contextmanager
def _interrupting(daemon: Running, model_id: str, origin: Origin, course: Course) -> Iterator[None]:
    """Whenever the server waits, the user pauses and goes on; whenever it lingers, it is let go on."""

    def go_on() -> None:
        waiting, origin.go_on = origin.go_on, asyncio.Event()
        waiting.set()

    async def interrupt() -> None:
        while True:
            await course.waits.wait()
            course.waits.clear()
            await daemon.call("POST", "/models/download/pause", {"id": model_id})
            go_on()
            await daemon.call("POST", "/models/download/resume", {"id": model_id})

    async def linger() -> None:
        while True:
            await course.lingers.wait()
            course.lingers.clear()
            await asyncio.sleep(0.02)  # what comes now does not come with the head
            go_on()

    helping = [asyncio.create_task(interrupt()), asyncio.create_task(linger())]
    try:
        yield
    finally:
        for each in helping:
            each.cancel()


async def follow_many(daemon: Running, seeds: list[str], at_once: int) -> list[Outcome]:
    """Many courses, so many at a time."""
    left, outcomes = list(reversed(seeds)), list[Outcome]()

    async def one_after_another() -> None:
        while left:
            outcomes.append(await follow(daemon, Course(left.pop())))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_another())
    return outcomes

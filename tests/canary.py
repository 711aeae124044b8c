"""Secrets that can be recognised, and a search for them in all that a daemon let out.

Every URL, token and credential of the tests holds WORD. What a daemon said and what it left on the disk is searched
when it ends (tests/running.py, tests/processes.py), so that no test has to think of it.
"""

import asyncio
import base64
import contextlib
import functools
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from arwd import net
from arwd.api.auth import COOKIE
from arwd.logs import Formatter

WORD = "canary7d3e91b4"
"""Letters and digits only: what quotes a text for a URL, for JSON or for HTML leaves it as it is."""
QUERY = f"signature={WORD}"
CAGE = "secrets"
"""The one folder of a state directory that may hold it."""

_END = 64 * 1024
"""Bytes at either end of a large file that are looked at: between them is only what an origin sent, or the ballast."""
_AROUND = 60
_SESSION = re.compile(COOKIE.encode() + rb"=([\w-]{16,})")


def secret(what: str) -> str:
    """A credential of the tests: neither its beginning nor its end is without the word."""
    return f"{WORD}-{what}-{WORD}"


def _forms() -> Iterator[bytes]:
    word = WORD.encode()
    yield from (word, word.upper(), word.hex().encode())
    yield "".join(f"%{byte:02x}" for byte in word).encode()
    yield "".join(f"%{byte:02X}" for byte in word).encode()
    yield "".join(f"\\u{byte:04x}" for byte in word).encode()
    for before in range(3):
        # What stands before and behind it changes the characters at its ends.
        encoded = base64.b64encode(bytes(before) + word)
        yield encoded[(0, 2, 3)[before] : len(encoded) - (0, 3, 2)[(before + len(word)) % 3]]


FORMS = tuple(_forms())
"""The word as it is, and as whatever writes bytes as letters would write it."""


def found_in(where: str, data: bytes, forms: tuple[bytes, ...] = FORMS) -> list[str]:
    """Where in these bytes it is, with what stands around it."""
    places = [(form, data.find(form)) for form in forms if form in data]
    return [f"{where}: {data[max(0, at - _AROUND) : at + len(form) + _AROUND]!r}" for form, at in places]


def found_below(folder: Path, forms: tuple[bytes, ...] = FORMS) -> list[str]:
    """Where in the files of this folder it is, in their names as in their bytes; the cage has its modes instead."""
    found = []
    for name, folders, files in os.walk(folder):
        if Path(name) == folder and CAGE in folders:
            folders.remove(CAGE)
            found += _open_cages(folder / CAGE)
        for path in (Path(name) / file for file in files):
            where = str(path.relative_to(folder))
            found += found_in("a file's name", where.encode(errors="surrogateescape"), forms)
            # Some tests put pipes, sockets and links there, and none of them is ours.
            if stat.S_ISREG(path.lstat().st_mode):
                found += found_in(where, _bytes(path), forms)
    return found


def _bytes(path: Path) -> bytes:
    with path.open("rb") as opened:
        size = path.stat().st_size
        if size <= 2 * _END or path.suffix == ".json" or path.name.startswith("arwd.db"):
            return opened.read()
        begin = opened.read(_END)
        opened.seek(size - _END)
        return begin + opened.read()


def _open_cages(cage: Path) -> list[str]:
    files = (path for path in cage.iterdir() if stat.S_ISREG(path.lstat().st_mode))
    wanted = {cage: 0o700} | dict.fromkeys(files, 0o600)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in wanted}
    return [f"{path} has mode {modes[path]:o}" for path in wanted if modes[path] != wanted[path]]


class Overheard:
    """What one daemon lets out, until it is asked."""

    def __init__(self, state_dir: Path) -> None:
        self.answers = bytearray()
        """Every byte that a client of the tests got from it, and what it said on its standard output."""
        self.log = bytearray()
        """What it wrote to its standard error, or would have if it had one of its own."""
        self._state_dir = state_dir

    def assert_no_secret(self) -> None:
        """To be called when the daemon has ended: it let no secret out, nor a session's name but to its owner."""
        answers = bytes(self.answers)
        names = tuple(set(_SESSION.findall(answers)))
        forms = (*FORMS, *names)
        answers = re.sub(rb"(?i)\nset-cookie: *[^\r]*", b"", answers)
        found = [*found_in("an answer", answers, forms), *found_in("the log", bytes(self.log), forms)]
        found += found_below(self._state_dir, forms)
        assert not found, "a secret got out:\n" + "\n".join(found)

    def connector(self, **more: Any) -> aiohttp.TCPConnector:
        """Connections of aiohttp whose answers are heard: heads, bodies and streams, as they come from the socket."""
        connector = aiohttp.TCPConnector(**more)
        connector._factory = functools.partial(_Hearing, asyncio.get_running_loop(), self.answers.extend)
        return connector

    async def connection(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As asyncio.open_connection, but heard."""
        loop = asyncio.get_running_loop()
        reader = _HearingReader(self.answers.extend)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, host, port)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    @contextlib.contextmanager
    def under_the_log(self, secrets: frozenset[str]) -> Iterator[None]:
        """Hear what a daemon of this process says in its log, in the words in which one of its own would.

        `secrets` are those that it knows of.
        """
        handler, root = _Handler(self.log), logging.getLogger()
        handler.setFormatter(Formatter("text", net.redact, secrets, is_journal=False))
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)


class _Hearing(ResponseHandler):
    def __init__(self, loop: asyncio.AbstractEventLoop, hear: Callable[[bytes], None]) -> None:
        super().__init__(loop)
        self._hear = hear

    def data_received(self, data: bytes) -> None:
        self._hear(data)
        super().data_received(data)


class _HearingReader(asyncio.StreamReader):
    def __init__(self, hear: Callable[[bytes], None]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._hear = hear

    def feed_data(self, data: Any) -> None:
        self._hear(data)
        super().feed_data(data)


class _Handler(logging.Handler):
    def __init__(self, log: bytearray) -> None:
        super().__init__(logging.DEBUG)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log += self.format(record).encode(errors="backslashreplace") + b"\n"

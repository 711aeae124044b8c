"""A daemon in a process of its own, seen from outside; and the commands that people run beside it."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from tests import canary
from tests.canary import Overheard
from tests.running import Running

PYTHON = (sys.executable, "-W", "error", "-m")
ARWD = (*PYTHON, "arwd")
CONFIGURATION = 78
"""The status of a start with bad settings."""

SETTINGS = {"ARWD_RESERVE": "0", "ARWD_RETRY_PAUSE": "0.01", "ARWD_LOG_LEVEL": "debug"}
"""What every daemon of the tests is told. It says all that it can say: in that, too, there may be no secret."""

_PIPE = asyncio.subprocess.PIPE
_ADDRESS = re.compile(r"open (http://[^ ]+)/ in a browser")
_DEADLINE = 20.0
"""Seconds after which a process that should have ended is taken for hung."""


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said."""

    status: int
    output: str
    errors: str


class Stillborn(AssertionError):
    """A daemon that ended before it said where it is."""


class Process(Protocol):
    """A process as seen by its parent: asyncio's, or one out of the nursery."""

    stdout: asyncio.StreamReader | None
    stderr: asyncio.StreamReader | None

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def send_signal(self, signal: int) -> None: ...
    async def wait(self) -> int: ...


class Child(Running):
    """A running daemon whose inside nobody can reach: only its socket, its signals, its output and its files."""

    def __init__(self, process: Process, state_dir: Path, session: aiohttp.ClientSession, overheard: Overheard) -> None:
        self.process = process
        self.state_dir = state_dir
        self.session = session
        self.url = ""
        self.overheard = overheard
        self.log = overheard.log
        self.may_stumble = False
        """May it have logged where it was surprised? Only one whose disk refuses."""
        assert process.stderr is not None
        self._reading: asyncio.Future[object] = asyncio.create_task(_read(process.stderr, self.log))

    @property
    def models(self) -> Path:
        return self.state_dir / "models"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def announced(self) -> None:
        """Return when the daemon has said where it is."""
        assert self.process.stdout is not None
        async with asyncio.timeout(_DEADLINE):
            line = (await self.process.stdout.readline()).decode()
        self.overheard.answers += line.encode()
        address = _ADDRESS.search(line)
        if address is None:
            await self.stop(signal.SIGKILL)
            self.overheard.assert_no_secret()
            raise Stillborn(line + self.log.decode())
        self.url = address[1]
        self._reading = asyncio.gather(self._reading, _read(self.process.stdout, self.overheard.answers))

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status: negative if a signal ended it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """The exit status, once there is one and the log is read."""
        async with asyncio.timeout(_DEADLINE):
            await asyncio.shield(self._reading)
            return await self.process.wait()


async def _read(stream: asyncio.StreamReader, into: bytearray) -> None:
    while data := await stream.read(65_536):
        into += data


@contextlib.asynccontextmanager
async def child(
    state_dir: Path,
    *arguments: str,
    before: tuple[str, ...] = ARWD,
    environ: Mapping[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Child]:
    """`arwd serve` on port 0, stopped at the end. `before` is what starts the command `arwd`."""
    process = await asyncio.create_subprocess_exec(
        *before,
        *("serve", "--port", "0", "--state-dir", str(state_dir), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=_PIPE,
        stderr=_PIPE,
        env=surroundings(state_dir.parent, {**SETTINGS, **(environ or {})}),
        pass_fds=pass_fds,
    )
    async with attended(process, state_dir, headers) as running:
        yield running


@contextlib.asynccontextmanager
async def attended(process: Process, state_dir: Path, headers: Mapping[str, str] | None = None) -> AsyncIterator[Child]:
    """The daemon that this process is, stopped at the end; then it is seen to have let no secret out."""
    overheard = Overheard(state_dir)
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=30), headers=headers, connector=overheard.connector()
    ) as session:
        running = Child(process, state_dir, session, overheard)
        try:
            await running.announced()
            yield running
            if process.returncode is None:
                assert await running.stop() == 0, running.log.decode()
            assert running.may_stumble or b"Traceback" not in running.log, running.log.decode()
        finally:
            await running.stop(signal.SIGKILL)
    overheard.assert_no_secret()


async def run(*command: str, environ: Mapping[str, str] | None = None, home: Path | None = None) -> Ended:
    """A command that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=_PIPE,
        stderr=_PIPE,
        env=surroundings(home, environ or {}),
    )
    try:
        async with asyncio.timeout(_DEADLINE):
            output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode is not None
    found = canary.found_in("its output", output) + canary.found_in("its errors", complaints)
    assert not found, f"a secret got out: {found}"
    return Ended(process.returncode, output.decode(), complaints.decode())


async def assert_refused(
    home: Path, words: tuple[str, ...], *arguments: str, environ: Mapping[str, str] | None = None
) -> None:
    """A start with these settings ends before anything is begun, with one sentence that holds these words."""
    state = home / "state"
    serve = (*ARWD, "serve", "--port", "0", "--state-dir", str(state), *arguments)
    ended = await run(*serve, environ=environ, home=home)
    assert ended.status == CONFIGURATION, ended.errors
    assert ended.errors.startswith("arwd: ")
    assert ended.errors.count("\n") == 1
    for word in words:
        assert word in ended.errors
    assert not state.exists()


async def comes_true(question: Callable[[], bool]) -> None:
    """Return when the answer is yes; for what no event tells, such as the control file that is removed last."""
    async with asyncio.timeout(_DEADLINE):
        while not question():
            await asyncio.sleep(0.01)


def surroundings(home: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: ours, but for the settings that this machine's user or its systemd may have made."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID")
        and not name.endswith("_DIRECTORY")
        and not name.startswith(("ARWD_", "ARW_", "HF_"))
    }
    if home is not None:
        inherited |= {"XDG_CONFIG_HOME": str(home / "config"), "XDG_STATE_HOME": str(home / "default-state")}
    return inherited | environ


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]

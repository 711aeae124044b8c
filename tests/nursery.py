"""Daemons that start in a tenth of the time: each is forked from a process that has imported everything already.

They are real processes: their threads, descriptors, locks and deaths are their own. What is to go wrong in one is
told with its order (tests/faults.py); an ordinary child (tests/processes.py) is the same without faults.
"""

import asyncio
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests import faults, haste, processes
from tests.processes import Child

_ROOT = Path(__file__).parent.parent
_LONGEST = 65_536
"""Bytes of an order."""
_NEEDED = (
    *("arwd.daemon", "arwd.server"),
    # What these import only at their first request or stream.
    *("anyio._backends._asyncio", "concurrent.futures.thread", "importlib.readers", "uvicorn.lifespan.off", "zipfile"),
)
"""What a daemon imports in its life."""


class Born:
    """One forked process, with the face of an asyncio subprocess."""

    def __init__(self, pid: int, streams: list[asyncio.StreamReader]) -> None:
        self.pid = pid
        self.stdout, self.stderr, self._end = streams
        self.returncode: int | None = None

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        # A second reader would steal the status from the first.
        said = await self._end.read()
        if self.returncode is None:
            self.returncode = int(said) if said else -signal.SIGKILL
        return self.returncode


class Nursery:
    """The process from which children are forked."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = processes.surroundings(None, {})
        environ = {name: value for name, value in environ.items() if not name.startswith("COVERAGE_")}
        with theirs:
            self._process = subprocess.Popen(
                [*processes.PYTHON, "tests.nursery", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                cwd=_ROOT,
                env=environ,
            )

    def close(self) -> None:
        """Whoever still lives is killed."""
        self._orders.close()
        self._process.wait(10)

    @contextlib.asynccontextmanager
    async def child(
        self,
        state_dir: Path,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> AsyncIterator[Child]:
        """As processes.child; `more` are the arguments of `fork`."""
        born = await self.fork(state_dir, *arguments, environ=environ, **more)
        async with processes.attended(born, state_dir, headers) as running:
            yield running

    async def fork(
        self,
        state_dir: Path,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        is_hurried: bool = True,
        listening: socket.socket | None = None,
        **planned: Any,
    ) -> Born:
        """The bare process of such a child, for those who have something to do before it says where it is.

        `listening` is passed to it as a service manager would; `planned` is what is to go wrong: the arguments of
        faults.plan.
        """
        command = ["serve", "--port", "0", "--state-dir", str(state_dir), *arguments]
        settings = processes.surroundings(state_dir.parent, {**processes.SETTINGS, **(environ or {})})
        order = {"command": command, "environ": settings, "planned": planned, "is_hurried": is_hurried}
        kept = [] if listening is None else [listening.fileno()]
        pipes = [os.pipe() for _ in range(3)]
        try:
            socket.send_fds(self._orders, [json.dumps(order).encode()], [*(theirs for _, theirs in pipes), *kept])
            # It only forks: there is nothing else to be done meanwhile.
            pid = int(self._orders.recv(64))
        finally:
            for _, theirs in pipes:
                os.close(theirs)
        return Born(pid, [await _reader(ours) for ours, _ in pipes])


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(descriptor, "rb", buffering=0)  # the loop closes it at its end
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


@contextlib.contextmanager
def opened() -> Iterator[Nursery]:
    nursery = Nursery()
    try:
        yield nursery
    finally:
        nursery.close()


def _nurse(orders: socket.socket) -> None:
    """Fork for every order, tell of every end, until there are no more orders."""
    for name in _NEEDED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what all have in common need not be looked through, and so copied, by each
    ends: dict[int, tuple[int, int]] = {}  # pidfd -> pid, where its end is told
    with selectors.DefaultSelector() as waiting:
        waiting.register(orders, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not orders:
                    pid, told = ends.pop(key.fd)
                    os.write(told, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
                    waiting.unregister(key.fd)
                    os.close(told)
                    os.close(key.fd)
                    continue
                order, descriptors, _, _ = socket.recv_fds(orders, _LONGEST, 4)
                if not order:
                    for pid, _ in ends.values():
                        os.kill(pid, signal.SIGKILL)
                    return
                pid = os.fork()
                if not pid:
                    inherited = [orders.fileno(), descriptors[2], *ends, *(told for _, told in ends.values())]
                    _live(json.loads(order), descriptors[:2], descriptors[3:], inherited)
                for descriptor in (*descriptors[:2], *descriptors[3:]):
                    os.close(descriptor)
                ends[pidfd := os.pidfd_open(pid)] = (pid, descriptors[2])
                waiting.register(pidfd, selectors.EVENT_READ)
                orders.send(str(pid).encode())


def _live(order: dict[str, Any], output: list[int], kept: list[int], inherited: list[int]) -> None:
    """The life of a child: never returns."""
    status = 1
    try:
        for descriptor in inherited:
            os.close(descriptor)
        for number, descriptor in enumerate(output, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(order["environ"])
        for descriptor in kept:
            # systemd's way: from descriptor 3 on, for the process of this number.
            os.dup2(descriptor, 3)
            if descriptor != 3:
                os.close(descriptor)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="arwd.socket")
        if order["is_hurried"]:
            haste.hurry()
        status = faults.run(order["command"], **order["planned"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as orders_of_a_test:
        _nurse(orders_of_a_test)

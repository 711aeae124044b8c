"""What a service manager gives and hears: a socket that is open already, readiness, the watchdog, the stop."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arwd import server
from tests import processes

# As systemd does it: the sockets begin at descriptor 3, and LISTEN_PID names the process that may take them.
PASSES_A_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="arwd.socket")
os.execv(sys.executable, [sys.executable, "-W", "error", "-m", "arwd", *sys.argv[2:]])
"""


class Manager:
    """The socket on which a service manager listens to its services."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.heard: list[str] = []

    @property
    def address(self) -> str:
        return "@" + self.channel.getsockname()[1:].decode()

    async def hears(self, state: str, count: int = 1) -> None:
        """Return when this was said so often."""
        async with asyncio.timeout(10):
            while self.heard.count(state) < count:
                said = await asyncio.get_running_loop().sock_recv(self.channel, 4096)
                self.heard += said.decode().split("\n")


@pytest.fixture
def manager() -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("")  # Linux picks an abstract name
        channel.setblocking(False)
        yield Manager(channel)


async def test_the_manager_hears_of_readiness_and_of_the_stop(tmp_path: Path, manager: Manager) -> None:
    async with processes.child(tmp_path / "state", environ={"NOTIFY_SOCKET": manager.address}) as daemon:
        await manager.hears("READY=1")
        assert (await daemon.call("GET", "/readyz"))[0] == 200
        assert f"STATUS=Serving {daemon.url}/" in manager.heard
        assert "STOPPING=1" not in manager.heard
        assert await daemon.stop() == 0
        await manager.hears("STOPPING=1")
        (extension,) = (said for said in manager.heard if said.startswith("EXTEND_TIMEOUT_USEC="))
        assert int(extension.partition("=")[2]) == server._LAST_RESORT * 1_000_000
    assert "WATCHDOG=1" not in manager.heard


async def test_the_watchdog_is_fed_twice_as_often_as_it_asks(tmp_path: Path, manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"}
    async with processes.child(tmp_path / "state", environ=environ) as daemon:
        await manager.hears("WATCHDOG=1")
        begin = time.monotonic()
        await manager.hears("WATCHDOG=1", 3)
        assert time.monotonic() - begin < 0.8
        assert await daemon.stop() == 0


async def test_a_watchdog_that_watches_another_process_is_not_fed(tmp_path: Path, manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid())}
    async with processes.child(tmp_path / "state", environ=environ) as daemon:
        await manager.hears("READY=1")
        await daemon.stop()
        await manager.hears("STOPPING=1")
    assert "WATCHDOG=1" not in manager.heard


@pytest.mark.needs("curl")
async def test_a_socket_that_is_open_already_is_served_and_loses_no_client(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        # This one knocks before there is a daemon, and waits.
        early = asyncio.create_task(processes.run("curl", "-sS", f"{address}/healthz"))
        before = (sys.executable, "-c", PASSES_A_SOCKET, str(listening.fileno()))
        descriptors = (listening.fileno(),)
        async with processes.child(tmp_path / "state", before=before, pass_fds=descriptors) as daemon:
            assert daemon.url == address
            assert (await early).output == '{"ok":true}'
            assert (await daemon.call("GET", "/healthz")) == (200, {"ok": True})
            assert await daemon.stop() == 0
        # The manager's socket is still open: whoever comes now waits for the next daemon.
        late = asyncio.create_task(processes.run("curl", "-sS", f"{address}/healthz"))
        async with processes.child(tmp_path / "state", before=before, pass_fds=descriptors):
            assert (await late).output == '{"ok":true}'


async def test_a_socket_meant_for_another_process_is_not_taken(tmp_path: Path) -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    async with processes.child(tmp_path / "state", environ=environ) as daemon:
        assert (await daemon.call("GET", "/healthz")) == (200, {"ok": True})


async def test_an_open_socket_that_others_can_reach_needs_a_token(tmp_path: Path) -> None:
    # Bound to every address, but nobody can come: it does not listen before the daemon makes it.
    with socket.socket() as bound:
        bound.bind(("0.0.0.0", 0))
        ended = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PASSES_A_SOCKET, str(bound.fileno()), "serve", "--state-dir", str(tmp_path / "s")),
            stderr=asyncio.subprocess.PIPE,
            env=processes.surroundings(tmp_path, {}),
            pass_fds=(bound.fileno(),),
        )
        _, complaint = await ended.communicate()
    assert ended.returncode == 78
    assert b"token_file" in complaint


async def test_interrupting_it_at_a_terminal_is_a_stop_like_any_other(tmp_path: Path) -> None:
    async with processes.child(tmp_path / "state") as daemon, daemon.events() as stream:
        assert await daemon.stop(signal.SIGINT) == 0
        assert (await stream.rest())[-1].event == "Service.Stop"

"""The service manager's side, over a real datagram socket of this test."""

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from arwd import systemd


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        yield listening


def test_a_state_reaches_the_manager_by_path(manager: socket.socket, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    manager.bind(address)
    assert systemd.notify("READY=1\nSTATUS=läuft", {"NOTIFY_SOCKET": address})
    assert manager.recv(1024).decode() == "READY=1\nSTATUS=läuft"


def test_a_state_reaches_the_manager_by_an_abstract_name(manager: socket.socket) -> None:
    name = f"arwd-test-{secrets.token_hex(8)}"
    manager.bind("\0" + name)
    assert systemd.notify("WATCHDOG=1", {"NOTIFY_SOCKET": "@" + name})
    assert manager.recv(1024) == b"WATCHDOG=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}])
def test_without_a_manager_nobody_is_told(environ: dict[str, str]) -> None:
    assert not systemd.notify("READY=1", environ)


def test_a_manager_that_does_not_listen_is_no_error(tmp_path: Path) -> None:
    assert not systemd.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert not systemd.notify("READY=1", {"NOTIFY_SOCKET": "/" + "x" * 200})


@pytest.mark.parametrize(
    ("environ", "period"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "x"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_the_manager_asks(environ: dict[str, str], period: float | None) -> None:
    assert systemd.watchdog_period(environ) == period


@pytest.mark.parametrize(
    "passed",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1)},
        {"LISTEN_FDS": "", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "-1", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "one", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "²", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_no_socket_is_taken_that_was_not_meant_for_us_and_no_child_takes_one_either(passed: dict[str, str]) -> None:
    environ = {**passed, "LISTEN_FDNAMES": "arwd.socket", "HOME": "/"}
    assert systemd.take_sockets(environ) == []
    assert environ == {"HOME": "/"}


def test_the_sockets_that_were_passed_are_taken_and_kept_from_children(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    os.set_inheritable(theirs.fileno(), True)
    monkeypatch.setattr(systemd, "_FIRST_DESCRIPTOR", theirs.detach())
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "arwd.socket"}
    with ours:
        (taken,) = systemd.take_sockets(environ)
        with taken:
            ours.send(b"hello")
            assert taken.recv(16) == b"hello"
            assert not os.get_inheritable(taken.fileno())
    assert environ == {}

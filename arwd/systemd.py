"""The service manager's side: readiness, watchdog, sockets it opened for us (sd_notify(3), sd_listen_fds(3))."""

import asyncio
import os
import socket
from collections.abc import MutableMapping

_FIRST_DESCRIPTOR = 3


def notify(state: str, environ: MutableMapping[str, str] = os.environ) -> bool:
    """Tell the service manager something (`READY=1`, `STATUS=…`). False if there is none, or it does not listen."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # An abstract socket is written with @ and begins with a NUL byte.
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(target)
            channel.sendall(state.encode())
    except OSError:
        return False
    return True


def watchdog_period(environ: MutableMapping[str, str] = os.environ) -> float | None:
    """Seconds between two `WATCHDOG=1`: half of what the manager allows. None if it does not watch us."""
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
        watched = int(environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return microseconds / 2_000_000 if microseconds > 0 and watched == os.getpid() else None


async def feed_watchdog() -> None:
    """From the loop: if the loop hangs, the service manager hears nothing and restarts us."""
    period = watchdog_period()
    while period is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(period)


def take_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets the manager passed; the variables are removed, so that no child takes them for its own."""
    count, owner = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if owner != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return []
    descriptors = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]

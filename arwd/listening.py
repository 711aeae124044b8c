"""The sockets arwd listens on: who may reach them, and under which URLs."""

import errno
import os
import socket
from collections.abc import Mapping
from typing import Final

from arwd.api import auth
from arwd.errors import SettingsError, StartError

_ADVICE: Final[Mapping[int, str]] = {
    errno.EADDRINUSE: " Another program has it; --port (or ARWD_PORT) names another one, --port 0 a free one.",
    errno.EACCES: " Ports below 1024 are for the administrator; --port (or ARWD_PORT) names another one.",
    errno.EADDRNOTAVAIL: " This machine has no such address; --host (or ARWD_HOST) names another one.",
}


def check_exposure(host: str, token: str) -> None:
    """SettingsError unless a token guards an address that others can reach."""
    if not token and not auth.is_loopback(host):
        raise SettingsError(
            f"Listening on {host} would let everyone on the network in. Set a token first: put one in a file and set "
            "token_file (or ARWD_TOKEN_FILE) to its path, or listen on 127.0.0.1."
        )


def addresses(sockets: list[socket.socket]) -> str:
    """The URLs of these sockets."""
    names = []
    for each in sockets:
        if each.family == socket.AF_UNIX:
            names.append(f"unix:{each.getsockname()}")
        else:
            host, port = each.getsockname()[:2]
            if auth.is_wildcard(host):
                host = "::1" if ":" in host else "127.0.0.1"  # what a browser here can open
            names.append(f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/")
    return ", ".join(names)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. StartError says why there is none, SettingsError if the host could never be one."""
    host = host.strip("[]")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except UnicodeError as error:
        raise SettingsError(
            f"The setting host is wrong: {host} has an empty part, one of more than 63 characters, or what no name may "
            "hold. Write an address, such as 127.0.0.1, or 0.0.0.0 for all of them."
        ) from error
    except OSError as error:
        raise StartError(
            f"Cannot listen on {host}: that is no address of this machine, nor a name of one. Set host (--host, "
            "ARWD_HOST) to an address, such as 127.0.0.1, or 0.0.0.0 for all of them."
        ) from error
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "")
        raise StartError(f"Cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}.{advice}") from error

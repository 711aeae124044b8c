"""A pretended internet: names and addresses lead to ports of this machine, every dial is written down.

No packet leaves the machine: an address that leads nowhere gets no socket.
"""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from arwd import net

PUBLIC = "93.184.216.34"
OTHER_PUBLIC = "151.101.1.69"


class Internet(AbstractResolver):
    """What a session sees of the world."""

    def __init__(self) -> None:
        self.dials: list[tuple[str, int]] = []
        """Every address that was let through to be dialled."""
        self.looked_up: list[str] = []
        self.names: dict[str, list[Sequence[str]]] = {
            "public.example": [(PUBLIC,)],
            "other.example": [(OTHER_PUBLIC,)],
            "localhost": [("127.0.0.1", "::1")],
        }
        """The answers for each name in turn, the last one for ever."""
        self.leads_to: dict[str, int] = {}
        """The local port that is reached by an address; for others, the connection is refused."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.looked_up.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self._answer(host.rstrip(".").lower())
        ]

    async def close(self) -> None:
        """There is nothing to close."""

    def make_socket(self, entry: Any) -> socket.socket:
        address, port = entry[4][:2]
        self.dials.append((address, port))
        if address not in self.leads_to:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return _Disguised(address, port, self.leads_to[address])

    def _answer(self, name: str) -> Sequence[str]:
        answers = self.names.get(name)
        if answers is None:
            try:
                # As resolvers do: 127.1 and 0x7f.1 are addresses to them.
                return (socket.inet_ntoa(socket.inet_aton(name)),)
            except OSError:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
        return answers.pop(0) if len(answers) > 1 else answers[0]


class _Disguised(socket.socket):
    """A connection to a local port that looks as if it went to the address."""

    def __init__(self, address: str, port: int, local_port: int) -> None:
        super().__init__(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        self._peer = (address, port)
        self._local_port = local_port

    def connect(self, address: object) -> None:
        super().connect(("::1" if self.family == socket.AF_INET6 else "127.0.0.1", self._local_port))

    def getpeername(self) -> tuple[str, int]:
        return self._peer


def egress(**options: Any) -> net.Egress:
    """What these settings come to."""
    return net.Egress(net.Options(**options), {})


@contextlib.asynccontextmanager
async def session(
    world: Internet, way_out: net.Egress | None = None, *, own: str = "127.0.0.1"
) -> AsyncIterator[net.Session]:
    """A session in this world, of an arwd that listens on `own`."""
    way_out = way_out or egress()
    way_out.policy.listen_on([(str(ipaddress.ip_address(own)), 8090)])
    opened = net.Session(way_out, resolver=world, make_socket=world.make_socket)
    try:
        yield opened
    finally:
        await opened.close()


async def fetch(opened: net.Session, url: str, headers: dict[str, str] | None = None) -> bytes:
    """The body of the final response."""
    async with opened.get(url, headers or {}) as response:
        return await response.read()

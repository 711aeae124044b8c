"""The way out: the one session, who may be dialled, redirects, and what of a URL may be shown."""

import asyncio
import contextlib
import errno
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec
from yarl import URL

from arwd import __version__, errors

MAX_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# Signed URLs make long Location headers; aiohttp's 8,190 bytes refuse them.
_MAX_HEAD_LINE: Final = 65_536

_ALWAYS_DENIED: Final = tuple(
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8",  # unspecified: reaches this machine on Linux
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "168.63.129.16/32",  # Azure's host
        "100.100.100.200/32",  # Alibaba's metadata
        "192.0.0.192/32",  # Oracle's metadata
        "224.0.0.0/3",  # multicast and reserved
        "::/128",
        "fe80::/10",
        "fd00:ec2::254/128",  # Amazon's metadata over IPv6
        "ff00::/8",
    )
)
_EMBEDS_IPV4: Final = {  # network -> how far the IPv4 address lies from the right end, in bits
    ipaddress.ip_network("::ffff:0:0/96"): 0,
    ipaddress.ip_network("64:ff9b::/96"): 0,
    ipaddress.ip_network("2002::/16"): 80,
}
_QUERY = re.compile(r"(?i)\b(https?://[^\s\"<>?#]*)[?#][^\s\"<>]*")
_USERINFO = re.compile(r"(?i)\b(https?://)[^\s/\"<>]*@")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How arwd reaches the outside."""

    connect_timeout: float = 15.0
    """Seconds until a connection must stand."""
    stall_timeout: float = 60.0
    """Seconds without a byte after which a transfer counts as stalled."""


class AddressPolicy:
    """Who may be dialled. Judged at the dial itself: no name, literal or redirect gets past it (DNS rebinding)."""

    def __init__(self) -> None:
        self.own: frozenset[tuple[str, int]] = frozenset()
        """Our own listening addresses: a download from ourselves would be a loop."""

    def allows(self, host: str, port: int) -> bool:
        """May this literal address be dialled?"""
        address = _unwrap(ipaddress.ip_address(host.partition("%")[0]))
        if (str(address), port) in self.own or (address.is_loopback and port in self._wildcard_ports()):
            return False
        return not any(address.version == block.version and address in block for block in _ALWAYS_DENIED)

    def _wildcard_ports(self) -> set[int]:
        return {port for host, port in self.own if ipaddress.ip_address(host).is_unspecified}

    def socket(self, address: Any) -> socket.socket:
        """A socket for `getaddrinfo`'s entry; PermissionError (so that the next address is tried) if denied."""
        family, kind, protocol, _, target = address
        if not self.allows(target[0], target[1]):
            raise PermissionError(errno.EACCES, f"the address policy forbids {target[0]}", target[0])
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


def _unwrap(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    for block, shift in _EMBEDS_IPV4.items():
        if address.version == 6 and address in block:
            return ipaddress.IPv4Address(int(address) >> shift & 0xFFFF_FFFF)
    return address


def open_session(options: Options, policy: AddressPolicy) -> aiohttp.ClientSession:
    """The session that every source and transfer shares. No cookies, no proxy, no total time-out, no decoding."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(socket_factory=policy.socket, limit=0, ttl_dns_cache=10),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        requote_redirect_url=False,
        max_line_size=_MAX_HEAD_LINE,
        max_field_size=_MAX_HEAD_LINE,
        read_bufsize=2**19,
        headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"arwd/{__version__}"},
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=options.connect_timeout, sock_read=options.stall_timeout
        ),
    )


@contextlib.asynccontextmanager
async def get(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]
) -> AsyncIterator[aiohttp.ClientResponse]:
    """One GET, its redirects followed by us: at most 5 hops, never from https to http, no secret carried along."""
    for _ in range(MAX_REDIRECTS + 1):
        with translate_errors(url):
            # encoded=True keeps the URL byte for byte: re-quoting breaks signatures.
            response = await session.get(URL(url, encoded=True), headers=headers, allow_redirects=False)
        try:
            if response.status not in REDIRECTS:
                yield response
                return
            url = _next_hop(url, response.headers.get("Location"))
        finally:
            response.close()
    raise errors.TooManyRedirects(f"{redact(url)}: more than {MAX_REDIRECTS} redirects")


@contextlib.contextmanager
def paused(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Take nothing from the socket meanwhile.

    aiohttp drops what it has buffered of a body when the connection breaks; what still waits in the socket is kept.
    Also, a slow disk must not count as a stalled peer.
    """
    protocol = None if response.connection is None else response.connection.protocol
    if protocol is not None:
        protocol.pause_reading()
    try:
        yield
    finally:
        if protocol is not None and protocol.connected:
            protocol.resume_reading()


def _next_hop(url: str, location: str | None) -> str:
    if not location or not _VISIBLE.fullmatch(location):
        raise errors.BadRedirect(f"{redact(url)} redirects without a usable Location")
    try:
        target = str(URL(url, encoded=True).join(URL(location, encoded=True)))
        refusal = fault_in(target)
    except ValueError as error:
        raise errors.BadRedirect(f"{redact(url)} redirects to something that is not a URL") from error
    if refusal is not None:
        raise errors.BadRedirect(f"{redact(url)} redirects to {redact(target)}: {refusal}") from refusal
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise errors.BadRedirect(f"{redact(url)} redirects from https to http; that is refused")
    return target


def fault_in(url: str) -> errors.RequestError | None:
    """Why this URL cannot be fetched, or None if it can."""
    if not _VISIBLE.fullmatch(url):
        return errors.InvalidField("url may hold visible ASCII only; percent-encode the rest.")
    if set(url) & set('"<>'):
        return errors.InvalidField("url may not hold quotes or angle brackets; percent-encode them.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        URL(url, encoded=True)
    except ValueError as error:
        return errors.InvalidField(f"url is malformed: {error}.")
    if parts.scheme.lower() not in ("http", "https"):
        return errors.InvalidUrlScheme()
    if "@" in parts.netloc:
        return errors.CredentialsInUrl("url must not carry a user name or password.")
    return None if host else errors.InvalidField("url names no host.")


def redact(text: str) -> str:
    """The text with every URL in it cut down to scheme, host and path: queries and userinfo are secrets."""
    return _USERINFO.sub(r"\1", _QUERY.sub(r"\1", text))


def shown(url: str) -> str:
    """The URL as it may be shown and compared: no query, no fragment, no userinfo."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower(), parts.path, "", ""))


@contextlib.contextmanager
def translate_errors(url: str) -> Iterator[None]:
    """Turn what aiohttp raises into a TransferError of ours, with its cause and without secrets."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError, UnicodeError) as error:
        raise _translated(error, redact(url)) from error


def _translated(error: Exception, url: str) -> errors.TransferError:
    match error:
        case aiohttp.ClientConnectorDNSError() | UnicodeError():
            return errors.Dns(f"{url}: no such host")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return errors.Tls(f"{url}: {_reason(error)}")
        case aiohttp.ClientConnectorError(os_error=PermissionError()):
            return errors.BlockedAddress(f"{url}: the address policy forbids this address")
        case aiohttp.ConnectionTimeoutError():
            return errors.Connect(f"{url}: no connection in time")
        case aiohttp.ClientConnectorError():
            return errors.Connect(f"{url}: {_reason(error.os_error)}")
        case aiohttp.InvalidURL():
            return errors.InvalidResponse(f"{url}: not a usable URL")
        case aiohttp.ClientPayloadError() if not isinstance(error.__cause__, OSError):
            return errors.Truncated(f"{url}: the body ended before its declared end")
        case aiohttp.ClientResponseError():
            # Not what aiohttp says of it: that quotes the server, and a server may quote our request with its query.
            return errors.InvalidResponse(f"{url}: what the server sent is not valid HTTP")
        case TimeoutError():
            return errors.Stalled(f"{url}: nothing received for the stall time-out")
        case _:
            return errors.Reset(f"{url}: the connection was lost")


def _reason(error: BaseException) -> str:
    return redact(getattr(error, "strerror", None) or str(error))

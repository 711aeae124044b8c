"""Who may call what, from which page. PURE tables and rules; `gate.py` applies them to every request."""

import collections
import hashlib
import hmac
import ipaddress
import math
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from arwd import net, tokens
from arwd.errors import SettingsError

COOKIE: Final = "arwd_session"
SESSION_SECONDS: Final = 12 * 3600
MAX_FAILURES: Final = 10
"""Wrong credentials from one address within FAILURE_WINDOW."""
FAILURE_WINDOW: Final = 60.0

_ORIGIN: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?", re.ASCII
)
"""As browsers serialise it (RFC 6454 §6.2)."""
_GOES_WITHOUT_SAYING: Final[Mapping[str, str]] = {"https": ":443", "http": ":80"}
_MAX_ADDRESSES: Final = 4_096
"""Addresses remembered for their failures; then the oldest is forgotten."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""They never change anything."""
PUBLIC_PATHS: Final = frozenset(
    {"/", "/healthz", "/readyz", "/version", "/openapi.json", "/asyncapi.json", "/login", "/favicon.ico"}
)
PUBLIC_PREFIXES: Final = ("/static/",)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may call."""

    token: str = ""
    """What clients must present; empty means that none is needed (on a loopback address only)."""
    token_file: str = ""
    """A file that holds the token; better than `token`, which the environment or a settings file shows."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names under which arwd may be addressed, each with or without a port."""
    allowed_origins: tuple[str, ...] = ()
    """Further web origins whose pages may call arwd, such as `https://dash.example`."""

    def secret(self) -> str:
        """The token, from wherever it was set, or nothing. SettingsError, which does not show it, if it is none."""
        if not self.token_file:
            if self.token and not tokens.is_token(self.token):
                raise SettingsError("The setting token is wrong: a token is one word of visible ASCII.")
            return self.token
        return tokens.token_in("token_file", Path(self.token_file).expanduser(), may_be_open=True)

    def check(self) -> None:
        """SettingsError says what could never match, and what to write instead."""
        for host in self.allowed_hosts:
            name, port = split_host(host) or ("", None)
            if not (name.isascii() and all(name.split("."))) or "*" in name or port == 0:
                raise SettingsError(
                    f"The setting allowed_hosts is wrong: {host.rpartition('@')[2]} is no host. Write what stands "
                    "between // and the next slash in a browser, such as models.example or models.example:8443."
                )
        for origin in self.allowed_origins:
            match = _ORIGIN.fullmatch(origin)
            usual = _GOES_WITHOUT_SAYING.get(origin.partition(":")[0], "/")
            if match is None or int(match["port"] or 0) > 65_535 or origin.endswith(usual):
                raise SettingsError(
                    f"The setting allowed_origins is wrong: {net.redact(origin)} is no web origin. Write scheme, host "
                    "and port as browsers send them, in lower case and without a slash at the end, such as "
                    "https://dash.example."
                )


def is_loopback(host: str) -> bool:
    """Does this bind address reach this machine only?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def is_wildcard(host: str) -> bool:
    """Does this bind address stand for all of them?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return not host


def is_public(path: str) -> bool:
    """May this path be read without a token?"""
    path = path.removeprefix("/admin") or "/"
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)


def split_host(header: str) -> tuple[str, int | None] | None:
    """Host name, lower case, and port of a Host header; None if it is malformed."""
    if any(character in header for character in "@/\\?#, \t"):
        return None
    try:
        parts = urlsplit(f"//{header}")
        port = parts.port
    except ValueError:
        return None
    after = header.rpartition("]")[2]
    if not parts.hostname or header.endswith(":") or ("]" in header and after and not after.startswith(":")):
        return None
    return parts.hostname, port


def allows_host(header: str, *, own_port: int, bind_hosts: tuple[str, ...], allowed: tuple[str, ...]) -> bool:
    """Is this a name of ours (DNS rebinding)? A port, if given, must be the one that goes with the name."""
    given = split_host(header)
    if given is None:
        return False
    host, port = given
    own = {"localhost", "127.0.0.1", "::1"}
    own |= {each.strip("[]").lower() for each in bind_hosts if not is_wildcard(each)}
    if host in own and port in (None, own_port):
        return True
    return any(
        entry is not None and entry[0] == host and (entry[1] is None or entry[1] == port)
        for entry in map(split_host, allowed)
    )


def allows_page(headers: Mapping[str, str], *, own_origins: tuple[str, ...], allowed: tuple[str, ...]) -> bool:
    """May the page that sent this request change something? Requests without a page always may."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None:
        return origin in own_origins or origin in allowed
    return site in (None, "same-origin", "none")


def allows_reading(origin: str, *, own_origins: tuple[str, ...], allowed: tuple[str, ...], has_token: bool) -> bool:
    """May a page of this origin read our answers (CORS)?"""
    if origin in own_origins or origin in allowed:
        return True
    try:
        parts = urlsplit(origin)
        return not has_token and parts.scheme in ("http", "https") and is_loopback(parts.hostname or "")
    except ValueError:
        return False


class Keeper:
    """The token, the sessions opened with it, and how often each address was wrong."""

    def __init__(self, token: str, clock: Callable[[], float]) -> None:
        self._digest = _digest(token.encode()) if token else None
        self._clock = clock
        self._sessions: dict[str, float] = {}
        self._failures: dict[str, collections.deque[float]] = {}

    @property
    def has_token(self) -> bool:
        """Is a token needed at all?"""
        return self._digest is not None

    def is_right(self, token: bytes) -> bool:
        """Is this the token? In constant time."""
        return self._digest is not None and hmac.compare_digest(_digest(token), self._digest)

    def locked_for(self, address: str) -> int:
        """Seconds until this address may try again; 0 if it may now."""
        failures = self._failures.get(address)
        if failures is None:
            return 0
        while failures and failures[0] <= self._clock() - FAILURE_WINDOW:
            failures.popleft()
        if not failures:
            del self._failures[address]
            return 0
        return math.ceil(failures[0] + FAILURE_WINDOW - self._clock()) if len(failures) >= MAX_FAILURES else 0

    def note_failure(self, address: str) -> None:
        """This address presented a wrong credential."""
        if len(self._failures) >= _MAX_ADDRESSES:
            del self._failures[next(iter(self._failures))]
        self._failures.setdefault(address, collections.deque(maxlen=MAX_FAILURES)).append(self._clock())

    def open_session(self) -> str:
        """A new session's name: random, unrelated to the token."""
        now = self._clock()
        self._sessions = {name: end for name, end in self._sessions.items() if end > now}
        name = secrets.token_urlsafe(32)
        self._sessions[name] = now + SESSION_SECONDS
        return name

    def knows_session(self, name: str) -> bool:
        """Is this session open?"""
        return self._sessions.get(name, 0.0) > self._clock()

    def close_session(self, name: str) -> None:
        """The session is over."""
        self._sessions.pop(name, None)


def _digest(token: bytes) -> bytes:
    # Digests of equal length: neither the length nor non-ASCII bytes of a guess make a difference.
    return hashlib.sha256(token).digest()

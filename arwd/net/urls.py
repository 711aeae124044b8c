"""What can be fetched, and where a redirect leads. PURE."""

import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from yarl import URL

from arwd import errors

_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_IN_URLS: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"<>')
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_NUMBER: Final = re.compile(r"(?i)[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Who is spoken to. Two are the same only if all three are."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """As it is written, without the port that goes without saying."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if _DEFAULT_PORTS[self.scheme] == self.port else f":{self.port}")


def origin_of(url: str) -> Origin:
    """The origin of a URL that `fault_in` finds nothing wrong with."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return Origin(scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[scheme])


def fault_in(url: str) -> errors.RequestError | None:
    """Why this URL cannot be fetched, or None if it can. The sentence quotes nothing of the URL."""
    if not _VISIBLE.fullmatch(url):
        return errors.InvalidField("url may hold visible ASCII only; percent-encode the rest.")
    if set(url) & set('"<>'):
        return errors.InvalidField("url may not hold quotes or angle brackets; percent-encode them.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        URL(url, encoded=True)
    except ValueError:
        return errors.InvalidField("url is malformed: its host or its port cannot be read.")
    if parts.scheme.lower() not in _DEFAULT_PORTS:
        return errors.InvalidUrlScheme()
    if "@" in parts.netloc:
        return errors.CredentialsInUrl("url must not carry a user name or password.")
    if port == 0:
        return errors.InvalidField("url names port 0, where nobody listens.")
    return _fault_in_host(host, is_bracketed="[" in parts.netloc)


def literal(host: str) -> str | None:
    """The address that a host is by itself, without being looked up: as a literal, or as `localhost`."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def next_hop(url: str, name: str, locations: list[str]) -> str:
    """Where a redirect from `url` leads. BadRedirect calls it `name` and quotes nothing of the server's, who may
    repeat our query.
    """
    location = _encoded(locations[0]) if len(set(locations)) == 1 else ""
    if not _VISIBLE.fullmatch(location):
        raise errors.BadRedirect(f"{name} redirects without one usable Location")
    try:
        target = str(URL(url, encoded=True).join(URL(location, encoded=True)))
        refusal = fault_in(target)
    except ValueError as error:
        raise errors.BadRedirect(f"{name} redirects to something that is not a URL") from error
    if refusal is not None:
        raise errors.BadRedirect(f"{name} redirects to where arwd does not go: {refusal}") from refusal
    if urlsplit(url).scheme.lower() == "https" and urlsplit(target).scheme.lower() != "https":
        raise errors.BadRedirect(f"{name} redirects from https to http; that is refused")
    return target


def _encoded(location: str) -> str:
    """As browsers take it: what no URL may hold and many servers send all the same is percent-encoded. A control
    character is no slip of that kind: it stays.
    """
    if _CONTROL.search(location):
        return location
    return quote(location.strip(" ").encode("utf-8", "surrogateescape"), safe=_IN_URLS)


def _fault_in_host(host: str | None, *, is_bracketed: bool) -> errors.InvalidField | None:
    if not host:
        return errors.InvalidField("url names no host.")
    if is_bracketed:
        return errors.InvalidField("url may not name a zone in its address.") if "%" in host else None
    if not _NAME.fullmatch(host):
        return errors.InvalidField("url's host may hold letters, digits, dots and hyphens only; write others as xn--.")
    # What ends in a number is an address to every resolver, in whatever base and with however many parts.
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) and literal(host) is None:
        return errors.InvalidField("url spells its address in an unusual way; write four numbers, as in 127.0.0.1.")
    return None

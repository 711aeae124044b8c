"""Through whom arwd reaches the outside, if not by itself. A proxy's password is a secret."""

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from arwd.errors import SettingsError
from arwd.net import addresses
from arwd.net.urls import origin_of

ENVIRONMENT: Final = "environment"
_URL: Final = re.compile(r"(?i)https?://[^\s/?#]+/?")
_WITH_PORT: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]+):(?P<port>\d{1,5})", re.ASCII)
_PREFIX: Final = re.compile(r"(?:\d{1,3}\.){1,3}\*?", re.ASCII)
"""The beginning of an IPv4 address, as older programs take it."""
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


class Proxy:
    """One proxy. Its representation does not show its password."""

    def __init__(self, text: str, where: str) -> None:
        """SettingsError names `where` it was set, and not what: that may hold a password."""
        if "://" not in text and where != "proxy":
            text = f"http://{text}"  # as every reader of these variables takes it
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if (
            not host
            or port == 0
            or not all(host.rstrip(".").split("."))
            or not _VISIBLE.fullmatch(text)
            or not _URL.fullmatch(text)
        ):
            raise SettingsError(
                f"The setting proxy is wrong (from {where}): it must be http://[user:password@]host:port, https:// "
                f"alike, or {ENVIRONMENT}. Other kinds of proxy are not supported."
            )
        scheme = parts.scheme.lower()
        name = f"[{host}]" if ":" in host else host
        self.url = f"{scheme}://{name}:{port or (443 if scheme == 'https' else 80)}"
        self.headers: dict[str, str] = {}
        self.secrets: frozenset[str] = frozenset()
        userinfo = parts.netloc.rpartition("@")[0]
        if userinfo:
            user, _, password = userinfo.partition(":")
            basic = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
            self.headers = {"Proxy-Authorization": f"Basic {basic}"}
            self.secrets = frozenset({password, unquote(password), basic} - {""})


class Proxies:
    """Which proxy a URL goes through."""

    def __init__(self, by_scheme: Mapping[str, Proxy] | None = None, exceptions: str = "") -> None:
        """`exceptions`: as in `NO_PROXY`, names with all that is below them, addresses, networks, or `*`."""
        self._by_scheme = dict(by_scheme or {})
        self._exceptions = [each.lower() for each in re.split(r"[\s,]+", exceptions) if each]

    def of(self, url: str) -> Proxy | None:
        """The proxy for this URL, None if it is reached directly."""
        origin = origin_of(url)
        if any(_matches(each, origin.host, origin.port) for each in self._exceptions):
            return None
        return self._by_scheme.get(origin.scheme)

    @property
    def secrets(self) -> frozenset[str]:
        """What no log line may hold."""
        return frozenset().union(*(proxy.secrets for proxy in self._by_scheme.values()))


def read(setting: str, environ: Mapping[str, str]) -> Proxies:
    """The proxies that were set. SettingsError."""
    if setting != ENVIRONMENT:
        return Proxies({scheme: Proxy(setting, "proxy") for scheme in ("http", "https") if setting})
    found = {}
    for scheme in ("http", "https"):
        # Lower case first: it cannot be set by a header that a CGI server turned into a variable.
        names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
        name = next((name for name in names if environ.get(name)), None)
        if name is not None:
            found[scheme] = Proxy(environ[name], name)
    return Proxies(found, environ.get("no_proxy") or environ.get("NO_PROXY") or "")


def _matches(exception: str, host: str, port: int) -> bool:
    """PURE: does an entry of `NO_PROXY` mean this host?"""
    if exception == "*":
        return True
    if (with_port := _WITH_PORT.fullmatch(exception)) is not None:
        return int(with_port["port"]) == port and _matches(with_port["host"], host, port)
    try:
        address = addresses.parse(host)
    except ValueError:
        name, host = exception.removeprefix("*").strip("."), host.rstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    if _PREFIX.fullmatch(exception):
        return str(address).startswith(exception.removesuffix("*"))
    try:
        network = ipaddress.ip_network(exception.strip("[]"), strict=False)
    except ValueError:
        return False
    if network.num_addresses == 1:
        return address == addresses.parse(str(network.network_address))
    return address.version == network.version and address in network

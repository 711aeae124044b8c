"""Tokens for others. Rule: a token goes to the one origin it was set for, and is looked up anew for every hop."""

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path

from arwd import tokens
from arwd.errors import SettingsError
from arwd.net.urls import Origin, fault_in, literal, origin_of


class Credentials:
    """The tokens, each with its origin. Never shown: it has no representation of its own."""

    def __init__(self, tokens: Mapping[Origin, str]) -> None:
        self._tokens = dict(tokens)

    def headers(self, url: str) -> dict[str, str]:
        """What to say to whoever serves this URL, and to nobody else."""
        token = self._tokens.get(origin_of(url))
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def add(self, origin: Origin, token: str) -> None:
        """One more token. Before anybody was asked anything: the log is told once what it may not hold."""
        self._tokens[origin] = token

    @property
    def secrets(self) -> frozenset[str]:
        """What no log line may hold."""
        return frozenset(self._tokens.values())


def read(setting: Mapping[str, str], kept_by_manager: Iterable[Path]) -> Credentials:
    """The tokens in these files. SettingsError says what is wrong with an origin or a file.

    `kept_by_manager`: directories of the service manager, whose own rules say who may read there.
    """
    trusted = tuple(kept_by_manager)
    found: dict[Origin, str] = {}
    for text, file in setting.items():
        origin = _origin(text)
        if origin in found:
            raise SettingsError(f"The setting credentials names {origin} twice.")
        path = Path(file).expanduser()
        may_be_open = path.parent in trusted
        found[origin] = tokens.token_in(f"credentials for {origin}", path, may_be_open=may_be_open)
    return Credentials(found)


def is_private(origin: Origin) -> bool:
    """Can nobody on the way read what is said to this origin? It is encrypted, or does not leave this machine."""
    # No other name below localhost: who answers for one is up to the resolver.
    address = literal(origin.host) if origin.host in ("localhost", literal(origin.host)) else None
    return origin.scheme == "https" or bool(address and ipaddress.ip_address(address).is_loopback)


def _origin(text: str) -> Origin:
    if fault_in(text) is not None or text.rstrip("/").count("/") != 2 or set(text) & set("?#"):
        raise SettingsError(
            "The setting credentials is wrong: it maps an exact origin, such as https://models.example or "
            "https://models.example:8443, to a file; an entry is something else."
        )
    origin = origin_of(text)
    if not is_private(origin):
        raise SettingsError(
            f"The setting credentials is wrong: {origin} would send its token unencrypted. Use https; http is for this "
            "machine only."
        )
    return origin

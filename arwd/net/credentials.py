"""Tokens for others. Rule: a token goes to the one origin it was set for, and is looked up anew for every hop."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from arwd import fs
from arwd.errors import SettingsError
from arwd.net.urls import Origin, fault_in, literal, origin_of

_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_MOST: Final = 65_536
"""Bytes of a token file: more is no token, and no header would take it."""


class Credentials:
    """The tokens, each with its origin. Never shown: it has no representation of its own."""

    def __init__(self, tokens: Mapping[Origin, str]) -> None:
        self._tokens = dict(tokens)

    def headers(self, url: str) -> dict[str, str]:
        """What to say to whoever serves this URL, and to nobody else."""
        token = self._tokens.get(origin_of(url))
        return {} if token is None else {"Authorization": f"Bearer {token}"}

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
        found[origin] = _token(path, origin, is_guarded=path.parent in trusted)
    return Credentials(found)


def _origin(text: str) -> Origin:
    if fault_in(text) is not None or text.rstrip("/").count("/") != 2 or set(text) & set("?#"):
        raise SettingsError(
            "The setting credentials is wrong: it maps an exact origin, such as https://models.example or "
            "https://models.example:8443, to a file; an entry is something else."
        )
    origin = origin_of(text)
    # No other name below localhost: who answers for one is up to the resolver.
    address = literal(origin.host) if origin.host in ("localhost", literal(origin.host)) else None
    if origin.scheme == "http" and not (address and ipaddress.ip_address(address).is_loopback):
        raise SettingsError(
            f"The setting credentials is wrong: {origin} would send its token unencrypted. Use https; http is for this "
            "machine only."
        )
    return origin


def _token(path: Path, origin: Origin, *, is_guarded: bool) -> str:
    data, status = fs.read_setting(f"credentials for {origin}", path, _MOST, is_secret=True)
    if status.st_mode & 0o077 and not is_guarded:
        raise SettingsError(f"Others can read the token file {path} for {origin}: run chmod 600 {path}")
    token = data.decode("latin-1").strip()
    if not _VISIBLE.fullmatch(token):
        raise SettingsError(f"The token file {path} for {origin} must hold one token of visible ASCII.")
    return token

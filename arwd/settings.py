"""What this process runs with: each room's options, assembled once. A misspelt key is an error that names it.

Order, first one wins: flag, `ARWD_*`, ARW's and the Hub's variables, the TOML file, the service manager's
directories, default.
"""

import difflib
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import platformdirs

from arwd import fs, logs, net
from arwd.api import auth
from arwd.api import events as api_events
from arwd.bus import local
from arwd.errors import SettingsError
from arwd.jobs import scheduler
from arwd.sources import base as sources
from arwd.sources import catalog, hub_links
from arwd.store import layout
from arwd.transfer import engine

PREFIX: Final = "ARWD_"
ALIASES: Final = {
    "ARW_STATE_DIR": "state_dir",
    "ARW_PORT": "port",
    "ARW_ADMIN_TOKEN": "token",
    "HF_ENDPOINT": "hf_endpoint",
}
"""Variables of ARW and of the Hub's own client that mean the same here."""
_OTHER_VARIABLES: Final = frozenset({"ARWD_CONFIG", "ARWD_URL"})
_MOST_BYTES: Final = 1 << 20
"""Of a settings file."""
_MASK: Final = "•••"


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where arwd listens."""

    host: str = "127.0.0.1"
    """The address to listen on; any but a loopback address needs a token."""
    port: int = 8090
    """The port to listen on; 0 picks a free one."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole. Only the daemon and the command line read it."""

    server: Server
    auth: auth.Options
    streams: api_events.Options
    bus: local.Options
    jobs: scheduler.Options
    sources: sources.Options
    transfer: engine.Options
    net: net.Options
    store: layout.Options
    logs: logs.Options

    def shown(self) -> dict[str, Any]:
        """Every setting that has a value, by its name, secrets masked."""
        room_of = keys()
        values = {name: getattr(getattr(self, room), name) for name, (room, _) in room_of.items()}
        return {name: _shown(name, value) for name, value in values.items() if value is not None}


def _shown(name: str, value: Any) -> Any:
    match name:
        case "token" if value:
            return _MASK
        case "proxy":
            return net.redact(value)
        case "credentials":
            return dict.fromkeys(value, _MASK)
    return value


def keys() -> dict[str, tuple[str, Any]]:
    """Every setting's name, with its room and its type."""
    found: dict[str, tuple[str, Any]] = {}
    for room, options in typing.get_type_hints(Settings).items():
        for name, kind in typing.get_type_hints(options).items():
            assert name not in found, f"two rooms have a setting {name}"
            found[name] = (room, kind)
    return found


def load(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Assemble the settings. SettingsError names what is wrong and where it was set."""
    known = keys()
    values: dict[str, Any] = {name: (value, "systemd") for name, value in _from_service_manager(environ).items()}
    path = _config_file(flags, environ)
    if path is not None:
        values |= {name: (value, str(path)) for name, value in _from_file(path).items()}
    values |= {ALIASES[name]: (environ[name], name) for name in ALIASES if environ.get(name)}
    for name in environ:
        if name.startswith(PREFIX) and name not in _OTHER_VARIABLES and environ[name]:
            values[name.removeprefix(PREFIX).lower()] = (environ[name], name)
    values |= {name: (value, f"--{name.replace('_', '-')}") for name, value in flags.items() if value is not None}
    values.pop("config", None)
    rooms: dict[str, dict[str, Any]] = {room: {} for room in typing.get_type_hints(Settings)}
    for name, (value, where) in values.items():
        if name not in known:
            raise SettingsError(_unknown(name, where, known))
        room, kind = known[name]
        rooms[room][name] = _converted(name, value, where, kind)
    settings = Settings(**{room: kind(**rooms[room]) for room, kind in typing.get_type_hints(Settings).items()})
    return _checked(settings)


def state_dir(settings: Settings) -> Path:
    """The state directory that was set, else the platform's own."""
    return Path(settings.store.state_dir or platformdirs.user_state_path("arwd")).expanduser().absolute()


def _from_service_manager(environ: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    if state := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        found["state_dir"] = state
    if credentials := environ.get("CREDENTIALS_DIRECTORY"):
        token = Path(credentials) / "arwd.token"
        if os.path.lexists(token):
            found["token_file"] = str(token)
    return found


def _config_file(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Path | None:
    given = flags.get("config") or environ.get("ARWD_CONFIG")
    if given:
        return Path(given)
    managed = environ.get("CONFIGURATION_DIRECTORY", "").partition(":")[0]
    path = Path(managed or platformdirs.user_config_path("arwd")) / "arwd.toml"
    return path if os.path.lexists(path) else None


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = "" if str(path) == os.devnull else fs.read_setting("config", path, _MOST_BYTES)[0].decode()
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"The settings file {path} is not valid TOML: {error}.") from error


def _unknown(name: str, where: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"There is no setting {name} (from {where}).{hint}"


def _converted(name: str, value: Any, where: str, kind: Any) -> Any:
    if isinstance(value, str) and _is_list(kind):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, str) and typing.get_origin(kind) is dict:
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        value = {key.strip(): each.strip() for key, _, each in pairs}
    for text in value.values() if isinstance(value, dict) else (value,):
        if isinstance(text, str) and "\0" in text:
            raise SettingsError(f"The setting {name} (from {where}) is wrong: it holds a NUL character.")
        if isinstance(text, str) and text.startswith("~") and name != "token" and not _has_home(text):
            raise SettingsError(f"The setting {name} (from {where}) is wrong: its ~ names no user of this machine.")
    try:
        return msgspec.convert(value, kind, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        raise SettingsError(f"The setting {name} (from {where}) is wrong: {error}.") from error
    except UnicodeError as error:
        raise SettingsError(f"The setting {name} (from {where}) is wrong: it is no text.") from error


def _has_home(path: str) -> bool:
    try:
        Path(path).expanduser()
    except RuntimeError:
        return False
    return True


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) in (tuple, list) and not isinstance(kind, types.UnionType)


def _checked(settings: Settings) -> Settings:
    settings.auth.check()
    hub_links.parse_endpoint(settings.sources.hf_endpoint)
    catalog.own(settings.sources.catalog)
    if not 0 <= settings.server.port <= 65_535:
        raise SettingsError(f"The setting port is wrong: {settings.server.port} is not between 0 and 65535.")
    for room, name, least in (
        ("jobs", "max_jobs", 1), ("streams", "max_streams", 1), ("streams", "max_streams_per_address", 1),
        ("bus", "ring", 64), ("bus", "heartbeat", 1), ("net", "connect_timeout", 1), ("net", "stall_timeout", 1),
        ("sources", "resolve_timeout", 1), ("transfer", "retry_for", 0), ("transfer", "retry_pause", 0),
        ("transfer", "min_speed", 0),
    ):  # fmt: skip
        value = getattr(getattr(settings, room), name)
        if not value >= least:
            raise SettingsError(f"The setting {name} is wrong: {value} is below {least}.")
        if not math.isfinite(value):
            raise SettingsError(f"The setting {name} is wrong: {value} is no number; write a large one.")
    for name, least in (("reserve", 0), ("max_file_size", 1), ("quota", 1)):
        value = getattr(settings.store, name)
        if value is not None and value < least:
            raise SettingsError(f"The setting {name} is wrong: {value} is below {least}.")
    return settings

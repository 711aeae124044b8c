"""LM Studio's identifiers, `publisher/name[@quantization]`: a list of repositories, else the Hub's own of that name."""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from arwd import fs, net
from arwd.errors import InvalidField, SettingsError
from arwd.model import Artifact, Request
from arwd.sources import hub_links
from arwd.sources.base import Options
from arwd.sources.hub_links import HubRef
from arwd.sources.hub_repository import HubRepositories

_IDENTIFIER: Final = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?P<rest>@.*)?", re.ASCII | re.DOTALL)
_MOST_BYTES: Final = 1 << 20
"""Of a catalog of one's own."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the files of a model are kept."""

    repository: str
    """A repository of the Hub."""
    revision: str = "main"
    quantization: str | None = None
    """The one that is meant by the bare identifier; None: the usual."""


class Catalog:
    """The models that have a name of their own."""

    def __init__(self, session: net.Session, options: Options) -> None:
        """SettingsError if the file of the setting `catalog` cannot be read."""
        shipped = resources.files("arwd.sources").joinpath("catalog.toml").read_text(encoding="utf-8")
        self._entries = {**parse(shipped, "arwd's own catalog"), **own(options.catalog)}
        self._repositories = HubRepositories(session, options)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every model that is listed, by its identifier in lower case."""
        return self._entries

    def knows(self, ref: str) -> bool:
        """`publisher/name`, with or without `@quantization`; a link without its scheme is none."""
        return bool(_IDENTIFIER.fullmatch(ref)) and ref.partition("/")[0].lower() not in hub_links.HOSTS

    async def resolve(self, request: Request) -> Artifact:
        """The files of the model. ModelNotFound if neither the list nor the Hub knows it."""
        found = _IDENTIFIER.fullmatch(request.ref)
        assert found is not None, "asked only for what it knows"
        if request.quantization is not None:
            raise InvalidField(
                "quantization goes with a link to the Hub; with an identifier write publisher/name@Q4_K_M.",
                field="quantization",
            )
        wanted = None if found["rest"] is None else _quantization(found["rest"])
        name = found["name"].lower()
        entry = self._entries.get(name)
        if entry is None:
            return await self._unlisted(found["name"], wanted)
        artifact = await self._repositories.artifact(
            HubRef(repository=entry.repository, revision=entry.revision, quantization=wanted or entry.quantization),
            needs_gguf=True,
        )
        return msgspec.structs.replace(artifact, key=name if wanted is None else f"{name}@{wanted}")

    async def _unlisted(self, name: str, wanted: str | None) -> Artifact:
        if not hub_links.is_repository(name):
            raise InvalidField(
                "model is no identifier: publisher/name, of letters, digits, dots, hyphens and underscores."
            )
        return await self._repositories.artifact(HubRef(repository=name, quantization=wanted), needs_gguf=True)


def parse(text: str, where: str) -> dict[str, Entry]:
    """PURE: the catalog in this TOML, by identifier in lower case. SettingsError names `where` it is wrong."""
    try:
        found = msgspec.convert(tomllib.loads(text), dict[str, dict[str, Entry]])
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where} is not valid TOML: {error}.") from error
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where} is wrong: {error}.") from error
    if unknown := set(found) - {"models"}:
        raise SettingsError(f'{where} is wrong: it has a table {min(unknown)}; models are [models."publisher/name"].')
    entries = {}
    for name, entry in found.get("models", {}).items():
        identifier = _IDENTIFIER.fullmatch(name)
        if identifier is None or identifier["rest"] is not None:
            raise SettingsError(f"{where} is wrong: {name!r} is no identifier, such as publisher/name.")
        if name.lower() in entries:
            raise SettingsError(f"{where} is wrong: it names {name.lower()} twice.")
        entries[name.lower()] = _checked(entry, name, where)
    return entries


def _checked(entry: Entry, name: str, where: str) -> Entry:
    if not hub_links.is_repository(entry.repository):
        raise SettingsError(f"{where} is wrong: the repository of {name} is none, such as org/repo.")
    changes: dict[str, Any] = {}
    try:
        hub_links.parse_revision(entry.revision)
        if entry.quantization is not None:
            changes["quantization"] = hub_links.parse_quantization(entry.quantization)
    except InvalidField as error:
        raise SettingsError(f"{where} is wrong: in {name}, {error}") from error
    return msgspec.structs.replace(entry, **changes)


def own(setting: str) -> dict[str, Entry]:
    """The catalog in the file of the setting `catalog`. SettingsError says what is wrong with it."""
    if not setting:
        return {}
    path = Path(setting).expanduser()
    try:
        text = fs.read_setting("catalog", path, _MOST_BYTES)[0].decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"The catalog {path} is not UTF-8.") from error
    return parse(text, f"The catalog {path}")


def _quantization(rest: str) -> str | None:
    if rest.count("@") > 1:
        raise InvalidField("The identifier has more than one @; it is publisher/name@quantization.")
    return hub_links.parse_quantization(rest[1:])

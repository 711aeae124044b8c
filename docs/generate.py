"""Writes the tables of the manual from the code, between `<!-- generated: NAME -->` and `<!-- end -->`.

`python docs/generate.py` writes; with `--check` it only compares and names the pages that differ.
"""

# argparse and the application have no public way to list what they hold.
# ruff: noqa: SLF001

import argparse
import ast
import importlib
import inspect
import itertools
import os
import pkgutil
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from arwd import api, cli, errors, settings, states
from arwd.api import app, openapi, query
from arwd.api.endpoints import Endpoint
from arwd.api.problem import FORMS, RFC_9457
from arwd.store import layout

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WORDS = {str: "string", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
_FAULT = "A fault in arwd itself; its log says more."


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages that differ, or with `--check` only name them."""
    parser = argparse.ArgumentParser(description="Write the generated tables of the manual.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page differs")
    is_check = parser.parse_args(arguments).check
    stale = [(path, fresh) for path, text, fresh in pages() if text != fresh]
    for path, fresh in stale:
        if not is_check:
            path.write_text(fresh, encoding="utf-8")
        print(f"{path.relative_to(DOCS.parent)} {'differs: run `make docs`' if is_check else 'written'}")
    return 1 if is_check and stale else 0


def pages() -> Iterator[tuple[Path, str, str]]:
    """Every page with generated parts: its path, its text, and what that should be."""
    shown: set[str] = set()
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        names = {found[2] for found in MARKED.finditer(text)}
        if names:
            shown |= names
            yield path, text, render(text)
    if missing := TABLES.keys() - shown:
        raise SystemExit(f"No page shows: {', '.join(sorted(missing))}")


def render(text: str) -> str:
    """The text with every generated part made anew."""
    return MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def settings_tables() -> str:
    """One table for each room."""
    parts = []
    for room, options in typing.get_type_hints(settings.Settings).items():
        meanings = attribute_docstrings(options)
        rows = [
            (_code(name), _variables(name), _word(kind), _default(options, name), meanings.get(name, ""))
            for name, kind in typing.get_type_hints(options).items()
        ]
        parts += [f"### {room}", _summary(options), _table("Setting|Variables|Type|Default|Meaning", rows)]
    return "\n\n".join(parts)


def refusals() -> str:
    """What a request can be answered with instead."""
    family = [errors.ArwdError, *_subclasses(errors.RequestError)]
    rows = {(_code(error.code), error.status): _sentence(error) for error in family}
    return _table("Code|Status|Meaning", sorted((*key, meaning) for key, meaning in rows.items()))


def failures() -> str:
    """What a job can end with."""
    family = [
        errors.ArwdError,
        *_subclasses(errors.TransferError),
        *_with_root(errors.Sha256Mismatch),
        *_with_root(errors.StorageError),
    ]
    rows: dict[tuple[str, str], str] = {}
    for error in family:  # the first is the general one, its children say why they are apart
        rows.setdefault((_code(error.code), _retried(error)), _sentence(error))
    return _table("Code|Retried|Meaning", sorted((*key, meaning) for key, meaning in rows.items()))


def _retried(error: type[errors.ArwdError]) -> str:
    if not error.retryable:
        return "no"
    return {None: "yes", 1: "once"}.get(error.most_attempts, f"{error.most_attempts} times")


def start_errors() -> str:
    """Why `arwd serve` can end before it served."""
    rows = {_code(str(error.exit_status)): _summary(error) for error in _with_root(errors.StartError)}
    return _table("Exit status|Meaning", sorted(rows.items()))


def event_kinds() -> str:
    """Every kind, and where its payload is described."""
    return _table("Kind|Payload", [(_code(kind), _word(payload)) for kind, payload in openapi.PAYLOADS.items()])


def event_payloads() -> str:
    """The fields of every payload."""
    payloads = dict.fromkeys(openapi.PAYLOADS.values())
    return "\n\n".join(_shape(payload) for payload in payloads)


def event_parameters() -> str:
    """What `GET /events` understands."""
    return _table("Parameter|Meaning", [(_code(name), meaning) for name, meaning in query.PARAMETERS])


def routes() -> str:
    """Every endpoint."""
    rows = [
        (
            _code(f"{endpoint.method} {shown_path(endpoint)}"),
            endpoint.summary,
            "" if endpoint.body is None else _word(endpoint.body),
            _answer(endpoint),
            ", ".join(_code(code) for code in sorted({refusal.code for refusal in endpoint.refusals})),
        )
        for endpoint in endpoints()
    ]
    return _table("Route|What it does|Body|Answer|Its own refusals", rows)


def shapes() -> str:
    """The fields of every body and answer."""
    forms = (RFC_9457, *FORMS.values())
    kinds = [
        *(form.body for form in forms),
        *(kind for endpoint in endpoints() for kind in (endpoint.body, endpoint.answer)),
    ]
    found = dict.fromkeys(struct for kind in kinds for struct in _structs(kind))
    return "\n\n".join(_shape(struct) for struct in sorted(found, key=attrgetter("__name__")))


def commands() -> str:
    """Every command with its arguments."""
    os.environ.pop("ARWD_URL", None)  # it would show as the default
    parser = cli._parser()
    choices = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    helps = {action.dest: action.help for action in choices._choices_actions}
    parts = [
        _argument_table("arwd", "Before any command:", parser),
        *(_argument_table(f"arwd {name}", f"{helps[name]}.", each) for name, each in choices.choices.items()),
    ]
    return "\n\n".join(parts)


def state_directory() -> str:
    """The tree drawn in the docstring of the code that makes it."""
    tree = inspect.cleandoc(layout.__doc__ or "").partition("\n\n")[2]
    return f"```text\n{tree}\n```"


def diagram() -> str:
    """The table of states, drawn."""
    return f"```mermaid\n{states.diagram()}\n```"


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_tables,
    "refusals": refusals,
    "failures": failures,
    "start-errors": start_errors,
    "event-kinds": event_kinds,
    "event-payloads": event_payloads,
    "event-parameters": event_parameters,
    "routes": routes,
    "shapes": shapes,
    "commands": commands,
    "state-directory": state_directory,
    "states": diagram,
}


def endpoints() -> list[Endpoint]:
    """The endpoints of every class in `arwd.api` that has some, and those of the documents about them.

    The classes are not opened: to list its endpoints, one needs its methods and nothing of the daemon.
    """
    found: list[Endpoint] = []
    for module in pkgutil.walk_packages(api.__path__, f"{api.__name__}."):
        for _, each in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if each.__module__ == module.name and callable(getattr(each, "endpoints", None)):
                found += each.__new__(each).endpoints()
    found += app._documents(tuple(found))
    return sorted(found, key=lambda endpoint: (endpoint.path, endpoint.method))


def shown_path(endpoint: Endpoint) -> str:
    """The path as people write it: `{id}` for `{id:path}`."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", endpoint.path)


def attribute_docstrings(struct: type) -> dict[str, str]:
    """The string literal below each field, which Python itself does not keep."""
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def _argument_table(name: str, meaning: str, parser: argparse.ArgumentParser) -> str:
    rows = [
        (_code(", ".join(action.option_strings) or action.dest.upper()), action.help or "")
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    ]
    return f"### `{name}`\n\n{meaning[0].upper()}{meaning[1:]}\n\n{_table('Argument|Meaning', rows)}"


def _shape(struct: type) -> str:
    meanings = attribute_docstrings(struct)
    hints = typing.get_type_hints(struct, include_extras=True)
    rows: list[tuple[str, ...]] = []
    for field in msgspec.structs.fields(struct):
        is_optional = _is_optional(hints[field.name])
        rows.append((_code(field.encode_name), _word(hints[field.name]), "optional" if is_optional else "always"))
        if meanings:
            rows[-1] += (meanings.get(field.name, ""),)
    head = "Field|Type|Presence|Meaning" if meanings else "Field|Type|Presence"
    return f"### `{struct.__name__}`\n\n{_summary(struct)}\n\n{_table(head, rows)}"


def _answer(endpoint: Endpoint) -> str:
    if endpoint.status == 204:
        return "204"
    return _code(endpoint.media_type) if endpoint.answer is None else _word(endpoint.answer)


def _structs(kind: Any) -> Iterator[type]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for hint in typing.get_type_hints(kind).values():
            yield from _structs(hint)
    for part in typing.get_args(kind):
        yield from _structs(part)


def _subclasses(error: type) -> Iterator[Any]:
    for each in error.__subclasses__():
        yield each
        yield from _subclasses(each)


def _with_root(error: type) -> list[Any]:
    return [error, *_subclasses(error)]


def _default(options: type, name: str) -> str:
    default = getattr(options(), name)
    if default is None or default in ("", (), {}):
        return ""
    return _code(f"{default:g}" if isinstance(default, float) else str(default))


def _variables(name: str) -> str:
    aliases = [alias for alias, meant in settings.ALIASES.items() if meant == name]
    return ", ".join(_code(variable) for variable in (settings.PREFIX + name.upper(), *aliases))


def _is_optional(kind: Any) -> bool:
    return any(part in (types.NoneType, msgspec.UnsetType) for part in typing.get_args(kind))


def _word(kind: Any) -> str:
    """A type in words that are the same for a reader of JSON, TOML or an environment."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _word(parts[0]) + "".join(f", {part.ge} to {part.le}" for part in parts[1:])
    if origin is typing.Literal:
        return " or ".join(_code(part) for part in parts)
    if origin in (list, tuple):
        return f"list of {_word(parts[0])}"
    if origin is dict:
        return "object"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_word(part) for part in parts if part not in (types.NoneType, msgspec.UnsetType))
    return _WORDS.get(kind) or f"[{kind.__name__}](#{kind.__name__.lower()})"


def _sentence(error: type[errors.ArwdError]) -> str:
    """The first sentence; what follows in an error's docstring is for those who raise it."""
    return _FAULT if error is errors.ArwdError else _summary(error).partition(". ")[0].rstrip(".") + "."


def _summary(documented: type) -> str:
    return inspect.cleandoc(documented.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: str, rows: Iterable[Sequence[object]]) -> str:
    names = head.split("|")
    lines = [names, ["---"] * len(names), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())

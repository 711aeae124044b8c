"""The manual says what the code does: whatever can be asked, set, refused or told has its row in the reference."""

import ast
import importlib.util
import re
import shutil
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import msgspec
import pytest

from arwd import cli, errors, events, settings
from arwd.api import query
from arwd.api.openapi import PAYLOADS
from arwd.transfer import response
from tests.running import Running

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])

_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)

Row = tuple[str, str]
"""The heading above a table, and the first cell of a row; where that is not enough, its second cell too."""


class Reference(NamedTuple):
    """What a page of the reference must have a row for."""

    page: str
    wanted: Callable[[], set[Row]]
    cells: int = 1


def _settings() -> set[Row]:
    return {(room, name) for name, (room, _) in settings.keys().items()}


def _all_of(error: type[errors.ArwdError]) -> Iterator[type[errors.ArwdError]]:
    yield error
    for each in error.__subclasses__():
        yield from _all_of(each)


def _errors() -> set[Row]:
    rows = {("Refusals", f"{error.code} {error.status}") for error in _all_of(errors.RequestError)}
    ends = [*_all_of(errors.TransferError), *_all_of(errors.StorageError), errors.Sha256Mismatch]
    ends.remove(errors.TransferError)  # none is nothing but that
    rows |= {("Ends of jobs", f"{error.code} {_retried(error)}") for error in ends}
    return rows | {("Refusals", "internal 500"), ("Ends of jobs", "internal no")}


def _retried(error: type[errors.ArwdError]) -> str:
    if error.most_attempts is not None:
        return "once" if error.most_attempts == 1 else f"{error.most_attempts} times"
    return "yes" if error.retryable else "no"


def _exit_statuses() -> set[Row]:
    return {("Why arwd cannot start", str(error.exit_status)) for error in errors.StartError.__subclasses__()}


def _restart_codes() -> set[Row]:
    return {("Bytes given up", code) for code in typing.get_args(response.RestartCode)}


def _events() -> set[Row]:
    fields = {(kind.__name__, field.name) for kind in PAYLOADS.values() for field in msgspec.structs.fields(kind)}
    parameters = {("Query", name) for name, _ in query.PARAMETERS}
    return fields | parameters | {("Kinds", kind) for kind in events.KINDS} | {("Statuses", s) for s in _statuses()}


def _statuses() -> set[str]:
    """What the rooms of jobs pass on as the status of an event."""
    place = {"milestone": 1, "move": 1, "note": 0, "answer": 1}
    found = {"downloading"}
    for path in (ROOT / "arwd" / "jobs").glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call):
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                arguments = call.args[place[name] : place[name] + 1] if name in place else []
                found |= {a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


def _commands() -> set[Row]:
    (commands,) = (action for action in cli._parser()._actions if isinstance(action.choices, dict))
    assert isinstance(commands.choices, dict)
    return {
        (f"arwd {name}", ", ".join(action.option_strings) or action.dest.upper())
        for name, parser in commands.choices.items()
        for action in parser._actions
        if action.dest != "help"
    }


REFERENCES = {
    "settings": Reference("settings.md", _settings),
    "errors": Reference("errors.md", _errors, cells=2),
    "exit statuses": Reference("errors.md", _exit_statuses),
    "restart codes": Reference("errors.md", _restart_codes),
    "events": Reference("events.md", _events),
    "commands": Reference("cli.md", _commands),
}


@pytest.fixture(params=REFERENCES)
def reference(request: pytest.FixtureRequest) -> Reference:
    return REFERENCES[request.param]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(text: str, cells: int = 1) -> dict[Row, str]:
    """The lines of all tables, under what they are about."""
    found: dict[Row, str] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip("`")
        elif line.startswith("| "):
            first = [cell.strip(" `") for cell in re.split(r"(?<!\\)\|", line)[1 : cells + 1]]
            found[heading, " ".join(first)] = line
    return found


def missing(wanted: set[Row], text: str, cells: int = 1) -> set[Row]:
    return wanted - rows(text, cells).keys()


def test_everything_in_the_code_has_its_row_in_the_reference(reference: Reference) -> None:
    text = (DOCS / "reference" / reference.page).read_text()
    assert reference.wanted(), "nothing was looked for"
    assert missing(reference.wanted(), text, reference.cells) == set()


def test_a_row_that_is_deleted_is_missed(reference: Reference) -> None:
    text = (DOCS / "reference" / reference.page).read_text()
    for row in reference.wanted():
        line = rows(text, reference.cells)[row]
        # A later row of the same name would stand in for it; so only one line of its kind may exist below a heading.
        shorter = text.replace(f"{line}\n", "", 1) if text.count(line) == 1 else _without(text, row, line)
        assert missing(reference.wanted(), shorter, reference.cells) == {row}


def _without(text: str, row: Row, line: str) -> str:
    """The text without the line below this heading: equal lines stand below others."""
    heading = next(
        each for each in text.splitlines() if each.startswith("#") and each.lstrip("# ").strip("`") == row[0]
    )
    before, _, after = text.partition(f"{heading}\n")
    return before + f"{heading}\n" + after.replace(f"{line}\n", "", 1)


async def test_every_route_of_a_running_daemon_has_its_row_in_the_reference(daemon: Running) -> None:
    _, document = await daemon.call("GET", "/openapi.json")
    wanted = {
        ("Routes", f"{method.upper()} {path}") for path, methods in document["paths"].items() for method in methods
    }
    text = (DOCS / "reference" / "http.md").read_text()
    assert missing(wanted, text) == set()
    for row in wanted:
        assert missing(wanted, text.replace(rows(text)[row] + "\n", "", 1)) == {row}
    assert {row for heading, row in rows(text) if heading == "Routes"} - {"Route", "---"} == {row for _, row in wanted}


def test_every_shape_on_the_wire_has_its_fields_in_the_reference(generate: ModuleType) -> None:
    structs = {
        struct
        for endpoint in generate.endpoints()
        for kind in (endpoint.body, endpoint.answer)
        for struct in generate._structs(kind)
    }
    wanted = {(struct.__name__, field.name) for struct in structs for field in msgspec.structs.fields(struct)}
    assert wanted
    assert missing(wanted, (DOCS / "reference" / "http.md").read_text()) == set()


def test_the_generated_tables_are_up_to_date(generate: ModuleType) -> None:
    stale = [path.name for path, text, fresh in generate.pages() if text != fresh]
    assert stale == [], "run `make docs`"


def test_a_stale_table_is_named_and_then_written(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "docs"
    shutil.copytree(DOCS, copy)
    monkeypatch.setattr(generate, "DOCS", copy)
    page = copy / "reference" / "settings.md"
    before = page.read_text()
    page.write_text(before.replace("`ARWD_RING`", "`ARWD_WRONG`"))
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().out == "docs/reference/settings.md differs: run `make docs`\n"
    assert "ARWD_WRONG" in page.read_text(), "--check writes nothing"
    assert generate.main([]) == 0
    assert page.read_text() == before
    assert generate.main(["--check"]) == 0


def test_a_table_that_no_page_shows_is_an_error(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "docs"
    shutil.copytree(DOCS, copy)
    monkeypatch.setattr(generate, "DOCS", copy)
    (copy / "reference" / "cli.md").unlink()
    with pytest.raises(SystemExit, match="commands"):
        generate.main(["--check"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    page = DOCS / "README.md"
    assert broken_links(page, "[a](nowhere.md) [b](glossary.md#no-such) [c](glossary.md#glossary)") == [
        "nowhere.md",
        "glossary.md#no-such",
    ]


def test_every_page_of_the_manual_can_be_reached() -> None:
    reached, waiting = set(), [ROOT / "README.md", DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        if not page.exists():
            continue  # another test tells of it
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in _links(page.read_text())}
        waiting += [target for target in targets if target.suffix == ".md" and target not in reached]
    assert set(DOCS.rglob("*.md")) - reached == set()


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for link in _links(text):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (fragment and fragment not in _anchors(target)):
            broken.append(link)
    return broken


def _links(text: str) -> list[str]:
    links = _LINK.findall(_FENCE.sub("", text))
    return [link for link in links if not re.match(r"[a-z]+:", link)]


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_manual_s_first_page_names_every_decision() -> None:
    page = (DOCS / "README.md").read_text()
    assert not [path.name for path in (DOCS / "decisions").iterdir() if f"](decisions/{path.name})" not in page]

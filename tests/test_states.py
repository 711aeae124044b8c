"""The picture of the states in the manual is the table that the code runs on."""

import re
from pathlib import Path

from arwd import states
from arwd.states import TERMINAL, TRANSITIONS, State, Trigger

PAGE = Path(__file__).parent.parent / "docs" / "explain" / "jobs.md"


def drawn() -> str:
    (picture,) = re.findall(r"```mermaid\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    return picture


def test_the_picture_is_the_one_that_the_table_draws() -> None:
    assert drawn() == states.diagram()


def test_the_arrows_of_the_picture_are_the_entries_of_the_table() -> None:
    arrows = {(State(a), Trigger(t)): State(b) for a, b, t in re.findall(r"^ *(\w+) --> (\w+): (\w+)$", drawn(), re.M)}
    entries = {(state, trigger): target for state, exits in TRANSITIONS.items() for trigger, target in exits.items()}
    assert arrows == entries


def test_the_picture_ends_where_the_table_has_no_way_out() -> None:
    assert {State(name) for name in re.findall(r"^ *(\w+) --> \[\*\]$", drawn(), re.M)} == TERMINAL


def test_the_picture_begins_where_jobs_begin() -> None:
    assert re.findall(r"^ *\[\*\] --> (\w+)$", drawn(), re.M) == [State.QUEUED]

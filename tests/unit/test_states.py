"""A job changes state only as the table says: whatever it does not list raises, and nothing else happens."""

import pytest

from arwd.states import TERMINAL, TRANSITIONS, IllegalTransition, State, Trigger, advance, diagram

S, T = State, Trigger
# Written again from the design, not read from the table.
LEGAL = {
    (S.QUEUED, T.START): S.DOWNLOADING,
    (S.QUEUED, T.HAVE): S.COMPLETED,
    (S.QUEUED, T.PAUSE): S.PAUSED,
    (S.QUEUED, T.CANCEL): S.CANCELED,
    (S.QUEUED, T.FAIL): S.FAILED,
    (S.DOWNLOADING, T.FETCHED): S.VERIFYING,
    (S.DOWNLOADING, T.UNCHANGED): S.COMPLETED,
    (S.DOWNLOADING, T.PAUSE): S.PAUSED,
    (S.DOWNLOADING, T.CANCEL): S.CANCELED,
    (S.DOWNLOADING, T.FAIL): S.FAILED,
    (S.DOWNLOADING, T.REQUEUE): S.QUEUED,
    (S.VERIFYING, T.VERIFIED): S.COMPLETED,
    (S.VERIFYING, T.RESTART): S.DOWNLOADING,
    (S.VERIFYING, T.PAUSE): S.PAUSED,
    (S.VERIFYING, T.CANCEL): S.CANCELED,
    (S.VERIFYING, T.FAIL): S.FAILED,
    (S.VERIFYING, T.REQUEUE): S.QUEUED,
    (S.PAUSED, T.RESUME): S.QUEUED,
    (S.PAUSED, T.CANCEL): S.CANCELED,
}
EVERY = [(state, trigger) for state in State for trigger in Trigger]


@pytest.mark.parametrize(("state", "trigger"), [pair for pair in EVERY if pair in LEGAL])
def test_what_the_design_allows_leads_where_it_says(state: State, trigger: Trigger) -> None:
    assert advance(state, trigger) is LEGAL[state, trigger]


@pytest.mark.parametrize(("state", "trigger"), [pair for pair in EVERY if pair not in LEGAL])
def test_everything_else_raises_and_changes_nothing(state: State, trigger: Trigger) -> None:
    before = {source: dict(exits) for source, exits in TRANSITIONS.items()}
    with pytest.raises(IllegalTransition, match=f"{trigger} .* {state}"):
        advance(state, trigger)
    assert {source: dict(exits) for source, exits in TRANSITIONS.items()} == before


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_a_state_without_exits_is_final_and_no_other() -> None:
    assert {S.COMPLETED, S.FAILED, S.CANCELED} == TERMINAL
    assert all((state in TERMINAL) == (not exits) for state, exits in TRANSITIONS.items())


def test_every_state_can_be_reached_and_left_towards_an_end() -> None:
    reached = {S.QUEUED}
    while more := {target for state in reached for target in TRANSITIONS[state].values()} - reached:
        reached |= more
    assert reached == set(State)
    assert all(T.CANCEL in TRANSITIONS[state] for state in State if state not in TERMINAL)


def test_every_trigger_is_used() -> None:
    assert {trigger for exits in TRANSITIONS.values() for trigger in exits} == set(Trigger)


def test_the_diagram_draws_every_arrow_once() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    arrows = [line.strip() for line in lines[1:]]
    assert len(arrows) == len(set(arrows)) == len(LEGAL) + 1 + len(TERMINAL)
    assert "downloading --> paused: pause" in arrows
    assert "[*] --> queued" in arrows
    assert "canceled --> [*]" in arrows

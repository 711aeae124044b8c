"""The query of `GET /events`: what each parameter means, which one counts, and which values are refused."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from arwd import errors
from arwd.api.query import PARAMETERS, Query, parse
from arwd.bus.base import Selector, Start
from arwd.model import MAX_WHOLE


def asked(query: str = "", last_event_id: str | None = None) -> Query:
    headers = [] if last_event_id is None else [(b"last-event-id", last_event_id.encode("latin-1"))]
    scope = {"type": "http", "method": "GET", "path": "/events", "query_string": query.encode(), "headers": headers}
    return parse(Request(scope))


def test_without_a_query_everything_is_told_from_now_on() -> None:
    assert asked() == Query(selector=Selector(), start=Start())


@pytest.mark.parametrize(
    ("query", "selector"),
    [
        ("prefix=Models.", Selector(prefixes=("Models.",))),
        ("prefix=Models.,Bus.&prefix=Service.", Selector(prefixes=("Models.", "Bus.", "Service."))),
        ("prefix=,,", Selector()),
        ("id=a&id=b", Selector(model_ids=frozenset({"a", "b"}))),
        ("id=a,b", Selector(model_ids=frozenset({"a,b"}))),
        ("id=org%2Fname%40Q4", Selector(model_ids=frozenset({"org/name@Q4"}))),
        ("job_id=j1&job_id=j2", Selector(job_ids=frozenset({"j1", "j2"}))),
        ("data=payload", Selector()),
        ("data=envelope", Selector(shape="envelope")),
        ("data=cloudevents", Selector(shape="cloudevents")),
        ("named=false", Selector(named=False)),
        ("named=true", Selector()),
        ("unheard_of=1", Selector()),
    ],
)
def test_a_parameter_selects_what_it_says(query: str, selector: Selector) -> None:
    assert asked(query).selector == selector


@pytest.mark.parametrize(
    ("query", "header", "start"),
    [
        ("after=7", None, Start(after=7)),
        ("after=0", None, Start(after=0)),
        (f"after={MAX_WHOLE}", None, Start(after=MAX_WHOLE)),
        ("replay=5", None, Start(replay=5)),
        ("replay=0", None, Start(replay=0)),
        ("replay=1000", None, Start(replay=1000)),
        ("after=7&replay=5", None, Start(after=7)),
        ("after=7&replay=5", "9", Start(after=9)),
        ("", "0", Start(after=0)),
        ("after=7", "", Start(after=7)),
        ("after=7", "abc", Start(is_unknown=True)),
        ("", "-1", Start(is_unknown=True)),
        ("", "1.5", Start(is_unknown=True)),
        ("", " 5", Start(is_unknown=True)),
        ("", str(MAX_WHOLE + 1), Start(is_unknown=True)),
        ("", "9" * 30, Start(is_unknown=True)),
        ("", "²", Start(is_unknown=True)),
    ],
)
def test_the_header_counts_before_after_and_after_before_replay(query: str, header: str | None, start: Start) -> None:
    assert asked(query, header).start == start


@pytest.mark.parametrize(("header", "is_reconnect"), [(None, False), ("", False), ("5", True), ("x", True)])
def test_a_reconnect_is_told_by_its_header(header: str | None, is_reconnect: bool) -> None:
    assert asked("after=1", header).is_reconnect is is_reconnect


def test_a_stream_can_be_asked_to_end_when_all_is_done() -> None:
    assert asked("until=done").until_done is True
    assert asked("").until_done is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("after", ""), ("after", "-1"), ("after", "x"), ("after", "1.0"), ("after", " 1"), ("after", "+1"),
        ("after", str(MAX_WHOLE + 1)), ("after", "9" * 40), ("after", "１２"), ("replay", "1001"), ("replay", "-1"),
        ("replay", ""), ("replay", "all"), ("replay", "٣"), ("data", "xml"), ("data", ""), ("data", "Payload"),
        ("named", "no"), ("named", ""), ("named", "0"), ("until", "now"), ("until", ""),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_by_the_name_of_its_parameter(name: str, value: str) -> None:
    with pytest.raises(errors.InvalidParameter, match=rf"\b{name}\b"):
        asked(urlencode({name: value}))


def test_a_bad_value_is_refused_even_where_another_one_counts() -> None:
    with pytest.raises(errors.InvalidParameter, match="replay"):
        asked("replay=x", "5")


@given(
    st.dictionaries(st.sampled_from([name for name, _ in PARAMETERS]), st.text(max_size=12)),
    st.none() | st.text(st.characters(max_codepoint=255), max_size=20),
)
def test_no_query_breaks_the_stream(query: dict[str, str], header: str | None) -> None:
    try:
        found = asked(urlencode(query), header)
    except errors.InvalidParameter:
        return
    assert found.start.after is None or 0 <= found.start.after <= MAX_WHOLE
    assert found.start.replay is None or 0 <= found.start.replay <= 1_000


def test_every_parameter_that_is_documented_is_understood() -> None:
    assert {name for name, _ in PARAMETERS} == {"prefix", "id", "job_id", "after", "replay", "data", "named", "until"}

"""A frame is one strict Server-Sent Event, whatever stands in its payload."""

import datetime
import json
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import events
from arwd.api.openapi import PAYLOADS
from arwd.events import Durability, Event, Fact, frame, publishable
from tests.sse import Message, Parser

SHAPES = ("payload", "envelope", "cloudevents")
# What a careless encoder would let through: line ends of every kind, field names, blank lines, NUL, a BOM.
HOSTILE = st.text(st.sampled_from('\r\n\0\x0b\x0c\x1c\x85\u2028\u2029\ufeff: "\\{}id:datevnt😀\x7f'), max_size=24)
TEXT = st.text(max_size=24) | HOSTILE
WHOLE = st.integers(0, 2**53 - 1)


def payloads() -> st.SearchStrategy[msgspec.Struct]:
    return st.one_of([_made(kind) for kind in set(PAYLOADS.values())])


def _made(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    required, optional = {}, {}
    for name, hint in typing.get_type_hints(kind).items():
        is_required = name in [field.name for field in msgspec.structs.fields(kind) if field.required]
        (required if is_required else optional)[name] = _value(hint)
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: kind(**fields))


def _value(hint: object) -> st.SearchStrategy[object]:
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    kinds = {hint, *typing.get_args(hint)}
    if bool in kinds:
        return st.booleans()
    if int in kinds:
        return WHOLE
    return st.lists(TEXT, max_size=3).map(tuple) if Ellipsis in kinds else TEXT


def plain(payload: msgspec.Struct) -> dict[str, object]:
    """What the payload means in JSON: its fields, tuples as lists."""
    fields = msgspec.to_builtins(payload)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def framed(event: Event, shape: events.Shape, *, named: bool) -> Message:
    """The one message in the frame, byte by byte; the parser must be left with nothing."""
    parser = Parser()
    found = [message for byte in frame(event, shape, named=named) for message in parser.feed(bytes([byte]))]
    assert parser.feed(b"") == []
    assert (parser._buffer, parser._fields, parser.comments) == (b"", {}, [])
    (message,) = found
    return message


@given(payloads(), st.sampled_from(events.KINDS), WHOLE, st.none() | TEXT, st.sampled_from(SHAPES), st.booleans())
def test_nothing_in_a_payload_can_break_a_frame(
    payload: msgspec.Struct, kind: str, event_id: int, model_id: str | None, shape: events.Shape, named: bool
) -> None:
    event = publishable(Fact(kind=kind, payload=payload, model_id=model_id), event_id)  # type: ignore[arg-type]
    message = framed(event, shape, named=named)
    assert message.id == str(event_id)
    assert message.event == (kind if named else "message")
    expected = plain(payload)
    body = json.loads(message.data)
    if shape == "payload":
        assert body == expected
    elif shape == "envelope":
        assert body == {"time": event.time, "kind": kind, "payload": expected}
    else:
        subject = {} if model_id is None else {"subject": model_id}
        assert (
            body
            == {
                "specversion": "1.0",
                "id": str(event_id),
                "source": "/arwd",
                "type": kind,
                "time": event.time,
                "datacontenttype": "application/json",
                "data": expected,
            }
            | subject
        )


@given(st.lists(payloads(), max_size=5), st.data())
def test_frames_one_after_another_are_as_many_events_however_they_are_cut(
    facts: list[msgspec.Struct], data: st.DataObject
) -> None:
    made = [publishable(Fact(kind=events.PROGRESS, payload=payload), n) for n, payload in enumerate(facts)]  # type: ignore[arg-type]
    stream = b"".join(map(frame, made))
    cut = data.draw(st.integers(0, len(stream)))
    parser = Parser()
    found = parser.feed(stream[:cut]) + parser.feed(stream[cut:])
    assert [message.id for message in found] == [str(n) for n in range(len(facts))]
    assert [message.payload for message in found] == [plain(payload) for payload in facts]


def test_a_frame_is_id_event_data_and_a_blank_line() -> None:
    event = publishable(Fact(kind=events.DOWNLOAD, payload=events.Download(id="m", url="https://h/m")), 7)
    assert frame(event) == b'id: 7\nevent: Models.Download\ndata: {"id":"m","url":"https://h/m"}\n\n'
    assert frame(event, named=False) == b'id: 7\ndata: {"id":"m","url":"https://h/m"}\n\n'


@pytest.mark.parametrize("kind", sorted(set(PAYLOADS.values()), key=lambda kind: kind.__name__))
def test_no_payload_ever_holds_null(kind: type[msgspec.Struct]) -> None:
    hints = typing.get_type_hints(kind).values()
    assert not any(type(None) in typing.get_args(hint) for hint in hints)


def test_a_field_that_was_not_set_is_absent() -> None:
    event = publishable(Fact(kind=events.PROGRESS, payload=events.DownloadProgress(id="m", status="queued")), 1)
    assert json.loads(event.data) == {"id": "m", "status": "queued"}


def test_zero_and_false_are_values_and_stay() -> None:
    payload = events.DownloadProgress(id="m", downloaded=0, progress=0, cached=False)
    event = publishable(Fact(kind=events.PROGRESS, payload=payload), 1)
    assert json.loads(event.data) == {"id": "m", "downloaded": 0, "progress": 0, "cached": False}


def test_an_event_keeps_what_its_fact_said() -> None:
    fact = Fact(
        kind=events.CHANGED,
        payload=events.Changed(op="delete", id="m"),
        model_id="m",
        job_id="j",
        is_final=True,
        durability=Durability.ANSWER,
    )
    event = publishable(fact, 3)
    assert (event.id, event.kind, event.model_id, event.job_id) == (3, events.CHANGED, "m", "j")
    assert (event.is_final, event.durability) == (True, Durability.ANSWER)


def test_now_is_rfc_3339_in_utc_with_milliseconds() -> None:
    before = datetime.datetime.now(datetime.UTC)
    text = events.now()
    moment = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.UTC)
    assert len(text) == len("2025-10-03T15:33:23.496Z")
    assert abs(moment - before) < datetime.timedelta(seconds=5)


def test_every_kind_has_a_payload() -> None:
    assert set(PAYLOADS) == set(events.KINDS)

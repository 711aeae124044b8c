"""What a subscriber asks for: the query of `GET /events` and the reconnect header, decoded and checked."""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request

from arwd import errors, events
from arwd.bus.base import Selector, Start
from arwd.model import MAX_WHOLE

Value = TypeVar("Value")

_WHOLE: Final = re.compile(r"[0-9]{1,16}")
_SHAPES: Final[Mapping[str, events.Shape]] = {
    "payload": "payload", "envelope": "envelope", "cloudevents": "cloudevents"
}  # fmt: skip
_FLAGS: Final[Mapping[str, bool]] = {"true": True, "false": False}

PARAMETERS: Final = (
    ("prefix", "Only kinds that begin so; repeatable, or comma-separated."),
    ("id", "Only events of this model; repeatable."),
    ("job_id", "Only events of this job; repeatable."),
    ("after", "Begin after this event id."),
    ("replay", "Begin with the last so many matching milestones, 0 to 1000."),
    ("data", "The form of `data:`: payload, envelope or cloudevents."),
    ("named", "false leaves out `event:`, so that EventSource.onmessage fires."),
    ("until", "done ends the stream when every selected job is final."),
)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscriber asked for."""

    selector: Selector
    start: Start
    until_done: bool = False
    is_reconnect: bool = False


def parse(request: Request) -> Query:
    """The query and the reconnect header. InvalidParameter names what is wrong."""
    asked = request.query_params
    after = _number(asked.get("after"), "after", MAX_WHOLE)
    replay = _number(asked.get("replay"), "replay", 1_000)
    shape = _choice(asked.get("data", "payload"), "data", _SHAPES)
    named = _choice(asked.get("named", "true"), "named", _FLAGS)
    until_done = "until" in asked and _choice(asked["until"], "until", {"done": True})
    prefixes = [prefix for value in asked.getlist("prefix") for prefix in value.split(",") if prefix]
    last_seen = request.headers.get("last-event-id", "")
    if last_seen:
        known = _WHOLE.fullmatch(last_seen) is not None and int(last_seen) <= MAX_WHOLE
        start = Start(after=int(last_seen)) if known else Start(is_unknown=True)
    elif after is not None:
        start = Start(after=after)
    else:
        start = Start(replay=replay)
    selector = Selector(
        prefixes=tuple(prefixes),
        model_ids=frozenset(asked.getlist("id")),
        job_ids=frozenset(asked.getlist("job_id")),
        shape=shape,
        named=named,
    )
    return Query(selector=selector, start=start, until_done=until_done, is_reconnect=bool(last_seen))


def _number(text: str | None, name: str, largest: int) -> int | None:
    if text is None:
        return None
    if not _WHOLE.fullmatch(text) or int(text) > largest:
        raise errors.InvalidParameter(f"The parameter {name} must be a whole number from 0 to {largest}.")
    return int(text)


def _choice(text: str, name: str, choices: Mapping[str, Value]) -> Value:
    if text not in choices:
        raise errors.InvalidParameter(f"The parameter {name} must be {' or '.join(choices)}.")
    return choices[text]

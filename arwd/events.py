"""What happened, as data: an event is an immutable fact with an id, a kind, a time and a payload.

The payload structs are the wire contract (the seed's names and types); an absent field is absent, never null.
"""

import datetime
import enum
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

PROGRESS: Final = "Models.DownloadProgress"
DOWNLOAD: Final = "Models.Download"
CHANGED: Final = "Models.Changed"
CONNECTED: Final = "Service.Connected"
START: Final = "Service.Start"
STOP: Final = "Service.Stop"
GAP: Final = "Bus.Gap"

KINDS: Final = (PROGRESS, DOWNLOAD, CHANGED, CONNECTED, START, STOP, GAP)

Shape = Literal["payload", "envelope", "cloudevents"]
"""How `data:` is written: the bare payload, ARW's envelope, or CloudEvents 1.0 structured JSON."""


class Durability(enum.Enum):
    """How much it matters that every subscriber sees an event."""

    MILESTONE = "milestone"
    """A state change: committed before it is revealed, journaled, replayed."""
    TICK = "tick"
    """State, not history: may be left out when a later event of its job follows."""
    ANSWER = "answer"
    """Told to whoever listens now; never journaled."""


class _Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Fields left UNSET are absent on the wire."""


class DownloadProgress(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`Models.DownloadProgress`: everything that happens to one job. Sizes in bytes, rates in bytes a second."""

    id: str
    job_id: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    position: int | UnsetType = UNSET
    waiting_for: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    progress: int | UnsetType = UNSET
    downloaded: int | UnsetType = UNSET
    total: int | UnsetType = UNSET
    bytes_per_second: int | UnsetType = UNSET
    eta_seconds: int | UnsetType = UNSET
    code: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    http_status: int | UnsetType = UNSET
    expected: str | UnsetType = UNSET
    actual: str | UnsetType = UNSET
    attempt: int | UnsetType = UNSET
    next_attempt_in: int | UnsetType = UNSET
    discarded: int | UnsetType = UNSET
    file: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    sha256: str | UnsetType = UNSET
    bytes: int | UnsetType = UNSET
    cached: bool | UnsetType = UNSET
    trust: str | UnsetType = UNSET
    length_known: bool | UnsetType = UNSET
    files: int | UnsetType = UNSET
    files_done: int | UnsetType = UNSET
    files_total: int | UnsetType = UNSET
    current_file: str | UnsetType = UNSET


class Download(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`Models.Download`: a request was accepted."""

    id: str
    url: str


class Changed(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`Models.Changed`: the list of models is not what it was."""

    op: Literal["downloaded", "delete", "missing"]
    id: str


class Connected(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`Service.Connected`: the first frame of every stream."""

    request_id: str
    replayed: int
    prefixes: tuple[str, ...]
    version: str
    resume_from: int | UnsetType = UNSET


class Gap(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`Bus.Gap`: milestones may be missing between `after` and `to`."""

    to: int
    after: int | UnsetType = UNSET
    skipped: int | UnsetType = UNSET


class Lifecycle(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`Service.Start` and `Service.Stop`."""

    version: str


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """An event before it has an id: what a publisher hands to the bus."""

    kind: str
    payload: _Payload
    model_id: str | None = None
    job_id: str | None = None
    is_final: bool = False
    durability: Durability = Durability.MILESTONE


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A published fact. `data` is its payload, encoded once."""

    id: int
    kind: str
    time: str
    data: bytes
    model_id: str | None = None
    job_id: str | None = None
    is_final: bool = False
    durability: Durability = Durability.MILESTONE


_encoder = msgspec.json.Encoder()


def now() -> str:
    """This moment as RFC 3339 UTC with milliseconds."""
    return stamp(datetime.datetime.now(datetime.UTC))


def days_ago(days: int) -> str:
    """The same, so many days earlier: these strings sort as their moments do."""
    return stamp(datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days))


def stamp(moment: datetime.datetime) -> str:
    """A moment in UTC, written so."""
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def publishable(fact: Fact, event_id: int) -> Event:
    """The fact with its id and time, its payload encoded."""
    return Event(
        id=event_id,
        kind=fact.kind,
        time=now(),
        data=_encoder.encode(fact.payload),
        model_id=fact.model_id,
        job_id=fact.job_id,
        is_final=fact.is_final,
        durability=fact.durability,
    )


def control(event_id: int, kind: str, payload: _Payload) -> Event:
    """An event about the stream itself, for one subscriber: `Service.Connected`, `Bus.Gap`."""
    return Event(id=event_id, kind=kind, time=now(), data=_encoder.encode(payload), durability=Durability.ANSWER)


def frame(event: Event, shape: Shape = "payload", *, named: bool = True) -> bytes:
    """One Server-Sent Event (WHATWG HTML §9.2): one line of JSON, so that nothing in a payload can break it."""
    name = b"event: %b\n" % event.kind.encode() if named else b""
    return b"id: %d\n%bdata: %b\n\n" % (event.id, name, _shaped(event, shape))


def _shaped(event: Event, shape: Shape) -> bytes:
    if shape == "payload":
        return event.data
    payload = msgspec.Raw(event.data)
    if shape == "envelope":
        return _encoder.encode({"time": event.time, "kind": event.kind, "payload": payload})
    subject = {} if event.model_id is None else {"subject": event.model_id}
    return _encoder.encode(
        {
            "specversion": "1.0",
            "id": str(event.id),
            "source": "/arwd",
            "type": event.kind,
            **subject,
            "time": event.time,
            "datacontenttype": "application/json",
            "data": payload,
        }
    )

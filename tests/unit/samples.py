"""Jobs, models and events to test with: only what a test speaks of needs to be said."""

from typing import Any

from arwd.events import PROGRESS, Durability, Event
from arwd.model import Job, Model, Request
from arwd.states import State

DIGEST = "a" * 64
OTHER_DIGEST = "b" * 64
URL = "https://h.example/m.gguf"


def job(**fields: Any) -> Job:
    known = {
        "job_id": "job_0123456789",
        "id": "m",
        "state": State.QUEUED,
        "provider": "local",
        "url": URL,
        "queued_at": "2026-01-02T03:04:05.678Z",
    }
    return Job(**(known | fields))


def model(**fields: Any) -> Model:
    known = {
        "id": "m",
        "provider": "local",
        "name": "m.gguf",
        "sha256": DIGEST,
        "bytes": 7,
        "trust": "caller",
        "url": URL,
        "mtime_ns": 1,
        "job_id": "job_0123456789",
    }
    return Model(**(known | fields))


def request(**fields: Any) -> Request:
    return Request(**({"id": "m", "ref": URL} | fields))


def event(event_id: int, durability: Durability = Durability.MILESTONE, **fields: Any) -> Event:
    known = {
        "id": event_id,
        "kind": PROGRESS,
        "time": "2026-01-02T03:04:05.678Z",
        "data": b'{"n":%d}' % event_id,
        "model_id": "m",
        "job_id": "job_0123456789",
        "durability": durability,
    }
    return Event(**(known | fields))

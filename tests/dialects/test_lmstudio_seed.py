"""The seeds of LM Studio's dialect, word for word: names, JSON types, and which field is there in which status."""

import datetime
import json
from typing import Any

import msgspec
import pytest

from arwd.api import lmstudio_wire as wire
from arwd.api.lmstudio_wire import ALREADY_DOWNLOADED, Figures, ModelRequest, to_request, to_status
from arwd.states import State
from tests.unit import samples

REQUEST = '{"model": "ibm/granite-4-micro"}'
STARTED = """
{
  "job_id": "job_493c7c9ded",
  "status": "downloading",
  "total_size_bytes": 2279145003,
  "downloaded_bytes": 948,
  "bytes_per_second": 7834.710743801653,
  "estimated_completion": "2025-10-07T00:21:47.030Z",
  "started_at": "2025-10-03T15:33:23.496Z"
}
"""
COMPLETED = """
{
  "job_id": "job_493c7c9ded",
  "status": "completed",
  "total_size_bytes": 2279145003,
  "downloaded_bytes": 2279145003,
  "started_at": "2025-10-03T15:33:23.496Z",
  "completed_at": "2025-10-03T15:43:12.102Z"
}
"""

TYPES = {
    "job_id": str,
    "status": str,
    "bytes_per_second": float,
    "estimated_completion": str,
    "completed_at": str,
    "total_size_bytes": int,
    "downloaded_bytes": int,
    "started_at": str,
}
"""The seeds' response fields."""
STATUSES = ("downloading", "paused", "completed", "failed")
"""Of a job; a start has `already_downloaded` besides."""
ALWAYS = {"job_id", "status", "downloaded_bytes", "started_at"}
PRESENT = {
    "downloading": ALWAYS | {"bytes_per_second", "estimated_completion"},
    "paused": ALWAYS,
    "completed": ALWAYS | {"total_size_bytes", "completed_at"},
    "failed": ALWAYS | {"error"},
}
"""Status → the fields that are there, beyond a size that is known."""

STATE = {
    State.QUEUED: "downloading",
    State.DOWNLOADING: "downloading",
    State.VERIFYING: "downloading",
    State.PAUSED: "paused",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELED: "failed",
}
STARTED_AT = "2025-10-03T15:33:23.496Z"
FINISHED_AT = "2025-10-03T15:43:12.102Z"
NOW = datetime.datetime(2025, 10, 3, 15, 33, 24, tzinfo=datetime.UTC)


def job(state: State, **fields: Any) -> Any:
    is_final = state in (State.COMPLETED, State.FAILED, State.CANCELED)
    known = {"job_id": "job_493c7c9ded", "state": state, "queued_at": STARTED_AT} | fields
    return samples.job(**known, finished_at=FINISHED_AT if is_final else None)


def told(state: State, figures: Figures, now: datetime.datetime = NOW, **fields: Any) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(to_status(job(state, **fields), figures, now)))  # type: ignore[no-any-return]


def test_the_example_request_is_understood() -> None:
    request = to_request(msgspec.json.decode(REQUEST, type=ModelRequest))
    assert (request.ref, request.quantization, request.id) == ("ibm/granite-4-micro", None, "")
    link = '{"model":"https://huggingface.co/lmstudio-community/gpt-oss-20b-GGUF","quantization":"Q4_K_M"}'
    request = to_request(msgspec.json.decode(link, type=ModelRequest))
    assert request.ref == "https://huggingface.co/lmstudio-community/gpt-oss-20b-GGUF"
    assert request.quantization == "Q4_K_M"


def test_the_example_of_a_start_to_the_letter() -> None:
    """Its rate and its estimate give away the moment it was made at; its fields come in the same order."""
    example = json.loads(STARTED)
    figures = Figures(downloaded=948, total=2_279_145_003, rate=example["bytes_per_second"])
    ends = datetime.datetime.fromisoformat(example["estimated_completion"])
    now = ends - datetime.timedelta(seconds=(figures.total - 948) / figures.rate) if figures.total else ends
    answer = told(State.DOWNLOADING, figures, now)
    assert answer == example
    assert list(answer) == list(example)
    # The example is one of the first moment: the estimate is by the rate, which was low.
    assert datetime.timedelta(0) < now - datetime.datetime.fromisoformat(STARTED_AT) < datetime.timedelta(seconds=1)


def test_the_example_of_a_completed_job_to_the_letter() -> None:
    example = json.loads(COMPLETED)
    answer = told(State.COMPLETED, Figures(downloaded=2_279_145_003, total=2_279_145_003))
    assert answer == example
    assert list(answer) == list(example)


def test_what_is_there_already_has_a_status_and_no_other_field() -> None:
    assert msgspec.json.encode(ALREADY_DOWNLOADED) == b'{"status":"already_downloaded"}'


def test_every_state_has_its_status() -> None:
    assert set(State) == set(STATE)
    assert wire.STATUS == STATE
    assert set(STATE.values()) == set(STATUSES) == set(PRESENT)


@pytest.mark.parametrize("total", [None, 0, 1_000])
@pytest.mark.parametrize("downloaded", [0, 1_000])
@pytest.mark.parametrize("state", State)
def test_a_field_is_there_exactly_in_the_statuses_that_have_it(
    state: State, downloaded: int, total: int | None
) -> None:
    answer = told(state, Figures(downloaded=downloaded, total=total))
    known_size = set() if total is None else {"total_size_bytes"}
    assert answer["status"] == STATE[state]
    assert set(answer) == PRESENT[STATE[state]] | known_size
    assert {name: type(value) for name, value in answer.items() if name != "error"} == {
        name: TYPES[name] for name in answer if name != "error"
    }
    assert answer["downloaded_bytes"] == downloaded
    assert answer["started_at"] == STARTED_AT
    assert answer.get("completed_at", FINISHED_AT) == FINISHED_AT


def test_nothing_is_ever_null() -> None:
    for state in State:
        assert b"null" not in msgspec.json.encode(to_status(job(state), Figures(downloaded=0), NOW))


def test_before_the_first_byte_the_rate_is_nought_and_is_a_fraction_still() -> None:
    encoded = msgspec.json.encode(to_status(job(State.QUEUED), Figures(downloaded=0, rate=0), NOW))
    assert b'"bytes_per_second":0.0' in encoded


def test_a_completed_job_is_as_large_as_what_came_where_nobody_said_it_before() -> None:
    assert told(State.COMPLETED, Figures(downloaded=7))["total_size_bytes"] == 7


@pytest.mark.parametrize(
    ("state", "fields", "error"),
    [
        (State.FAILED, {"code": "stalled", "error": "Nothing came."}, {"code": "stalled", "message": "Nothing came."}),
        (State.FAILED, {}, {"code": "internal", "message": "The download failed."}),
        (State.CANCELED, {}, {"code": "canceled", "message": "The download was canceled."}),
    ],
)
def test_a_failed_job_says_why(state: State, fields: dict[str, str], error: dict[str, str]) -> None:
    assert told(state, Figures(downloaded=0), **fields)["error"] == error

"""ARW's bodies: what is taken, what is refused by the name of its field, and that nothing is ever null."""

import json
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import errors
from arwd.api import arw_wire as wire
from arwd.api.arw_wire import (
    MAX_NAME,
    MAX_REF,
    DownloadRequest,
    PlanRequest,
    checked_id,
    to_planned,
    to_request,
)
from arwd.model import MAX_ID
from tests.unit.samples import DIGEST, URL


def asked(**fields: str | None) -> DownloadRequest:
    return msgspec.json.decode(json.dumps({"id": "m", "url": URL} | fields), type=DownloadRequest)


def test_the_least_that_can_be_asked_for() -> None:
    request = to_request(asked())
    assert (request.id, request.ref, request.provider, request.sha256, request.filename) == (
        "m",
        URL,
        "local",
        None,
        None,
    )


def test_the_most_that_can_be_asked_for() -> None:
    request = to_request(asked(provider="hub", sha256=DIGEST.upper(), filename="n.gguf"))
    assert (request.provider, request.sha256, request.filename) == ("hub", DIGEST, "n.gguf")


def test_a_ref_stands_in_place_of_the_url_and_needs_no_id() -> None:
    request = to_request(asked(id=None, url=None, ref="hf://org/repo", quantization="Q4_K_M"))
    assert (request.id, request.ref, request.quantization) == ("", "hf://org/repo", "Q4_K_M")
    assert to_request(asked(url=None, ref="hf://org/repo")).id == "m"


def test_a_ref_is_for_its_source_to_judge_but_a_url_is_judged_at_once() -> None:
    assert to_request(asked(url=None, ref="ftp://h/m")).ref == "ftp://h/m"
    with pytest.raises(errors.InvalidUrlScheme):
        to_request(asked(url="hf://org/repo"))
    with pytest.raises(errors.CredentialsInUrl):
        to_planned(PlanRequest(url="https://me:secret@h/m"))


def test_null_counts_as_absent_and_unknown_fields_are_ignored() -> None:
    assert to_request(asked(provider=None, sha256=None, filename=None, unheard_of="x")) == to_request(asked())


@pytest.mark.parametrize(
    ("fields", "code", "name"),
    [
        ({"id": ""}, "invalid_field", "id"),
        ({"id": "x" * (MAX_ID + 1)}, "invalid_field", "id"),
        ({"id": "a\nb"}, "invalid_field", "id"),
        ({"id": "a\x7f"}, "invalid_field", "id"),
        ({"id": "a\x85"}, "invalid_field", "id"),
        ({"id": None}, "missing_field", "id"),
        ({"id": "", "url": None, "ref": "hf://o/r"}, "invalid_field", "id"),
        ({"url": None}, "missing_field", "url"),
        ({"ref": "hf://o/r"}, "invalid_field", "ref"),
        ({"url": None, "ref": ""}, "invalid_field", "ref"),
        ({"url": None, "ref": "a\nb"}, "invalid_field", "ref"),
        ({"url": None, "ref": "x" * (MAX_REF + 1)}, "invalid_field", "ref"),
        ({"quantization": ""}, "invalid_field", "quantization"),
        ({"quantization": "a\0b"}, "invalid_field", "quantization"),
        ({"sha256": "abc"}, "invalid_sha256", "sha256"),
        ({"sha256": ""}, "invalid_sha256", "sha256"),
        ({"provider": ""}, "invalid_field", "provider"),
        ({"provider": "a\nb"}, "invalid_field", "provider"),
        ({"provider": "x" * (MAX_NAME + 1)}, "invalid_field", "provider"),
        ({"filename": ""}, "invalid_field", "filename"),
        ({"filename": "a\0b"}, "invalid_field", "filename"),
    ],
)
def test_a_bad_field_is_refused_by_name(fields: dict[str, str], code: str, name: str) -> None:
    with pytest.raises(errors.RequestError, match=name) as caught:
        to_request(asked(**fields))
    assert (caught.value.code, caught.value.status) == (code, 400)


@pytest.mark.parametrize(
    "model_id", ["m", "x" * MAX_ID, "ü" * MAX_ID, "org/name@Q4_K_M", "../..", " ", "a\u2028b", "😀"]
)
def test_any_other_id_is_data_and_is_taken_as_it_is(model_id: str) -> None:
    assert checked_id(model_id) == model_id


@given(st.text(max_size=MAX_ID + 5))
def test_an_id_is_taken_or_refused_and_never_changed(model_id: str) -> None:
    has_control = any(ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F for character in model_id)
    if has_control or not 1 <= len(model_id) <= MAX_ID:
        with pytest.raises(errors.InvalidField):
            checked_id(model_id)
    else:
        assert checked_id(model_id) == model_id


@pytest.mark.parametrize("max_jobs", [0, -1, 1001, 1.5, "3"])
def test_a_limit_out_of_its_range_is_refused(max_jobs: object) -> None:
    with pytest.raises(msgspec.ValidationError, match="max_jobs"):
        msgspec.json.decode(json.dumps({"max_jobs": max_jobs}), type=wire.LimitsChange)


@pytest.mark.parametrize("max_jobs", [1, 1000, None])
def test_a_limit_within_its_range_is_taken(max_jobs: int | None) -> None:
    assert msgspec.json.decode(json.dumps({"max_jobs": max_jobs}), type=wire.LimitsChange).max_jobs == max_jobs


def encoded(value: msgspec.Struct) -> object:
    return json.loads(msgspec.json.encode(value))


def test_a_receipt_is_wrapped_as_in_the_seed() -> None:
    done = wire.Done(data=wire.Receipt(id="m", job_id="job_1", status="queued"))
    assert encoded(done) == {"ok": True, "data": {"id": "m", "job_id": "job_1", "status": "queued"}}
    assert encoded(wire.Receipt(id="m", status="no-active-job")) == {"id": "m", "status": "no-active-job"}


def test_a_model_that_is_not_finished_has_no_file() -> None:
    entry = wire.ModelEntry(id="m", provider="local", status="downloading")
    assert encoded(entry) == {"id": "m", "provider": "local", "status": "downloading"}


def test_a_job_tells_what_is_known_and_zero_is_known() -> None:
    entry = wire.JobEntry(
        id="m", job_id="j", status="queued", provider="local", url=URL, queued_at="t", downloaded=0, eta_seconds=0
    )
    assert encoded(entry) == {
        "id": "m", "job_id": "j", "status": "queued", "provider": "local", "url": URL, "queued_at": "t",
        "downloaded": 0, "eta_seconds": 0,
    }  # fmt: skip


@pytest.mark.parametrize("kind", [wire.Receipt, wire.ModelEntry, wire.JobEntry])
def test_an_optional_field_without_value_is_absent_and_never_null(kind: type[msgspec.Struct]) -> None:
    optional = [name for name, hint in typing.get_type_hints(kind).items() if type(None) in typing.get_args(hint)]
    assert optional
    required = {field.name: "available" for field in msgspec.structs.fields(kind) if field.required}
    made = msgspec.convert(required | ({"downloaded": 0} if kind is wire.JobEntry else {}), kind)
    assert set(encoded(made)) == set(required)  # type: ignore[arg-type]

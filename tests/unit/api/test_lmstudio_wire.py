"""LM Studio's bodies: when a download will be complete, what a finished model is said to be, what is refused."""

import datetime
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import errors, events
from arwd.api import lmstudio
from arwd.api.lmstudio_wire import (
    MAX_MODEL,
    NOMINAL_RATE,
    Figures,
    ModelRequest,
    estimated_completion,
    to_local_model,
    to_request,
)
from arwd.model import MAX_WHOLE
from arwd.store.inspect import Head, Quantization

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=datetime.UTC)
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("figures", "completion"),
    [
        (Figures(downloaded=40, total=100, rate=10.0, average=1.0), "2026-01-02T03:04:11.678Z"),
        (Figures(downloaded=40, total=100, rate=0.0, average=30.0), "2026-01-02T03:04:07.678Z"),
        (Figures(downloaded=0, total=5 * NOMINAL_RATE), "2026-01-02T03:04:10.678Z"),
        (Figures(downloaded=100, total=100, rate=10.0), "2026-01-02T03:04:05.678Z"),
        (Figures(downloaded=101, total=100, rate=10.0), "2026-01-02T03:04:05.678Z"),
        (Figures(downloaded=40, rate=10.0), "2026-01-02T03:04:05.678Z"),
    ],
    ids=["its rate", "its average", "a nominal rate", "nothing left", "more than all", "unknown size"],
)
def test_the_estimate_is_by_the_best_rate_that_is_known(figures: Figures, completion: str) -> None:
    assert estimated_completion(NOW, figures) == completion


def test_the_nominal_rate_is_one_mebibyte_a_second() -> None:
    assert NOMINAL_RATE == MIB


@pytest.mark.parametrize(("seconds", "rate"), [(10, 7.0), (0, 0.0), (-3, 0.0)])
def test_the_average_is_since_it_began_and_none_where_the_clock_was_set_back(seconds: int, rate: float) -> None:
    began = events.stamp(NOW - datetime.timedelta(seconds=seconds))
    assert lmstudio._average(70, began, NOW) == rate


rates = st.floats(min_value=0, allow_infinity=False, allow_nan=False)
sizes = st.integers(0, MAX_WHOLE)


@given(sizes, st.none() | sizes, rates, rates)
def test_an_estimate_is_always_a_time_that_is_not_past(
    downloaded: int, total: int | None, rate: float, mean: float
) -> None:
    told = estimated_completion(NOW, Figures(downloaded=downloaded, total=total, rate=rate, average=mean))
    assert datetime.datetime.fromisoformat(told) >= NOW
    assert len(told) == len("2026-01-02T03:04:05.678Z")


HEAD = Head(
    format="gguf",
    type="embedding",
    architecture="llama",
    quantization=Quantization(name="Q4_K_M", bits_per_weight=4.89),
    parameters=7_000_000_000,
    params_string="7B",
    context_length=4096,
    display_name="Llama 7B",
)


def entry(key: str = "meta/llama-7b@Q4_K_M", head: Head | None = HEAD) -> dict[str, Any]:
    local = to_local_model(key=key, provider="local", size=99, head=head)
    return json.loads(msgspec.json.encode(local))  # type: ignore[no-any-return]


def test_a_model_is_said_to_be_what_its_head_says() -> None:
    assert entry() == {
        "type": "embedding",
        "publisher": "meta",
        "key": "meta/llama-7b@Q4_K_M",
        "display_name": "Llama 7B",
        "architecture": "llama",
        "quantization": {"name": "Q4_K_M", "bits_per_weight": 4.89},
        "size_bytes": 99,
        "params_string": "7B",
        "loaded_instances": [],
        "max_context_length": 4096,
        "format": "gguf",
    }


def test_what_a_head_does_not_say_is_absent() -> None:
    always = {"type", "publisher", "key", "display_name", "size_bytes", "loaded_instances", "format"}
    assert set(entry(head=Head(format="safetensors"))) == always
    assert entry(head=Head(format="gguf", quantization=Quantization(name="F16")))["quantization"] == {"name": "F16"}


def test_a_file_that_is_no_known_model_has_an_entry_whose_format_is_null() -> None:
    assert entry("voice", None) == {
        "type": "llm",
        "publisher": "local",
        "key": "voice",
        "display_name": "voice",
        "size_bytes": 99,
        "loaded_instances": [],
        "format": None,
    }


@pytest.mark.parametrize(
    ("key", "publisher", "name"),
    [
        ("ibm/granite", "ibm", "granite"),
        ("org/repo/sub/m.gguf", "org", "m.gguf"),
        ("plain", "local", "plain"),
        ("/odd", "local", "odd"),
        ("odd/", "odd", "odd/"),
    ],
)
def test_publisher_and_name_are_of_the_key(key: str, publisher: str, name: str) -> None:
    told = entry(key, None)
    assert (told["publisher"], told["display_name"], told["key"]) == (publisher, name, key)


@pytest.mark.parametrize("field", ["model", "quantization"])
@pytest.mark.parametrize("value", ["", "a\nb", "x" * (MAX_MODEL + 1)])
def test_a_field_that_cannot_be_is_refused_by_its_name(field: str, value: str) -> None:
    body = {"model": "ibm/granite"} | {field: value}
    with pytest.raises(errors.InvalidField, match=field) as caught:
        to_request(msgspec.convert(body, ModelRequest))
    assert caught.value.field == field

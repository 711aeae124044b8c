"""LM Studio's API as its clients meet it: a real daemon, a Hub with the models of the seeds' own examples."""

import asyncio
import contextlib
import datetime
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from arwd.store import heads as head_cache
from arwd.store.inspect import Head
from tests import canary, heads, hub, running
from tests.dialects.test_lmstudio_seed import COMPLETED, PRESENT, REQUEST, STARTED, TYPES
from tests.hub import Answer, Hub, Repo
from tests.models import SEVERAL, gguf
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running

GRANITE = heads.gguf(heads.LLAMA, heads.TENSORS).ljust(5_000, b"\0")
SMALL, LARGE = gguf(b"small".ljust(3_000, b".")), gguf(b"large".ljust(6_000, b"."))
LINK = "https://huggingface.co/lmstudio-community/gpt-oss-20b-GGUF"
REPOS = {
    "lmstudio-community/granite-4.0-micro-GGUF": {"granite-4.0-micro-Q4_K_M.gguf": GRANITE},
    "lmstudio-community/gpt-oss-20b-GGUF": {"gpt-oss-20b-Q4_K_M.gguf": SMALL, "gpt-oss-20b-Q8_0.gguf": LARGE},
    "org/two": {"a-Q4_K_M.gguf": SMALL, "b-Q4_K_M.gguf": LARGE},
    "org/several": SEVERAL,
}
DOWNLOAD = "/api/v1/models/download"


@pytest.fixture
async def served() -> AsyncIterator[Hub]:
    repos = {name: Repo(files) for name, files in REPOS.items()}
    async with hub.running(repos | {"org/gated": Repo({"m.gguf": SMALL}, gated=True)}) as started:
        yield started


@pytest.fixture
async def daemon(tmp_path: Path, served: Hub) -> AsyncIterator[Running]:
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as started:
        yield started


async def asked(daemon: Running, model: str, **more: str) -> dict[str, Any]:
    """The answer to a download that is taken."""
    status, answer = await daemon.call("POST", DOWNLOAD, {"model": model, **more})
    assert status == 200, answer
    return answer  # type: ignore[no-any-return]


async def told(daemon: Running, job_id: str) -> dict[str, Any]:
    """How the job stands."""
    status, answer = await daemon.call("GET", f"{DOWNLOAD}/status/{job_id}")
    assert status == 200, answer
    return answer  # type: ignore[no-any-return]


def assert_fields(answer: dict[str, Any], status: str, *, size: int | None) -> None:
    """Exactly those that this status has, each of its type; the size wherever it is known."""
    known_size = set() if size is None else {"total_size_bytes"}
    assert (answer["status"], set(answer)) == (status, PRESENT[status] | known_size), answer
    assert {name: type(value) for name, value in answer.items() if name != "error"} == {
        name: TYPES[name] for name in answer if name != "error"
    }
    assert answer.get("total_size_bytes") == size
    for name in ("started_at", "completed_at", "estimated_completion"):
        if name in answer:
            assert datetime.datetime.fromisoformat(answer[name]).utcoffset() == datetime.timedelta(0)
            assert len(answer[name]) == len("2025-10-03T15:33:23.496Z")


# The seeds' examples.


async def test_the_example_of_a_download_from_its_start_to_its_end(daemon: Running, served: Hub) -> None:
    served.storage.go_on.clear()
    started = await asked(daemon, **json.loads(REQUEST))
    assert_fields(started, "downloading", size=len(GRANITE))
    assert list(started) == list(json.loads(STARTED))
    assert {name: type(value) for name, value in started.items()} == {
        name: type(value) for name, value in json.loads(STARTED).items()
    }
    assert set(await told(daemon, started["job_id"])) == set(started)
    served.storage.go_on.set()
    await daemon.settled("ibm/granite-4-micro")
    completed = await told(daemon, started["job_id"])
    assert_fields(completed, "completed", size=len(GRANITE))
    assert list(completed) == list(json.loads(COMPLETED))
    assert (completed["job_id"], completed["downloaded_bytes"]) == (started["job_id"], len(GRANITE))
    assert completed["started_at"] == started["started_at"] <= completed["completed_at"]
    assert await asked(daemon, **json.loads(REQUEST)) == {"status": "already_downloaded"}
    assert (daemon.models / "granite-4.0-micro-Q4_K_M.gguf").read_bytes() == GRANITE


@pytest.mark.parametrize(
    ("body", "key", "data"),
    [
        ({"model": "openai/gpt-oss-20b"}, "openai/gpt-oss-20b", SMALL),
        ({"model": "openai/gpt-oss-20b@q8_0"}, "openai/gpt-oss-20b@Q8_0", LARGE),
        ({"model": LINK}, "lmstudio-community/gpt-oss-20b-GGUF", SMALL),
        ({"model": LINK, "quantization": None}, "lmstudio-community/gpt-oss-20b-GGUF", SMALL),
        ({"model": LINK, "quantization": "Q4_K_M"}, "lmstudio-community/gpt-oss-20b-GGUF@Q4_K_M", SMALL),
        ({"model": LINK, "quantization": "q8_0"}, "lmstudio-community/gpt-oss-20b-GGUF@Q8_0", LARGE),
        (
            {"model": f"{LINK}/blob/main/gpt-oss-20b-Q8_0.gguf"},
            "lmstudio-community/gpt-oss-20b-GGUF/gpt-oss-20b-Q8_0.gguf",
            LARGE,
        ),
        ({"model": "hf://org/two:Q4_K_M@main", "unheard_of": 1}, None, b""),
        ({"model": "lmstudio-community/gpt-oss-20b-GGUF"}, "lmstudio-community/gpt-oss-20b-GGUF", SMALL),
    ],
)
async def test_a_model_has_the_key_that_its_source_gives_it(
    daemon: Running, body: dict[str, Any], key: str | None, data: bytes
) -> None:
    status, answer = await daemon.call("POST", DOWNLOAD, body)
    if key is None:
        assert (status, answer["error"]["code"]) == (400, "ambiguous_ref")
        return
    assert status == 200, answer
    last = await daemon.settled(key)
    assert (last["status"], last["trust"], last["bytes"]) == ("complete", "source", len(data))
    assert last["sha256"] == hashlib.sha256(data).hexdigest()
    assert last["job_id"] == answer["job_id"]


async def test_a_url_is_a_model_too(daemon: Running, origin: Origin, data: bytes) -> None:
    started = await asked(daemon, origin.url("tiny.gguf"))
    await daemon.settled("tiny.gguf")
    assert_fields(await told(daemon, started["job_id"]), "completed", size=len(data))


# Which field is there in which status.


async def test_while_bytes_come_the_rate_and_the_estimate_are_there(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    origin.script(Stall(300_000))
    job_id = (await asked(daemon, origin.url("m")))["job_id"]
    async with daemon.events("id=m") as stream:
        await stream.until(lambda message: message.payload.get("downloaded") == 300_000)
    answer = await told(daemon, job_id)
    assert_fields(answer, "downloading", size=len(data))
    assert answer["downloaded_bytes"] == 300_000
    assert answer["bytes_per_second"] > 0
    assert answer["estimated_completion"] > answer["started_at"]


async def test_of_a_file_of_unknown_size_it_is_left_out_until_all_is_there(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    may_end = asyncio.Event()
    origin.may_go_on = lambda offset: offset < 300_000 or may_end.is_set()
    origin.script(Serve(framing="chunked"))
    job_id = (await asked(daemon, origin.url("m")))["job_id"]
    async with daemon.events("id=m") as stream:
        await stream.until(lambda message: message.payload.get("downloaded", 0) >= 300_000)
    answer = await told(daemon, job_id)
    assert_fields(answer, "downloading", size=None)
    now = datetime.datetime.now(datetime.UTC)
    assert now - datetime.datetime.fromisoformat(answer["estimated_completion"]) < datetime.timedelta(seconds=10)
    may_end.set()
    await daemon.settled("m")
    assert_fields(await told(daemon, job_id), "completed", size=len(data))


async def test_before_the_first_byte_the_rate_is_nought(daemon: Running, served: Hub) -> None:
    served.storage.go_on.clear()
    answer = await asked(daemon, "openai/gpt-oss-20b")
    assert (answer["bytes_per_second"], answer["downloaded_bytes"]) == (0.0, 0)
    assert answer["estimated_completion"] >= answer["started_at"]
    served.storage.go_on.set()


async def test_a_job_that_waits_for_its_turn_is_downloading(daemon: Running, origin: Origin) -> None:
    await daemon.call("PATCH", "/limits", {"max_jobs": 1})
    origin.script(Stall(1_000))
    await asked(daemon, origin.url("first"))
    answer = await asked(daemon, "openai/gpt-oss-20b")
    assert (await daemon.job("openai/gpt-oss-20b"))["status"] == "queued"
    assert_fields(answer, "downloading", size=len(SMALL))
    answer = await asked(daemon, origin.url("third"))
    assert_fields(answer, "downloading", size=None)


async def test_a_paused_job_has_neither_rate_nor_estimate_and_goes_on_when_asked_for_again(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    origin.script(Stall(300_000), Serve())
    job_id = (await asked(daemon, origin.url("m")))["job_id"]
    async with daemon.events("id=m") as stream:
        await stream.until(lambda message: message.payload.get("downloaded") == 300_000)
    await daemon.call("POST", "/models/download/pause", {"id": "m"})
    answer = await told(daemon, job_id)
    assert_fields(answer, "paused", size=len(data))
    assert answer["downloaded_bytes"] == 300_000
    again = await asked(daemon, origin.url("m"))
    assert_fields(again, "downloading", size=len(data))
    assert again["job_id"] == job_id
    await daemon.settled("m")
    assert_fields(await told(daemon, job_id), "completed", size=len(data))


async def test_a_job_paused_before_its_size_is_known_has_none(daemon: Running, origin: Origin) -> None:
    await daemon.call("PATCH", "/limits", {"max_jobs": 1})
    origin.script(Stall(1_000))
    await asked(daemon, origin.url("first"))
    job_id = (await asked(daemon, origin.url("m")))["job_id"]
    await daemon.call("POST", "/models/download/pause", {"id": "m"})
    assert_fields(await told(daemon, job_id), "paused", size=None)


async def test_a_failed_job_says_why_and_the_next_request_begins_anew(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    origin.script(Status(404), Serve())
    job_id = (await asked(daemon, origin.url("m")))["job_id"]
    await daemon.settled("m")
    answer = await told(daemon, job_id)
    assert_fields(answer, "failed", size=None)
    assert answer["error"]["code"] == "not_found"
    assert set(answer["error"]) == {"code", "message"}
    assert "404" in answer["error"]["message"]
    again = await asked(daemon, origin.url("m"))
    assert (again["status"], again["job_id"] != job_id) == ("downloading", True)
    await daemon.settled("m")
    assert_fields(await told(daemon, again["job_id"]), "completed", size=len(data))
    assert_fields(await told(daemon, job_id), "failed", size=None)


async def test_a_model_of_several_files_has_the_fields_of_one(daemon: Running, served: Hub) -> None:
    link, size = "https://huggingface.co/org/several", sum(map(len, SEVERAL.values()))
    served.storage.go_on.clear()
    started = await asked(daemon, link)
    assert_fields(started, "downloading", size=size)
    async with daemon.events("id=org/several&replay=20") as stream:
        await stream.until(lambda message: message.payload.get("files_done") == 3)
    assert_fields(await told(daemon, started["job_id"]), "downloading", size=size)
    await daemon.call("POST", "/models/download/pause", {"id": "org/several"})
    assert_fields(await told(daemon, started["job_id"]), "paused", size=size)
    served.storage.answers += [Answer(404)] * 10  # those who went away when it was paused are answered too
    served.storage.go_on.set()
    assert (await asked(daemon, link))["job_id"] == started["job_id"]
    await daemon.settled("org/several")
    assert_fields(await told(daemon, started["job_id"]), "failed", size=size)
    served.storage.answers.clear()
    anew = await asked(daemon, link)
    assert anew["job_id"] != started["job_id"]
    await daemon.settled("org/several")
    completed = await told(daemon, anew["job_id"])
    assert_fields(completed, "completed", size=size)
    assert completed["downloaded_bytes"] == size
    assert await asked(daemon, link) == {"status": "already_downloaded"}


async def test_a_canceled_job_has_failed_and_the_next_request_begins_anew(daemon: Running, served: Hub) -> None:
    served.storage.go_on.clear()
    job_id = (await asked(daemon, "openai/gpt-oss-20b"))["job_id"]
    await daemon.call("POST", "/models/download/cancel", {"id": "openai/gpt-oss-20b"})
    await daemon.settled("openai/gpt-oss-20b")
    answer = await told(daemon, job_id)
    assert_fields(answer, "failed", size=len(SMALL))
    assert answer["error"] == {"code": "canceled", "message": "The download was canceled."}
    again = await asked(daemon, "openai/gpt-oss-20b")
    assert (again["status"], again["job_id"] != job_id) == ("downloading", True)
    assert await told(daemon, job_id) == answer
    served.storage.go_on.set()
    assert (await daemon.settled("openai/gpt-oss-20b"))["status"] == "complete"


async def test_what_is_under_way_is_joined(daemon: Running, served: Hub) -> None:
    served.storage.go_on.clear()
    answers = await asyncio.gather(*(asked(daemon, "openai/gpt-oss-20b") for _ in range(5)))
    assert len({answer["job_id"] for answer in answers}) == 1
    for answer in answers:
        assert_fields(answer, "downloading", size=len(SMALL))
    served.storage.go_on.set()


async def test_what_another_id_holds_is_already_downloaded(daemon: Running) -> None:
    await asked(daemon, "openai/gpt-oss-20b")
    await daemon.settled("openai/gpt-oss-20b")
    assert await asked(daemon, LINK) == {"status": "already_downloaded"}
    _, listed = await daemon.call("GET", "/api/v1/models")
    assert {model["key"] for model in listed["models"]} == {"openai/gpt-oss-20b", LINK.partition(".co/")[2]}


# A job of one dialect is visible in all.


async def test_a_job_of_one_dialect_is_seen_in_the_other(daemon: Running, origin: Origin, data: bytes) -> None:
    receipt = await daemon.download("m", origin.url())
    await daemon.settled("m")
    assert_fields(await told(daemon, receipt["job_id"]), "completed", size=len(data))
    async with daemon.events("prefix=Models.") as stream:
        job_id = (await asked(daemon, "openai/gpt-oss-20b"))["job_id"]
        last = await stream.status("complete")
    assert (last["id"], last["job_id"]) == ("openai/gpt-oss-20b", job_id)
    assert (await daemon.job("openai/gpt-oss-20b"))["job_id"] == job_id


async def test_after_a_restart_a_job_still_has_its_status(tmp_path: Path, served: Hub) -> None:
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
        job_id = (await asked(daemon, "openai/gpt-oss-20b"))["job_id"]
        await daemon.settled("openai/gpt-oss-20b")
        before = await told(daemon, job_id)
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
        assert await told(daemon, job_id) == before
        assert await asked(daemon, "openai/gpt-oss-20b") == {"status": "already_downloaded"}


# What is here.


async def test_a_finished_model_is_listed_with_what_its_head_says(daemon: Running) -> None:
    assert await daemon.call("GET", "/api/v1/models") == (200, {"models": []})
    await asked(daemon, "ibm/granite-4-micro")
    await daemon.settled("ibm/granite-4-micro")
    assert await daemon.call("GET", "/api/v1/models") == (200, {"models": [{
        "type": "llm",
        "publisher": "ibm",
        "key": "ibm/granite-4-micro",
        "display_name": "Tiny Llama",
        "architecture": "llama",
        "quantization": {"name": "Q4_K_M", "bits_per_weight": 5.94},
        "size_bytes": len(GRANITE),
        "params_string": "4x7B",
        "loaded_instances": [],
        "max_context_length": 4096,
        "format": "gguf",
    }]})  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [("m.gguf", b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 500, "gguf"), ("m.onnx", b"\x08\x07" * 254, None)],
)
async def test_a_model_whose_head_says_nothing_is_listed_with_what_is_known_otherwise(
    daemon: Running, origin: Origin, name: str, data: bytes, kind: str | None
) -> None:
    origin.script(Serve(data=data))
    await daemon.download("m", origin.url(name), provider="mine")
    await daemon.settled("m")
    assert await daemon.call("GET", "/api/v1/models") == (200, {"models": [{
        "type": "llm", "publisher": "mine", "key": "m", "display_name": "m", "size_bytes": 508, "loaded_instances": [],
        "format": kind,
    }]})  # fmt: skip


async def test_what_is_on_its_way_or_deleted_is_not_listed(daemon: Running, served: Hub) -> None:
    served.storage.go_on.clear()
    await asked(daemon, "openai/gpt-oss-20b")
    assert await daemon.call("GET", "/api/v1/models") == (200, {"models": []})
    served.storage.go_on.set()
    await daemon.settled("openai/gpt-oss-20b")
    assert len((await daemon.call("GET", "/api/v1/models"))[1]["models"]) == 1
    await daemon.call("POST", "/models/delete", {"id": "openai/gpt-oss-20b"})
    assert await daemon.call("GET", "/api/v1/models") == (200, {"models": []})


async def test_reading_heads_holds_nobody_up(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await asked(daemon, "ibm/granite-4-micro")
    await daemon.settled("ibm/granite-4-micro")
    is_reading, may_end = threading.Event(), threading.Event()

    def inspect(paths: Iterable[Path]) -> Head | None:
        is_reading.set()
        assert may_end.wait(20)
        return None

    monkeypatch.setattr(head_cache, "inspect", inspect)
    listing = asyncio.create_task(daemon.call("GET", "/api/v1/models"))
    with contextlib.ExitStack() as stack:
        stack.callback(may_end.set)
        assert await asyncio.to_thread(is_reading.wait, 20)
        assert await daemon.call("GET", "/healthz") == (200, {"ok": True})
        assert not listing.done()
    assert (await listing)[1]["models"][0]["format"] is None


# What is refused.

REQUIRED = {
    "type": "invalid_request", "message": '"model" is required', "code": "missing_required_parameter", "param": "model",
}  # fmt: skip
NOT_THE_FIELD = "quantization goes with a link to the Hub; with an identifier write publisher/name@Q4_K_M."


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({}, 400, REQUIRED),
        ({"model": None}, 400, REQUIRED),
        ({"Model": "ibm/granite-4-micro"}, 400, REQUIRED),
        ({"model": 1}, 400, {"type": "invalid_request", "code": "invalid_field", "param": "model"}),
        ({"model": [LINK]}, 400, {"type": "invalid_request", "code": "invalid_field", "param": "model"}),
        ({"model": ""}, 400, {"type": "invalid_request", "code": "invalid_field", "param": "model"}),
        ({"model": "a\nb"}, 400, {"type": "invalid_request", "code": "invalid_field", "param": "model"}),
        ({"model": LINK, "quantization": 4}, 400, {"code": "invalid_field", "param": "quantization"}),
        ({"model": LINK, "quantization": ""}, 400, {"code": "invalid_field", "param": "quantization"}),
        ({"model": LINK, "quantization": "Q 4"}, 400, {"code": "invalid_field", "param": "quantization"}),
        ({"model": f"{LINK}:Q8_0", "quantization": "Q4_K_M"}, 400, {"param": "quantization"}),
        ({"model": f"{LINK}/blob/main/x.gguf", "quantization": "Q8_0"}, 400, {"param": "quantization"}),
        (
            {"model": "openai/gpt-oss-20b", "quantization": "Q8_0"},
            400,
            {"type": "invalid_request", "message": NOT_THE_FIELD, "code": "invalid_field", "param": "quantization"},
        ),
        ({"model": "http://127.0.0.1:1/m", "quantization": "Q8_0"}, 400, {"param": "quantization"}),
        ({"model": "ftp://127.0.0.1/m"}, 400, {"type": "invalid_request", "code": "invalid_url_scheme"}),
        ({"model": "http://me:secret@127.0.0.1/m"}, 400, {"type": "invalid_request", "code": "credentials_in_url"}),
        ({"model": "granite"}, 404, {"type": "model_not_found"}),
        ({"model": "openai/gpt-oss-20b:Q8_0"}, 400, {"type": "invalid_request", "code": "invalid_field"}),
        ({"model": "https://huggingface.co/datasets/org/x"}, 400, {"code": "invalid_field"}),
        ({"model": "nobody/nothing"}, 404, {"type": "model_not_found"}),
        ({"model": "https://huggingface.co/nobody/nothing"}, 404, {"type": "model_not_found"}),
        ({"model": f"{LINK}/blob/main/nothing.gguf"}, 404, {"type": "model_not_found"}),
        ({"model": "https://huggingface.co/org/gated"}, 403, {"type": "invalid_request", "code": "model_forbidden"}),
        ([], 400, {"type": "invalid_request", "code": "invalid_json"}),
    ],
)
async def test_a_request_that_cannot_be_is_refused_in_lm_studio_s_form(
    daemon: Running, body: object, status: int, error: dict[str, str]
) -> None:
    answered, answer = await daemon.call("POST", DOWNLOAD, body)
    assert (answered, list(answer)) == (status, ["error"]), answer
    assert answer["error"].items() >= error.items()
    assert {"type", "message"} <= set(answer["error"]) <= {"type", "message", "code", "param"}
    # 404 has types of its own, and they say all; every other refusal has a code.
    assert ("code" in answer["error"]) == (status != 404)
    assert (await daemon.call("GET", "/models/jobs"))[1]["jobs"] == []


async def test_a_quantization_that_there_is_not_is_404_and_names_those_that_there_are(daemon: Running) -> None:
    status, answer = await daemon.call("POST", DOWNLOAD, {"model": LINK, "quantization": "Q2_K"})
    assert (status, answer["error"]["type"]) == (404, "model_not_found")
    assert "Q2_K" in answer["error"]["message"]
    assert "Q4_K_M, Q8_0" in answer["error"]["message"]


async def test_an_ambiguous_ref_is_400_and_names_the_candidates(daemon: Running) -> None:
    status, answer = await daemon.call("POST", DOWNLOAD, {"model": "org/two"})
    assert (status, answer["error"]["type"], answer["error"]["code"]) == (400, "invalid_request", "ambiguous_ref")
    assert "a-Q4_K_M.gguf, b-Q4_K_M.gguf" in answer["error"]["message"]


async def test_a_hub_that_does_not_answer_is_502(daemon: Running, served: Hub) -> None:
    served.is_down = True
    status, answer = await daemon.call("POST", DOWNLOAD, {"model": "openai/gpt-oss-20b"})
    assert status == 502
    assert (answer["error"]["type"], answer["error"]["code"]) == ("internal_error", "hub_unreachable")


async def test_a_hub_that_is_too_slow_is_502_in_time(tmp_path: Path, served: Hub) -> None:
    served.go_on.clear()
    async with running.daemon(tmp_path / "other", hf_endpoint=served.url, resolve_timeout=1) as daemon:
        status, answer = await daemon.call("POST", DOWNLOAD, {"model": "openai/gpt-oss-20b"})
    assert (status, answer["error"]["code"]) == (502, "hub_unreachable")
    served.go_on.set()


async def test_a_hub_that_is_asked_too_often_says_so(daemon: Running, served: Hub) -> None:
    served.limit(77, count=100)
    status, answer = await daemon.call("POST", DOWNLOAD, {"model": "openai/gpt-oss-20b"})
    assert (status, answer["error"]["code"]) == (502, "hub_unreachable")
    assert "78 s" in answer["error"]["message"]


async def test_an_id_that_is_in_use_for_something_else_is_409(daemon: Running, origin: Origin) -> None:
    origin.script(Stall(1_000))
    await daemon.download("openai/gpt-oss-20b", origin.url())
    status, answer = await daemon.call("POST", DOWNLOAD, {"model": "openai/gpt-oss-20b"})
    assert (status, answer["error"]["type"], answer["error"]["code"]) == (409, "invalid_request", "id_in_use")


@pytest.mark.parametrize("job_id", ["job_0123456789", "x", "%00", "job_%C3%A4", "x" * 2_000])
async def test_a_job_that_there_is_not_is_404_in_lm_studio_s_form(daemon: Running, job_id: str) -> None:
    status, answer = await daemon.call("GET", f"{DOWNLOAD}/status/{job_id}")
    message = "There is no job of this id; final ones are kept for 30 days."
    assert (status, answer) == (404, {"error": {"type": "job_not_found", "message": message}})


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "code"),
    [
        ("POST", DOWNLOAD, {"data": b"model=x"}, 415, "unsupported_media_type"),
        ("POST", DOWNLOAD, {"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "invalid_json"),
        ("GET", DOWNLOAD, {}, 405, "method_not_allowed"),
        ("DELETE", "/api/v1/models", {}, 405, "method_not_allowed"),
        ("GET", f"{DOWNLOAD}/status", {}, 404, "not_found"),
        ("GET", f"{DOWNLOAD}/status/..%2F..", {}, 404, "not_found"),
        ("GET", "/api/v1/nothing", {}, 404, "not_found"),
        ("GET", "/admin/api/v1/nothing", {}, 404, "not_found"),
    ],
)
async def test_whatever_is_wrong_below_its_path_is_said_in_its_form(
    daemon: Running, method: str, path: str, more: dict[str, Any], status: int, code: str
) -> None:
    answered, answer = await daemon.call(method, path, **more)
    assert (answered, answer["error"]["type"], answer["error"]["code"]) == (status, "invalid_request", code)


async def test_where_a_token_is_set_it_is_asked_for_in_its_form(tmp_path: Path, served: Hub) -> None:
    token = canary.secret("token")
    async with running.daemon(tmp_path / "state", token, hf_endpoint=served.url) as daemon:
        for method, path, body in (
            ("POST", DOWNLOAD, {"model": LINK}),
            ("GET", f"{DOWNLOAD}/status/job_0123456789", None),
            ("GET", "/api/v1/models", None),
        ):
            status, answer = await daemon.call(method, path, body)
            assert (status, answer["error"]["type"], answer["error"]["code"]) == (
                401,
                "invalid_request",
                "unauthorized",
            )
        headers = {"Authorization": f"Bearer {token}"}
        assert await daemon.call("GET", "/api/v1/models", headers=headers) == (200, {"models": []})

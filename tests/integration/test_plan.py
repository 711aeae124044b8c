"""`POST /models/plan` says what a download would fetch, and starts nothing; ARW's own commands take any ref."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import hub, running
from tests.hub import Hub, Repo
from tests.models import gguf
from tests.origin import Origin
from tests.running import Running


def weights(name: str) -> bytes:
    return gguf(name.encode().ljust(300, b"."))


GGUF = {name: weights(name) for name in ("m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-m-F16.gguf")}
TENSORS = {"config.json": b"{}", "sub/model.safetensors": weights("t")}


@pytest.fixture
async def served() -> AsyncIterator[Hub]:
    repos = {"org/m-GGUF": Repo(GGUF), "org/tensors": Repo(TENSORS), "org/one": Repo({"one-Q4_K_M.gguf": weights("1")})}
    async with hub.running(repos) as started:
        yield started


@pytest.fixture
async def daemon(tmp_path: Path, served: Hub) -> AsyncIterator[Running]:
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as started:
        yield started


def planned(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


async def plan(daemon: Running, **body: Any) -> Any:
    status, answer = await daemon.call("POST", "/models/plan", body)
    assert status == 200, answer
    assert (await daemon.call("GET", "/models/jobs"))[1]["jobs"] == []
    assert daemon.files() == []
    return answer


@pytest.mark.parametrize(
    "body",
    [
        {"ref": "hf://org/m-GGUF:Q8_0"},
        {"ref": "hf://org/m-GGUF", "quantization": "q8_0"},
        {"url": "https://huggingface.co/org/m-GGUF", "quantization": "Q8_0"},
        {"ref": "org/m-GGUF@Q8_0"},
    ],
)
async def test_a_plan_names_every_file_with_size_and_digest_and_what_else_could_be_asked_for(
    daemon: Running, body: dict[str, str]
) -> None:
    names = ("m-Q8_0.gguf", "mmproj-m-F16.gguf")
    assert await plan(daemon, **body) == {
        "files": [planned(name, GGUF[name]) for name in names],
        "total": sum(len(GGUF[name]) for name in names),
        "quantizations": ["Q4_K_M", "Q8_0"],
    }


async def test_what_the_source_does_not_say_is_left_out(daemon: Running) -> None:
    assert await plan(daemon, ref="https://huggingface.co/org/tensors") == {
        "files": [
            {"name": "config.json", "bytes": 2},
            planned("sub/model.safetensors", TENSORS["sub/model.safetensors"]),
        ],
        "total": 302,
    }


@pytest.mark.parametrize("field", ["url", "ref"])
async def test_of_a_url_the_name_is_known_and_nobody_is_asked(daemon: Running, origin: Origin, field: str) -> None:
    assert await plan(daemon, **{field: origin.url("a%20b.gguf")}) == {"files": [{"name": "a b.gguf"}]}
    assert origin.accepts == 0


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({}, 400, "missing_field", "url is missing; a ref may be in its place"),
        ({"url": None, "ref": None}, 400, "missing_field", "url"),
        ({"url": "https://huggingface.co/org/one", "ref": "hf://org/one"}, 400, "invalid_field", "ref"),
        ({"ref": 1}, 400, "invalid_field", "ref"),
        ({"ref": ""}, 400, "invalid_field", "ref"),
        ({"url": "hf://org/one"}, 400, "invalid_url_scheme", "invalid url scheme"),
        ({"url": "http://me:secret@127.0.0.1/m"}, 400, "credentials_in_url", "url"),
        ({"ref": "ftp://127.0.0.1/m"}, 400, "invalid_url_scheme", "invalid url scheme"),
        ({"ref": "granite"}, 404, "model_not_found", "hf://org/repo:Q4_K_M"),
        ({"ref": "org/m-GGUF:Q8_0"}, 400, "invalid_field", "hf://org/repo:Q4_K_M"),
        ({"ref": "/etc/passwd"}, 400, "invalid_field", "hf://org/repo:Q4_K_M"),
        ({"ref": "http://127.0.0.1:1/m", "quantization": "Q8_0"}, 400, "invalid_field", "quantization"),
        ({"ref": "hf://org/m-GGUF:Q2_K"}, 404, "model_not_found", "Q4_K_M, Q8_0"),
        ({"ref": "org/nothing"}, 404, "model_not_found", "org/nothing"),
    ],
)
@pytest.mark.parametrize("path", ["/models/plan", "/models/download"])
async def test_what_cannot_be_is_refused_alike_by_plan_and_download(
    daemon: Running, path: str, body: dict[str, Any], status: int, code: str, said: str
) -> None:
    answered, problem = await daemon.call("POST", path, body if path == "/models/plan" else {"id": "m"} | body)
    assert (answered, problem["code"]) == (status, code), problem
    assert said in problem["detail"]
    assert (await daemon.call("GET", "/models/jobs"))[1]["jobs"] == []


@pytest.mark.parametrize("path", ["/models/plan", "/models/download"])
async def test_a_hub_that_does_not_answer_is_502(daemon: Running, served: Hub, path: str) -> None:
    served.is_down = True
    status, problem = await daemon.call("POST", path, {"ref": "hf://org/one"})
    assert (status, problem["title"], problem["status"]) == (502, "Bad Gateway", 502)


async def test_a_ref_needs_no_id_and_may_have_one(daemon: Running) -> None:
    for body, model_id in (({}, "org/one@Q4_K_M"), ({"id": "mine"}, "mine")):
        status, answer = await daemon.call("POST", "/models/download", {"ref": "hf://org/one:q4_k_m", **body})
        assert (status, answer["data"]["id"]) == (200, model_id)
        last = await daemon.settled(model_id)
        assert (last["status"], last["sha256"]) == ("complete", hashlib.sha256(weights("1")).hexdigest())


async def test_a_url_needs_an_id(daemon: Running, origin: Origin) -> None:
    status, problem = await daemon.call("POST", "/models/download", {"url": origin.url()})
    assert (status, problem["code"]) == (400, "missing_field")
    assert "id" in problem["detail"]
    assert origin.accepts == 0


async def test_a_digest_that_is_not_the_source_s_is_refused_before_a_byte_is_fetched(
    daemon: Running, served: Hub
) -> None:
    body = {"ref": "hf://org/one", "sha256": "0" * 64}
    status, problem = await daemon.call("POST", "/models/download", body)
    assert (status, problem["code"]) == (400, "invalid_field")
    assert hashlib.sha256(weights("1")).hexdigest() in problem["detail"]
    assert served.storage.requests == []


async def test_a_filename_is_taken_in_place_of_the_source_s(daemon: Running) -> None:
    await daemon.call("POST", "/models/download", {"ref": "hf://org/one", "filename": "mine.gguf"})
    assert (await daemon.settled("org/one"))["file"] == "mine.gguf"
    assert daemon.files() == ["mine.gguf"]


async def test_a_model_whose_name_is_too_long_for_an_id_needs_one_of_its_own(daemon: Running, served: Hub) -> None:
    path = "/".join("abc"[number % 3] * 90 for number in range(3)) + "/m.gguf"
    served.repos["org/deep"] = Repo({path: weights("deep")})
    ref = f"https://huggingface.co/org/deep/blob/main/{path}"
    status, problem = await daemon.call("POST", "/models/download", {"ref": ref})
    assert (status, problem["code"]) == (400, "invalid_field")
    assert "an id of your own" in problem["detail"]
    assert (await daemon.call("POST", "/api/v1/models/download", {"model": ref}))[0] == 400
    assert (await daemon.call("GET", "/models/jobs"))[1]["jobs"] == []
    status, _ = await daemon.call("POST", "/models/download", {"id": "deep", "ref": ref})
    assert (status, (await daemon.settled("deep"))["status"]) == (200, "complete")


async def test_a_url_that_names_no_id_does_not_take_the_place_of_another_urls_model(
    daemon: Running, origin: Origin
) -> None:
    first, second = origin.url("a/m.gguf"), origin.url("b/m.gguf")
    for url in (first, origin.url("a/m.gguf?signature=another")):
        assert (await daemon.call("POST", "/models/download", {"ref": url}))[0] == 200
        assert (await daemon.settled("m.gguf"))["status"] == "complete"
    status, problem = await daemon.call("POST", "/models/download", {"ref": second})
    assert (status, problem["code"]) == (409, "id_in_use")
    assert first.partition("?")[0] in problem["detail"]
    status, _ = await daemon.call("POST", "/models/download", {"ref": second, "id": "m.gguf"})
    assert (status, (await daemon.settled("m.gguf"))["status"]) == (200, "complete")

"""One of several files meets a fault: the others go on, what is here stays, and what is said names the file."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import hub, running
from tests.hub import Answer, Broken, Hub, Repo
from tests.models import SEVERAL, tree
from tests.running import Running, Stream

LARGE, OTHER = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
TOTAL = sum(map(len, SEVERAL.values()))
HELD = 700_000


@pytest.fixture
async def daemon(tmp_path: Path, served: Hub) -> AsyncIterator[Running]:
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url, stall_timeout=1.0) as started:
        yield started


def digest(name: str) -> str:
    return hashlib.sha256(SEVERAL[name]).hexdigest()


async def begin(daemon: Running, model_id: str = "m", ref: str = "hf://org/m") -> dict[str, Any]:
    status, body = await daemon.call("POST", "/models/download", {"id": model_id, "ref": ref})
    assert status == 200, body
    return body["data"]


async def command(daemon: Running, what: str) -> str:
    status, body = await daemon.call("POST", f"/models/download/{what}", {"id": "m"})
    assert status == 200, body
    return str(body["data"]["status"])


async def told(daemon: Running) -> list[dict[str, Any]]:
    """Everything that was said of the job, to its end."""
    async with daemon.events("id=m&after=0&until=done") as stream:
        return [message.payload for message in await stream.rest() if "status" in message.payload]


async def held(daemon: Running, stream: Stream) -> None:
    """So much of the large file is here, and all of the others."""
    here = TOTAL - len(SEVERAL[LARGE]) + HELD
    done = len(SEVERAL) - 1
    await stream.until(
        lambda message: message.payload.get("downloaded") == here and message.payload.get("files_done") == done
    )


def ranges(served: Hub, name: str) -> list[str | None]:
    return [seen.headers.get("range") for seen in served.storage.requests if digest(name) in seen.path]


def never_down(events: list[dict[str, Any]]) -> bool:
    """`downloaded` of the ticks, which may go down behind `restarted` only."""
    most = 0
    for event in events:
        if event["status"] == "restarted":
            most = 0
        elif "downloaded" in event:
            if event["downloaded"] < most:
                return False
            most = event["downloaded"]
    return True


TRANSIENT: dict[str, tuple[Answer | Broken, str]] = {
    "cut": (Broken(HELD), "truncated"),
    "stalled": (Broken(HELD, is_cut=False), "stalled"),
    "busy": (Answer(503, {"Retry-After": "0"}), "http_status"),
    "limited": (Answer(429, {"Retry-After": "0"}), "too_many_requests"),
}


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_what_passes_is_waited_for_while_the_others_go_on(daemon: Running, served: Hub, fault: str) -> None:
    answer, code = TRANSIENT[fault]
    served.storage.faults[digest(LARGE)] = [answer]
    async with daemon.events("id=m") as stream:
        await begin(daemon)
        await stream.status("complete", "error")
        events = [message.payload for message in stream.messages if "status" in message.payload]
    assert events[-1]["status"] == "complete"
    retrying = next(event for event in events if event["status"] == "retrying")
    assert (retrying["code"], retrying["attempt"]) == (code, 1) or fault in ("cut", "stalled")
    assert retrying["current_file"] == LARGE
    assert never_down(events)
    assert tree(daemon.models / "org--m") == SEVERAL
    assert ranges(served, OTHER) == [None]
    assert ranges(served, LARGE) == [None, f"bytes={HELD}-" if isinstance(answer, Broken) else None]
    job = await daemon.job("m")
    assert ("code" in job, "error" in job, "attempt" in job) == (False, False, False)


async def test_a_limit_of_the_hub_is_kept_to(daemon: Running, served: Hub) -> None:
    limited = {"ratelimit": '"resolvers";r=0;t=1', "ratelimit-policy": '"fixed window";"resolvers";q=3;w=300'}
    served.faults["config.json"] = [Answer(429, limited)]
    await begin(daemon)
    events = await told(daemon)
    assert events[-1]["status"] == "complete"
    retrying = [event for event in events if event["status"] == "retrying"]
    assert {event["code"] for event in retrying} == {"too_many_requests"}
    assert retrying[0]["next_attempt_in"] == 2  # the second that had begun is not counted
    assert retrying[0]["current_file"] == "config.json"


async def test_a_large_file_goes_on_where_its_pause_found_it(daemon: Running, served: Hub) -> None:
    served.storage.faults[digest(LARGE)] = [Broken(HELD, is_cut=False)]
    async with daemon.events("id=m") as stream:
        await begin(daemon)
        await held(daemon, stream)
        assert await command(daemon, "pause") == "paused"
        job = await daemon.job("m")
        assert job["downloaded"] == sum(file["downloaded"] for file in job["files"])
        assert [file["name"] for file in job["files"] if file["status"] != "done"] == [LARGE]
        served.requests.clear()
        served.storage.requests.clear()
        await command(daemon, "resume")
        resumed = await stream.status("resumed")
        assert (resumed["offset"], resumed["files_done"]) == (job["downloaded"], len(SEVERAL) - 1)
        await stream.status("complete", "error")
        assert never_down([message.payload for message in stream.messages if "status" in message.payload])
    assert ranges(served, LARGE) == [f"bytes={HELD}-"]
    assert len(served.storage.requests) == 1
    assert served.targets(beginning="/org/m/resolve/") == [
        target for target in served.targets(beginning="/org/m/resolve/") if target.endswith(LARGE)
    ]
    assert tree(daemon.models / "org--m") == SEVERAL


@pytest.mark.parametrize("is_paused", [False, True])
async def test_the_next_life_goes_on_unasked_unless_its_user_paused_it(
    tmp_path: Path, served: Hub, is_paused: bool
) -> None:
    served.storage.faults[digest(LARGE)] = [Broken(HELD, is_cut=False)]
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon, daemon.events("id=m") as stream:
        await begin(daemon)
        await held(daemon, stream)
        if is_paused:
            await command(daemon, "pause")
    served.requests.clear()
    served.storage.requests.clear()
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
        if is_paused:
            assert (await daemon.job("m"))["status"] == "paused"
            assert served.requests == []
            await command(daemon, "resume")
        assert (await daemon.settled("m"))["status"] == "complete"
        assert ranges(served, LARGE) == [f"bytes={HELD}-"]
        assert len(served.storage.requests) == len(served.requests) == 1
        assert tree(daemon.models / "org--m") == SEVERAL


async def test_a_signed_link_that_expires_half_way_is_asked_for_again(tmp_path: Path) -> None:
    now = 1_000.0
    async with hub.running({"org/m": Repo(SEVERAL)}, lambda: now) as served:
        served.lifetime = 60.0
        served.storage.faults[digest(LARGE)] = [Broken(HELD, is_cut=False)]
        async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
            async with daemon.events("id=m") as stream:
                await begin(daemon)
                await held(daemon, stream)
                await command(daemon, "pause")
            now += 3_600.0
            await command(daemon, "resume")
            assert (await daemon.settled("m"))["status"] == "complete"
            first, second = [seen.target for seen in served.storage.requests if digest(LARGE) in seen.target]
            assert first != second
            assert ranges(served, LARGE) == [None, f"bytes={HELD}-"]


async def test_a_file_that_is_not_there_ends_the_job_and_the_next_fetches_that_one_only(
    daemon: Running, served: Hub
) -> None:
    served.faults["vocab.json"] = [Answer(404)]
    await begin(daemon)
    last = await daemon.settled("m")
    assert (last["status"], last["code"], last["current_file"]) == ("error", "not_found", "tokenizer/vocab.json")
    assert daemon.files() == ["org--m.part", "org--m.part.json"]
    _, models = await daemon.call("GET", "/models")
    assert models == []
    before = {path.name for path in (daemon.models / "org--m.part").iterdir() if path.suffix in (".json", ".txt")}
    served.requests.clear()
    await begin(daemon)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert tree(daemon.models / "org--m") == SEVERAL
    assert not [name for name in before if any(seen.path.endswith("/" + name) for seen in served.requests)]


@pytest.mark.parametrize("name", [LARGE, "config.json"])
@pytest.mark.parametrize("more", [b"", b"too much"])
async def test_a_body_of_another_length_than_was_listed_is_not_the_file(
    daemon: Running, served: Hub, name: str, more: bytes
) -> None:
    server = served.storage if name == LARGE else served
    data = SEVERAL[name]
    part = Answer(200, {"ETag": '"x"'}, data + more if more else data[:-1])
    key = digest(name) if name == LARGE else name
    is_chunked = Broken(len(data), is_chunked=True, more=more) if more else None
    server.faults[key] = [is_chunked or part] * 5
    async with asyncio.timeout(20.0):
        await begin(daemon)
        last = await daemon.settled("m")
    assert (last["status"], last.get("current_file")) == ("error", name), last
    assert last["code"] in ("size_mismatch", "sha256_mismatch"), last
    assert not (daemon.models / "org--m").exists()
    server.faults.clear()
    await begin(daemon)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert tree(daemon.models / "org--m") == SEVERAL

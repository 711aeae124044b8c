"""The seed, word for word: ARW's request bodies, curl examples, events and notes, and the payload of every status."""

import asyncio
import contextlib
import hashlib
import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests import running
from tests.origin import Origin, Reset, Serve, Stall, Status
from tests.running import Running, Stream

ID = "qwen2.5-coder-7b"
START = r"""
curl -sS -X POST http://127.0.0.1:8090/models/download \
  -H 'Content-Type: application/json' \
  -d '{"id":"qwen2.5-coder-7b","url":"https://example.com/qwen.gguf","sha256":"<hex>"}'
"""
CANCEL = r"""
curl -sS -X POST http://127.0.0.1:8090/models/download/cancel \
  -H 'Content-Type: application/json' \
  -d '{"id":"qwen2.5-coder-7b"}'
"""
REQUEST = '{"id": "<model-id>", "url": "https://.../model.gguf", "provider": "local", "sha256": "<hex>"}'
EXAMPLES = """\
{ "id": "qwen2.5-coder-7b", "progress": 42, "downloaded": 12345678, "total": 30000000 }
{ "id": "qwen2.5-coder-7b", "status": "resumed", "offset": 102400 }
{ "id": "qwen2.5-coder-7b", "status": "complete", "file": "qwen.gguf", "provider": "local" }
{ "id": "qwen2.5-coder-7b", "error": "checksum mismatch", "expected": "...", "actual": "..." }
{ "id": "qwen2.5-coder-7b", "status": "canceled" }
"""
TICK, RESUMED, COMPLETE, MISMATCH, CANCELED = (json.loads(line) for line in EXAMPLES.splitlines())

FIELDS: dict[str, tuple[str, str]] = {
    "queued": ("", "position waiting_for"),  # a requeue at a stop has no position yet; an acceptance always has
    "started": ("url", "total"),
    "resumed": ("offset", ""),
    "downloading": ("downloaded bytes_per_second", "progress total eta_seconds"),
    "retrying": ("code error attempt next_attempt_in", "http_status"),
    "restarted": ("code discarded", ""),
    "verifying": ("", ""),
    "complete": ("file provider sha256 bytes cached trust", "length_known"),
    "error": ("code error", "http_status expected actual"),
    "paused": ("", "code"),
    "canceled": ("", ""),
    "already-in-progress": ("", ""),
    "cancel-requested": ("", ""),
    "no-active-job": ("", ""),
}
"""Status → the fields that must be there and those that may, beyond `id`, `job_id` and `status`."""

TEXTS = {
    "id", "job_id", "status", "url", "code", "error", "file", "provider", "sha256", "trust", "expected", "actual",
    "waiting_for",
}  # fmt: skip
FLAGS = {"cached", "length_known"}


def assert_payload(payload: dict[str, Any]) -> None:
    """Exactly the fields that its status may have, each of its type."""
    status = payload["status"]
    required, optional = (set(names.split()) for names in FIELDS[status])
    always = {"id", "status"} if status == "no-active-job" else {"id", "job_id", "status"}
    names = set(payload)
    assert always | required <= names <= always | required | optional, payload
    for name, value in payload.items():
        wanted = str if name in TEXTS else bool if name in FLAGS else int
        assert type(value) is wanted, (name, payload)
        assert wanted is not int or value >= 0, (name, payload)
    if status == "downloading":
        assert ("progress" in names) == ("total" in names), payload
        assert "eta_seconds" not in names or "total" in names, payload
        assert payload.get("progress", 0) <= 100, payload
        assert (payload.get("progress") == 100) == (payload["downloaded"] == payload.get("total")), payload
    if status == "error":
        is_mismatch = payload["code"] == "sha256_mismatch"
        assert {"expected", "actual"} & names == ({"expected", "actual"} if is_mismatch else set()), payload
    if "http_status" in names:
        assert 100 <= payload["http_status"] <= 599, payload
    if "length_known" in names:
        assert (payload["length_known"], payload["trust"]) == (False, "none"), payload


def assert_like(payload: dict[str, Any], example: dict[str, Any]) -> None:
    """The example's names, each with a value of the example's JSON type."""
    assert set(example) <= set(payload)
    for name, value in example.items():
        assert type(payload[name]) is type(value), (name, payload)


def progress_of(stream: Stream) -> list[dict[str, Any]]:
    """All payloads of `Models.DownloadProgress` that a stream has had, each of them checked."""
    payloads = [message.payload for message in stream.messages if message.event == "Models.DownloadProgress"]
    for payload in payloads:
        assert_payload(payload)
    assert b"null" not in stream.raw
    return payloads


async def completed(stream: Stream) -> dict[str, Any]:
    """The payload of the job's end, which must be a good one."""
    last = await stream.status("complete", "error", "canceled")
    assert last["status"] == "complete", last
    return last


def said(curl: str, daemon: Running, origin: Origin, digest: str) -> list[str]:
    """The seed's command, with this daemon's address, this origin's and this file's digest in their places."""
    curl = curl.replace("http://127.0.0.1:8090", daemon.url)
    curl = curl.replace("https://example.com/qwen.gguf", origin.url("qwen.gguf")).replace("<hex>", digest)
    return shlex.split(curl.replace("\\\n", " "))


async def run(words: list[str], session: aiohttp.ClientSession) -> tuple[int, Any]:
    """Do by hand what such a command does."""
    assert words[:4] == ["curl", "-sS", "-X", "POST"]
    assert (words[5], words[7]) == ("-H", "-d")
    name, _, value = words[6].partition(": ")
    async with session.post(words[4], data=words[8].encode(), headers={name: value}) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


@pytest.fixture
def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# The two commands.


async def test_the_seeds_first_command_starts_a_checked_download(
    daemon: Running, origin: Origin, data: bytes, digest: str
) -> None:
    status, body = await run(said(START, daemon, origin, digest), daemon.session)
    assert status == 200
    assert body == {"ok": True, "data": {"id": ID, "job_id": body["data"]["job_id"], "status": "queued"}}
    last = await daemon.settled(ID)
    assert_like(last, COMPLETE)
    assert {name: last[name] for name in COMPLETE} == COMPLETE
    assert (daemon.models / "qwen.gguf").read_bytes() == data


async def test_the_seeds_second_command_cancels_and_removes_the_part(
    daemon: Running, origin: Origin, digest: str
) -> None:
    origin.script(Stall(300_000))
    async with daemon.events(f"id={ID}") as stream:
        _, started = await run(said(START, daemon, origin, digest), daemon.session)
        await stream.status("downloading")
        assert "qwen.gguf.part" in daemon.files()
        status, body = await run(said(CANCEL, daemon, origin, digest), daemon.session)
        job_id = started["data"]["job_id"]
        assert status == 200
        assert body == {"ok": True, "data": {"id": ID, "job_id": job_id, "status": "cancel-requested"}}
        last = await stream.status("canceled")
        assert last == CANCELED | {"job_id": job_id}
        assert daemon.files() == []
        progress_of(stream)


@pytest.mark.needs("curl")
async def test_curl_itself_gets_the_same_answers(daemon: Running, origin: Origin, digest: str) -> None:
    async def curl(command: str) -> Any:
        words = said(command, daemon, origin, digest)
        process = await asyncio.create_subprocess_exec(
            *words[:1], "-q", "--noproxy", "*", *words[1:], stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return json.loads(output)

    assert (await curl(START))["data"]["status"] == "queued"
    assert (await daemon.settled(ID))["status"] == "complete"
    assert await curl(CANCEL) == {"ok": True, "data": {"id": ID, "status": "no-active-job"}}


async def test_the_commands_answer_below_admin_too(daemon: Running, origin: Origin, digest: str) -> None:
    words = said(START.replace("/models", "/admin/models"), daemon, origin, digest)
    assert (await run(words, daemon.session))[1]["data"]["status"] == "queued"
    assert (await daemon.settled(ID))["status"] == "complete"
    words = said(CANCEL.replace("/models", "/admin/models"), daemon, origin, digest)
    assert await run(words, daemon.session) == (200, {"ok": True, "data": {"id": ID, "status": "no-active-job"}})


async def test_without_the_commands_header_nothing_starts(daemon: Running, origin: Origin, digest: str) -> None:
    words = said(START, daemon, origin, digest)
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d sends by itself
    async with daemon.session.post(words[4], data=words[8].encode(), headers=form) as response:
        assert response.status == 415
    assert origin.accepts == 0


@pytest.mark.parametrize("absent", [(), ("provider",), ("sha256",), ("provider", "sha256")], ids=str)
async def test_provider_and_sha256_are_optional(
    daemon: Running, origin: Origin, digest: str, absent: tuple[str, ...]
) -> None:
    body = json.loads(REQUEST.replace("<model-id>", ID).replace("<hex>", digest))
    body["url"] = body["url"].replace("https://...", f"http://127.0.0.1:{origin.port}")
    for name in absent:
        del body[name]
    assert (await daemon.call("POST", "/models/download", body))[0] == 200
    last = await daemon.settled(ID)
    assert {name: last[name] for name in COMPLETE} == COMPLETE | {"file": "model.gguf"}
    assert last["trust"] == ("none" if "sha256" in absent else "caller")


async def test_a_provider_is_kept_as_given(daemon: Running, origin: Origin) -> None:
    await daemon.download(ID, origin.url("qwen.gguf"), provider="my-lab")
    assert (await daemon.settled(ID))["provider"] == "my-lab"
    assert (await daemon.call("GET", "/models"))[1][0]["provider"] == "my-lab"


async def test_cancel_of_an_unknown_id_is_200_and_an_event(daemon: Running) -> None:
    async with daemon.events("prefix=Models.DownloadProgress") as stream:
        await stream.next()
        answer = await daemon.call("POST", "/models/download/cancel", {"id": ID})
        assert answer == (200, {"ok": True, "data": {"id": ID, "status": "no-active-job"}})
        assert await stream.status("no-active-job") == {"id": ID, "status": "no-active-job"}


# The five events.


async def test_a_tick_has_the_seeds_fields_and_its_sums_hold(daemon: Running, origin: Origin, data: bytes) -> None:
    origin.script(Stall(len(data) * 42 // 100 + 1))
    async with daemon.events(f"id={ID}") as stream:
        await daemon.download(ID, origin.url("qwen.gguf"))
        heard = await stream.until(lambda message: message.payload.get("progress") == 42)
    tick = heard[-1].payload
    assert_like(tick, TICK)
    assert heard[-1].event == "Models.DownloadProgress"
    assert (tick["id"], tick["downloaded"], tick["total"]) == (ID, len(data) * 42 // 100 + 1, len(data))
    progress_of(stream)


async def test_a_resumed_download_says_its_offset(daemon: Running, origin: Origin, data: bytes, digest: str) -> None:
    origin.script(Stall(102_400), Serve())
    words = said(START, daemon, origin, digest)
    async with daemon.events(f"id={ID}") as stream:
        await run(words, daemon.session)
        await stream.until(lambda message: message.payload.get("downloaded") == 102_400)
        await daemon.call("POST", "/models/download/pause", {"id": ID})
        await stream.status("paused")
        await run(words, daemon.session)  # "re-issue the same POST request"
        resumed = await stream.status("resumed")
        assert_like(resumed, RESUMED)
        assert {name: resumed[name] for name in RESUMED} == RESUMED
        await completed(stream)
        progress_of(stream)
    assert origin.requests[-1].headers["Range"] == "bytes=102400-"
    assert (daemon.models / "qwen.gguf").read_bytes() == data


async def test_a_mismatch_says_both_digests_and_removes_the_file(daemon: Running, origin: Origin, digest: str) -> None:
    async with daemon.events(f"id={ID}") as stream:
        await run(said(START, daemon, origin, "ab" * 32), daemon.session)
        last = await stream.status("error", "complete")
        progress_of(stream)
    assert_like(last, MISMATCH)
    assert (last["id"], last["error"], last["expected"], last["actual"]) == (ID, MISMATCH["error"], "ab" * 32, digest)
    assert daemon.files() == []


async def test_events_without_a_known_total_omit_it(daemon: Running, origin: Origin, data: bytes) -> None:
    origin.script(Serve(framing="chunked", pace=0.06))
    async with daemon.events(f"id={ID}") as stream:
        await daemon.download(ID, origin.url("qwen.gguf"))
        last = await completed(stream)
        payloads = progress_of(stream)
    ticks = [payload for payload in payloads if payload["status"] == "downloading"]
    assert len(ticks) >= 2
    assert ticks[-1]["downloaded"] == len(data)
    for payload in payloads:
        assert not {"total", "progress", "eta_seconds"} & set(payload), payload
    assert (last["bytes"], "length_known" in last) == (len(data), False)


async def test_a_body_that_ends_with_its_connection_says_that_its_length_was_not_known(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    origin.script(Serve(framing="close"))
    async with daemon.events(f"id={ID}") as stream:
        await daemon.download(ID, origin.url("qwen.gguf"))
        last = await completed(stream)
        progress_of(stream)
    assert (last["bytes"], last["trust"], last["length_known"]) == (len(data), "none", False)


# Files, list and probe.


async def test_the_part_grows_under_its_name_and_is_renamed_when_complete(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    origin.script(Serve(pace=0.03))
    part, final = daemon.models / "qwen.gguf.part", daemon.models / "qwen.gguf"
    async with daemon.events(f"id={ID}") as stream:
        await daemon.download(ID, origin.url("qwen.gguf"))
        sizes: list[int] = []
        while len(set(sizes)) < 2:
            tick = await stream.status("downloading")
            assert not final.exists()
            sizes.append(part.stat().st_size)
            assert sizes[-1] <= len(data)
            assert part.read_bytes()[: sizes[-1]] == data[: sizes[-1]]
            assert tick["total"] == len(data)
        assert sizes == sorted(sizes)
        inode = part.stat().st_ino
        await completed(stream)
    assert not part.exists()
    assert final.read_bytes() == data
    assert final.stat().st_ino == inode, "renamed, not copied"


async def test_the_model_list_is_not_updated_on_failure(daemon: Running, origin: Origin, digest: str) -> None:
    listed = Path(daemon.daemon.layout.state_dir) / "models.json"
    empty = listed.read_bytes()
    for script in ((Status(404),), (Serve(),)):
        origin.script(*script)
        await daemon.download(ID, origin.url("qwen.gguf"), sha256="ab" * 32)
        assert (await daemon.settled(ID))["status"] == "error"
        assert (await daemon.call("GET", "/models"))[1] == []
        assert listed.read_bytes() == empty
    origin.script(Serve())
    await daemon.download(ID, origin.url("qwen.gguf"), sha256=digest)
    assert (await daemon.settled(ID))["status"] == "complete"
    before = (await daemon.call("GET", "/models"))[1], listed.read_bytes()
    for script in ((Status(404),), (Serve(),)):
        origin.script(*script)
        await daemon.download(ID, origin.url("newer.gguf"), sha256="cd" * 32)
        assert (await daemon.settled(ID))["status"] == "error"
        assert ((await daemon.call("GET", "/models"))[1], listed.read_bytes()) == before
    assert hashlib.sha256((daemon.models / "qwen.gguf").read_bytes()).hexdigest() == digest


async def test_a_cancel_puts_the_list_back_to_what_it_was(daemon: Running, origin: Origin) -> None:
    await daemon.download(ID, origin.url("qwen.gguf"))
    await daemon.settled(ID)
    _, before = await daemon.call("GET", "/models")
    origin.script(Stall(1_000))
    await daemon.download(ID, origin.url("newer.gguf"))
    assert [model["status"] for model in (await daemon.call("GET", "/models"))[1]] == ["downloading"]
    await daemon.call("POST", "/models/download/cancel", {"id": ID})
    assert (await daemon.settled(ID))["status"] == "canceled"
    assert (await daemon.call("GET", "/models"))[1] == before


async def test_the_list_and_its_file_say_the_same(daemon: Running, origin: Origin, data: bytes, digest: str) -> None:
    await daemon.download(ID, origin.url("qwen.gguf"), sha256=digest)
    await daemon.settled(ID)
    (model,) = (await daemon.call("GET", "/models"))[1]
    path = daemon.models / "qwen.gguf"
    assert model == {
        "id": ID,
        "provider": "local",
        "status": "available",
        "path": str(path),
        "file": "qwen.gguf",
        "sha256": digest,
        "bytes": len(data),
        "trust": "caller",
    }
    kept = json.loads((daemon.daemon.layout.state_dir / "models.json").read_bytes())
    entries = kept if isinstance(kept, list) else kept["models"]
    for name in ("id", "provider", "status", "sha256", "bytes", "trust"):
        assert entries[0][name] == model[name]
    assert Path(daemon.daemon.layout.state_dir, entries[0]["path"]).samefile(path)


async def test_the_state_directory_is_shown_by_probe(daemon: Running, tmp_path: Path) -> None:
    for path in ("/probe", "/admin/probe"):
        status, probe = await daemon.call("GET", path)
        assert status == 200
        assert probe["state_dir"] == str(tmp_path / "state")
        assert set(probe) == {"state_dir", "cache_dir", "logs_dir", "version", "pid", "started_at", "settings"}
        assert Path(probe["state_dir"], "models").samefile(daemon.models)


@contextlib.asynccontextmanager
async def serving(path: Path) -> AsyncIterator[str]:
    """The URL of a file on a server that honors every form of Range."""
    asked: web.Application = web.Application()

    async def answer(_: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    asked.router.add_get("/qwen.gguf", answer)
    runner = web.AppRunner(asked)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/qwen.gguf"
    finally:
        await runner.cleanup()


# Every status.


async def test_every_status_has_exactly_its_fields(daemon: Running, origin: Origin, digest: str) -> None:
    async with daemon.events("prefix=Models.DownloadProgress") as stream:
        origin.script(Stall(102_400), Reset(100_000), Status(503, {"Retry-After": "0"}), Serve(etag='"v2"'))
        await daemon.download("a", origin.url("a.gguf"), sha256=digest)
        await stream.until(lambda message: message.payload.get("downloaded") == 102_400)
        await daemon.download("a", origin.url("a.gguf"), sha256=digest)
        await daemon.call("POST", "/models/download/pause", {"id": "a"})
        await stream.status("paused")
        await daemon.call("POST", "/models/download/resume", {"id": "a"})
        await completed(stream)
        await daemon.download("a", origin.url("a.gguf"), sha256=digest)
        assert (await completed(stream))["cached"] is True
        origin.script(Status(403))
        await daemon.download("b", origin.url("b.gguf"))
        await stream.status("error")
        origin.script(Stall(100))
        await daemon.download("c", origin.url("c.gguf"))
        await daemon.call("POST", "/models/download/cancel", {"id": "c"})
        await stream.status("canceled")
        await daemon.call("POST", "/models/download/cancel", {"id": "c"})
        await stream.status("no-active-job")
        payloads = progress_of(stream)
    assert {payload["status"] for payload in payloads} == set(FIELDS)
    assert all(payload["position"] == 1 for payload in payloads if payload["status"] == "queued")
    assert {payload["code"] for payload in payloads if payload["status"] == "restarted"} == {"upstream_changed"}
    finals = [payload for payload in payloads if payload["status"] in ("complete", "error", "canceled")]
    assert len({payload["job_id"] for payload in finals}) == len(finals) == 4


async def test_a_requeued_job_keeps_to_the_table_across_a_restart(tmp_path: Path, origin: Origin) -> None:
    origin.script(Stall(102_400), Stall(0), Serve())
    async with running.daemon(tmp_path / "state") as first, first.events(f"id={ID}") as stream:
        await first.download(ID, origin.url("qwen.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == 102_400)
        await first.download("other", origin.url("other.gguf"))
        await origin.requested(2)
    async with running.daemon(tmp_path / "state") as second, second.events("replay=1000&prefix=Models.D") as stream:
        await stream.until(
            lambda message: (message.payload.get("id"), message.payload.get("status")) == (ID, "complete")
        )
        payloads = progress_of(stream)
    assert {"queued", "started", "complete"} <= {payload["status"] for payload in payloads if payload["id"] == ID}


async def test_sibling_kinds_have_exactly_their_fields(daemon: Running, origin: Origin) -> None:
    async with daemon.events() as stream:
        await daemon.download(ID, origin.url("qwen.gguf"))
        await completed(stream)
        await daemon.call("POST", "/models/delete", {"id": ID})
        await stream.until(lambda message: message.payload.get("op") == "delete")
        progress_of(stream)
    siblings = [(message.event, message.payload) for message in stream.messages]
    siblings = [(kind, payload) for kind, payload in siblings if kind.startswith("Models.") and "status" not in payload]
    assert siblings == [
        ("Models.Download", {"id": ID, "url": origin.url("qwen.gguf").partition("?")[0]}),
        ("Models.Changed", {"op": "downloaded", "id": ID}),
        ("Models.Changed", {"op": "delete", "id": ID}),
    ]


async def test_null_is_never_on_any_wire(daemon: Running, origin: Origin) -> None:
    origin.script(Serve(), Status(404), Stall(100))
    for model_id in ("a", "b", "c"):
        await daemon.download(model_id, origin.url(model_id))
        if model_id != "c":
            await daemon.settled(model_id)
    await daemon.call("POST", "/models/download/pause", {"id": "c"})

    def nulls(value: Any) -> bool:
        if isinstance(value, dict):
            return any(map(nulls, value.values()))
        return any(map(nulls, value)) if isinstance(value, list) else value is None

    for path in ("/models", "/models/jobs", "/storage", "/limits", "/probe", "/healthz", "/readyz", "/version"):
        status, body = await daemon.call("GET", path)
        assert status == 200
        assert not nulls(body), (path, body)
    for path in ("download/cancel", "download/pause", "download/resume", "delete"):
        assert not nulls((await daemon.call("POST", f"/models/{path}", {"id": "nobody"}))[1])
    for shape in ("payload", "envelope", "cloudevents"):
        async with daemon.events(f"replay=1000&data={shape}&until=done&id=a&id=b") as stream:
            for message in await stream.rest():
                assert not nulls(message.payload), message

"""The commands that people type, as processes beside a running daemon: what they print, and their exit status."""

import asyncio
import hashlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import canary, hub, processes, running
from tests.hub import Hub, Repo
from tests.models import gguf
from tests.nursery import Nursery
from tests.origin import Origin, Serve, Stall, Status
from tests.processes import ARWD, Ended
from tests.running import Running

DONE, FAILED, USAGE, NOT_REACHABLE = 0, 1, 2, 3


async def arwd(daemon: Running, *arguments: str) -> Ended:
    return await processes.run(*ARWD, *arguments, environ={"ARWD_URL": daemon.url})


async def stalled(daemon: Running, origin: Origin, *then: Serve) -> None:
    """A download of `m` that hangs after 300,000 bytes."""
    origin.script(Stall(300_000), *then)
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url("m.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == 300_000)


async def test_get_waits_and_leaves_the_file(daemon: Running, origin: Origin, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    ended = await arwd(daemon, "get", origin.url("tiny.gguf"), "--sha256", digest)
    assert (ended.status, ended.errors) == (DONE, "")
    lines = ended.output.splitlines()
    assert lines[-1] == f"tiny.gguf  complete  tiny.gguf  {digest}"
    assert (daemon.models / "tiny.gguf").read_bytes() == data


@pytest.fixture
async def of_a_hub(tmp_path: Path) -> AsyncIterator[tuple[Running, Hub]]:
    """A daemon, and the Hub that it asks."""
    files = {f"m-{name}.gguf": gguf(name.encode().ljust(200, b".")) for name in ("Q4_K_M", "Q8_0")}
    async with (
        hub.running({"org/m-GGUF": Repo(files)}) as served,
        running.daemon(tmp_path / "state", hf_endpoint=served.url) as started,
    ):
        yield started, served


@pytest.mark.parametrize(
    ("arguments", "model_id", "file"),
    [
        (("hf://org/m-GGUF",), "org/m-GGUF", "m-Q4_K_M.gguf"),
        (("hf://org/m-GGUF:Q8_0",), "org/m-GGUF@Q8_0", "m-Q8_0.gguf"),
        (("https://huggingface.co/org/m-GGUF", "--quantization", "q8_0"), "org/m-GGUF@Q8_0", "m-Q8_0.gguf"),
        (("https://hf.co/org/m-GGUF/blob/main/m-Q8_0.gguf",), "org/m-GGUF/m-Q8_0.gguf", "m-Q8_0.gguf"),
        (("org/m-GGUF@q8_0",), "org/m-GGUF@Q8_0", "m-Q8_0.gguf"),
        (("org/m-GGUF", "--id", "mine"), "mine", "m-Q4_K_M.gguf"),
    ],
)
async def test_get_takes_any_ref_that_a_source_knows(
    of_a_hub: tuple[Running, Hub], arguments: tuple[str, ...], model_id: str, file: str
) -> None:
    daemon, served = of_a_hub
    data = served.repos["org/m-GGUF"].commits[served.repos["org/m-GGUF"].commit][file]
    ended = await arwd(daemon, "get", *arguments)
    assert (ended.status, ended.errors) == (DONE, "")
    digest = hashlib.sha256(data).hexdigest()
    assert ended.output.splitlines()[-1] == f"{model_id}  complete  {file}  {digest}"
    assert (daemon.models / file).read_bytes() == data


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hf://org/m-GGUF:Q2_K",), "Q4_K_M, Q8_0"),
        (("hf://org/m-GGUF", "--quantization", "Q2_K"), "Q4_K_M, Q8_0"),
        (("hf://org/other",), "org/other"),
        (("hf://org/m-GGUF", "--sha256", "0" * 64), "another file"),
        (("hf://org/m-GGUF", "--id", ""), "id must have"),
        (("",), "ref must have"),
    ],
)
async def test_get_of_what_no_source_has_repeats_its_sentence(
    of_a_hub: tuple[Running, Hub], arguments: tuple[str, ...], said: str
) -> None:
    daemon, _ = of_a_hub
    ended = await arwd(daemon, "get", *arguments)
    assert (ended.status, ended.output) == (FAILED, "")
    assert said in ended.errors
    assert (await daemon.call("GET", "/models/jobs"))[1]["jobs"] == []


async def test_get_says_why_it_failed(daemon: Running, origin: Origin) -> None:
    origin.script(Status(404))
    ended = await arwd(daemon, "get", origin.url("gone.gguf"))
    assert ended.status == FAILED
    assert ended.output.splitlines()[-1].startswith("gone.gguf  error  ")
    assert "404" in ended.output


async def test_get_of_what_is_no_url_repeats_the_daemons_sentence(daemon: Running) -> None:
    ended = await arwd(daemon, "get", "ftp://127.0.0.1/m.gguf")
    assert (ended.status, ended.output) == (FAILED, "")
    assert ended.errors.startswith("arwd: ")
    assert "invalid url scheme" in ended.errors


async def test_get_without_waiting_is_back_before_the_bytes(daemon: Running, origin: Origin) -> None:
    origin.script(Stall(300_000))
    ended = await arwd(daemon, "get", origin.url("m.gguf"), "--id", "a/b", "--no-wait", "--json")
    receipt = json.loads(ended.output)
    assert (ended.status, receipt["id"], receipt["status"]) == (DONE, "a/b", "queued")
    assert (await daemon.job("a/b"))["job_id"] == receipt["job_id"]


async def test_every_line_of_json_can_be_parsed(daemon: Running, origin: Origin) -> None:
    got = await arwd(daemon, "get", origin.url("m.gguf"), "--json")
    told = [json.loads(line) for line in got.output.splitlines()]
    assert told[-1]["status"] == "complete"
    jobs, models = await asyncio.gather(arwd(daemon, "jobs", "--json"), arwd(daemon, "ls", "--json"))
    assert [job["status"] for job in json.loads(jobs.output)["jobs"]] == ["complete"]
    assert [model["file"] for model in json.loads(models.output)] == ["m.gguf"]
    removed = await arwd(daemon, "rm", "m.gguf", "--json")
    assert (removed.status, json.loads(removed.output)["id"]) == (DONE, "m.gguf")


async def test_the_lists_say_when_they_are_empty(daemon: Running) -> None:
    jobs, models = await asyncio.gather(arwd(daemon, "jobs"), arwd(daemon, "ls"))
    assert (jobs.status, jobs.output) == (DONE, "No jobs.\n")
    assert (models.status, models.output) == (DONE, "No models.\n")


async def test_the_lists_show_what_is_there_and_rm_takes_it_away(daemon: Running, origin: Origin) -> None:
    await daemon.download("m", origin.url("m.gguf"))
    await daemon.settled("m")
    jobs, models = await asyncio.gather(arwd(daemon, "jobs"), arwd(daemon, "ls"))
    assert jobs.output.split() == ["complete", "1.0", "MB", "of", "1.0", "MB", "m"]
    assert models.output.split() == ["available", "1.0", "MB", "m", str(daemon.models / "m.gguf")]
    assert (await arwd(daemon, "rm", "m")).status == DONE
    assert daemon.files() == []
    assert (await arwd(daemon, "rm", "m")).status == FAILED


async def test_a_download_is_paused_and_resumed_by_hand(daemon: Running, origin: Origin, data: bytes) -> None:
    await stalled(daemon, origin, Serve())
    paused = await arwd(daemon, "pause", "m")
    assert (paused.status, paused.output) == (DONE, "m  paused\n")
    assert (await daemon.job("m"))["status"] == "paused"
    assert (await arwd(daemon, "resume", "m")).status == DONE
    assert (await daemon.settled("m"))["bytes"] == len(data)
    assert origin.requests[-1].headers["Range"] == "bytes=300000-"


async def test_cancel_is_back_when_the_part_is_gone(daemon: Running, origin: Origin) -> None:
    await stalled(daemon, origin)
    canceled = await arwd(daemon, "cancel", "m")
    assert (canceled.status, canceled.output) == (DONE, "m  canceled\n")
    assert daemon.files() == []


@pytest.mark.parametrize("command", ["cancel", "pause", "resume"])
async def test_a_command_for_no_job_fails_and_says_so(daemon: Running, command: str) -> None:
    ended = await arwd(daemon, command, "nothing")
    assert (ended.status, ended.output) == (FAILED, "nothing  no-active-job\n")


async def test_watch_tells_what_happens_until_it_is_interrupted(daemon: Running, origin: Origin) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*ARWD, "watch", "--json", "--url", daemon.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            assert json.loads(await process.stdout.readline())["kind"] == "Service.Connected"
            await daemon.download("m", origin.url("m.gguf"))
            while (line := json.loads(await process.stdout.readline()))["payload"].get("status") != "complete":
                assert line["kind"].startswith("Models.")
    finally:
        process.send_signal(signal.SIGINT)
        _, complaints = await process.communicate()
    assert complaints == b""


@pytest.mark.parametrize("command", [("ls",), ("get", "http://127.0.0.1/m"), ("watch",), ("cancel", "m")])
async def test_without_a_daemon_every_command_says_how_to_start_one(command: tuple[str, ...]) -> None:
    url = f"http://127.0.0.1:{processes.free_port()}"
    ended = await processes.run(*ARWD, *command, "--url", url)
    assert (ended.status, ended.output) == (NOT_REACHABLE, "")
    assert url in ended.errors
    assert "arwd serve" in ended.errors


@pytest.mark.parametrize("arguments", [("get",), ("cancel",), ("ls", "--jsn"), ("rm", "a", "b")])
async def test_a_usage_error_never_reaches_the_daemon(arguments: tuple[str, ...]) -> None:
    ended = await processes.run(*ARWD, *arguments)
    assert (ended.status, ended.output) == (USAGE, "")
    assert ended.errors.startswith("usage: arwd")


async def test_the_token_comes_from_the_environment_and_never_from_an_argument(
    nursery: Nursery, tmp_path: Path
) -> None:
    token = {"ARWD_TOKEN": canary.secret("token")}
    headers = {"Authorization": f"Bearer {canary.secret('token')}"}
    async with nursery.child(tmp_path / "state", environ=token, headers=headers) as daemon:
        refused = await processes.run(*ARWD, "ls", "--url", daemon.url)
        assert (refused.status, refused.output) == (FAILED, "")
        assert "token" in refused.errors
        let_in = await processes.run(*ARWD, "ls", "--url", daemon.url, environ=token)
        assert (let_in.status, let_in.output) == (DONE, "No models.\n")
        wrong = await processes.run(*ARWD, "ls", "--url", daemon.url, environ={"ARWD_TOKEN": canary.secret("wrong")})
        assert (wrong.status, wrong.output) == (FAILED, "")


async def test_get_survives_a_restart_of_the_daemon(
    nursery: Nursery, tmp_path: Path, origin: Origin, data: bytes
) -> None:
    origin.script(Stall(300_000), Serve())
    async with nursery.child(tmp_path / "state") as daemon:
        async with daemon.events("prefix=Models.") as stream:
            getting = asyncio.create_task(arwd(daemon, "get", origin.url("m.gguf"), "--json"))
            await stream.until(lambda message: message.payload.get("downloaded") == 300_000)
        assert await daemon.stop() == 0
    async with nursery.child(tmp_path / "state", "--port", str(daemon.port)):
        ended = await getting
    assert (ended.status, ended.errors) == (DONE, "")
    told = [json.loads(line) for line in ended.output.splitlines()]
    assert (told[-1]["status"], told[-1]["bytes"]) == ("complete", len(data))
    assert [line["status"] for line in told].count("complete") == 1

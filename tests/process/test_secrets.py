"""Canaries: a token and a signed URL go in; nothing but the folder made for secrets ever holds them."""

import json
import stat
from pathlib import Path

import pytest

from tests import canary, processes
from tests.canary import WORD
from tests.nursery import Nursery
from tests.origin import Origin, Raw, Serve, Stall, Status, Step
from tests.processes import Child

TOKEN = canary.secret("token")
WRONG = canary.secret("wrong")
QUERY = f"X-Amz-Signature={WORD}&Expires={WORD}"


def holders(folder: Path) -> list[str]:
    """The files below this folder that hold a canary, in their bytes or in their names."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path.relative_to(folder)) for path in found if WORD.encode() in path.read_bytes() or WORD in path.name]


async def secret_of(daemon: Child, model_id: str) -> Path:
    return daemon.state_dir / "secrets" / (await daemon.job(model_id))["job_id"]


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_no_secret_leaves_its_cage(tmp_path: Path, origin: Origin, log_format: str) -> None:
    environ = {
        "ARWD_TOKEN": TOKEN,
        "ARWD_LOG_LEVEL": "debug",
        "ARWD_LOG_FORMAT": log_format,
        "ARWD_RETRY_FOR": "0",
    }
    away = f"http://127.0.0.1:{processes.free_port()}/away.gguf?{QUERY}"
    faults: dict[str, Step] = {
        "gone.gguf": Status(404),
        "odd.gguf": Raw(f"GET /odd.gguf?{QUERY} HTTP/1.1\r\n\r\n".encode()),  # not HTTP: an echo of the request
        "away.gguf": Status(302, {"Location": away}),
    }
    signed = {name: origin.url(f"{name}?{QUERY}") for name in ("m.gguf", *faults)}
    async with processes.child(
        tmp_path / "state", environ=environ, headers={"Authorization": f"Bearer {TOKEN}"}
    ) as daemon:
        for wrong in ({"Authorization": f"Bearer {WRONG}"}, {"Authorization": "", "X-ARW-Admin": WRONG}):
            assert (await daemon.call("GET", "/models", headers=wrong))[0] == 401
        assert (await daemon.call("GET", f"/models?token={TOKEN}", headers={"Authorization": ""}))[0] == 401
        assert (await daemon.call("POST", "/login", {"token": WRONG}))[0] == 401
        async with daemon.events() as stream:
            for name, step in faults.items():
                origin.script(step)
                await daemon.download(name, signed[name])
                assert (await stream.status("error"))["id"] == name
            origin.script(Stall(300_000))
            await daemon.download("m", signed["m.gguf"])
            await stream.until(lambda message: message.payload.get("downloaded") == 300_000)
            for path in (
                "/models",
                "/models/jobs",
                "/probe",
                "/metrics",
                "/events?replay=1000&until=done&id=gone.gguf",
            ):
                assert (await daemon.call("GET", path))[0] == 200
            secret = await secret_of(daemon, "m")
            assert holders(daemon.state_dir) == [f"secrets/{secret.name}"]
            assert secret.read_text() == signed["m.gguf"]
            assert stat.S_IMODE(secret.stat().st_mode) == 0o600
            assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
            assert await daemon.stop() == 0
            await stream.rest()
        assert holders(daemon.state_dir) == [f"secrets/{secret.name}"]
    # All that was said has been searched (tests/canary.py). The log did speak of these jobs: it was not silence that
    # kept the secret.
    log = daemon.log.decode()
    assert "gone.gguf" in log
    assert "away.gguf" in log
    if log_format == "json":
        assert all(isinstance(json.loads(line)["message"], str) for line in log.splitlines())


async def test_the_signed_url_serves_the_next_life_and_is_forgotten_in_the_end(
    nursery: Nursery, tmp_path: Path, origin: Origin, data: bytes
) -> None:
    origin.script(Stall(300_000), Serve())
    target = f"/m.gguf?{QUERY}"
    async with nursery.child(tmp_path / "state") as daemon, daemon.events() as stream:
        await daemon.download("m", origin.url(f"m.gguf?{QUERY}"))
        await stream.until(lambda message: message.payload.get("downloaded") == 300_000)
        assert await daemon.stop() == 0
        await stream.rest()
    async with nursery.child(tmp_path / "state") as daemon:
        assert (await daemon.settled("m")).get("bytes") == len(data)
        assert await daemon.stop() == 0
    assert [request.target for request in origin.requests] == [target, target]
    assert holders(daemon.state_dir) == []
    assert list((daemon.state_dir / "secrets").iterdir()) == []


@pytest.mark.parametrize("ending", ["cancel", "delete", "failure"])
async def test_every_end_of_a_job_forgets_its_url(
    nursery: Nursery, tmp_path: Path, origin: Origin, ending: str
) -> None:
    origin.script(Status(404) if ending == "failure" else Stall(300_000))
    async with nursery.child(tmp_path / "state") as daemon, daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(f"m.gguf?{QUERY}"))
        if ending != "failure":
            await stream.status("downloading")
            path = "/models/download/cancel" if ending == "cancel" else "/models/delete"
            await daemon.call("POST", path, {"id": "m"})
        await stream.status("canceled", "error")
        assert await daemon.stop() == 0
    assert list((daemon.state_dir / "secrets").iterdir()) == []
    assert holders(daemon.state_dir) == []


async def test_a_url_that_a_kill_left_behind_is_forgotten_at_the_next_start(
    nursery: Nursery, tmp_path: Path, origin: Origin
) -> None:
    async with nursery.child(tmp_path / "state") as daemon:
        await daemon.download("m", origin.url(f"m.gguf?{QUERY}"))
        await daemon.settled("m")
        left = await secret_of(daemon, "m")
        assert await daemon.stop() == 0
    # As if the kill had come between the last event and the unlinking, or in the middle of writing another one.
    left.write_text(QUERY)
    left.with_name(".job_0123456789.tmp").write_text(QUERY)
    async with nursery.child(tmp_path / "state") as daemon:
        assert (await daemon.call("GET", "/readyz"))[0] == 200
        assert await daemon.stop() == 0
    assert holders(daemon.state_dir) == []

"""The twenty-two scenarios in which others end with wrong bytes and exit 0: here none does, and each has its reason."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import oracle, running
from tests import origin as origins
from tests.origin import Origin, Serve, Stall
from tests.running import Running
from tests.scenarios import FIRST, HELD, OTHER, SCENARIOS, Scenario
from tests.sse import Message

BROKEN = [scenario for scenario in SCENARIOS if scenario.failed is not None]
CHANGED = [scenario for scenario in SCENARIOS if scenario.file is not FIRST]

each = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
with_and_without_a_digest = pytest.mark.parametrize("has_digest", [True, False], ids=["digest", "no digest"])


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with origins.running(FIRST) as served:
        yield served


async def ask(daemon: Running, origin: Origin, digest: str | None) -> None:
    more = {} if digest is None else {"sha256": digest}
    await daemon.download("m", origin.url("model.gguf?token=secret"), **more)


async def interrupted(daemon: Running, origin: Origin, digest: str | None) -> None:
    """Download until HELD bytes have come and no more do."""
    origin.script(Stall(HELD), Stall(HELD))
    async with daemon.events("id=m") as stream:
        await ask(daemon, origin, digest)
        await stream.until(lambda message: message.payload.get("downloaded") == HELD)


async def paused(state_dir: Path, origin: Origin, scenario: Scenario, digest: str | None) -> list[Message]:
    """The user pauses, then goes on against the scenario. All that was told since."""
    async with running.daemon(state_dir) as daemon:
        await interrupted(daemon, origin, digest)
        await daemon.call("POST", "/models/download/pause", {"id": "m"})
        origin.script(scenario.answer)
        async with daemon.events("id=m&until=done") as stream:
            await daemon.call("POST", "/models/download/resume", {"id": "m"})
            return await stream.rest()


async def stopped(state_dir: Path, origin: Origin, scenario: Scenario, digest: str | None) -> list[Message]:
    """The daemon is stopped; its next life goes on against the scenario by itself."""
    async with running.daemon(state_dir) as daemon:
        await interrupted(daemon, origin, digest)
    origin.script(scenario.answer)
    async with running.daemon(state_dir) as daemon, daemon.events("id=m&until=done&after=0") as stream:
        return await stream.rest()


async def broken(state_dir: Path, origin: Origin, scenario: Scenario, digest: str | None) -> list[Message]:
    """The connection breaks; the retry meets the scenario."""
    origin.script(Serve(HELD), scenario.answer)
    async with running.daemon(state_dir) as daemon:
        await ask(daemon, origin, digest)
        async with daemon.events("id=m&until=done&after=0") as stream:
            return await stream.rest()


@pytest.mark.parametrize("interrupt", [paused, stopped, broken])
@with_and_without_a_digest
@each
async def test_no_wrong_bytes_and_the_one_reason(
    tmp_path: Path, origin: Origin, scenario: Scenario, has_digest: bool, interrupt: object
) -> None:
    digest = oracle.digest(scenario.file) if has_digest else None
    assert callable(interrupt)
    async with asyncio.timeout(20):
        told = [message.payload for message in await interrupt(tmp_path, origin, scenario, digest)]
    restarts = [(payload["code"], payload["discarded"]) for payload in told if payload.get("status") == "restarted"]
    # The first request made the part; so bytes of it were kept, or given up for the scenario's reason.
    assert origin.requests[1].headers["Range"] == f"bytes={HELD}-"
    assert origin.requests[1].headers["If-Range"] == '"v1"'
    models, last = tmp_path / "models", told[-1]
    assert "secret" not in repr(told)
    assert restarts == ([] if scenario.restarted is None else [(scenario.restarted, HELD)])
    if scenario.failed is None:
        assert last["status"] == "complete", last
        assert (models / "model.gguf").read_bytes() == scenario.file
        assert (last["bytes"], last["sha256"]) == (len(scenario.file), oracle.digest(scenario.file))
        assert [path.name for path in models.iterdir()] == ["model.gguf"]
    else:
        assert (last["status"], last["code"]) == ("error", scenario.failed)
        assert (models / "model.gguf.part").read_bytes() == FIRST[:HELD]
        assert not (models / "model.gguf").exists()


def test_eighteen_of_the_twenty_two_can_be_completed() -> None:
    assert (len(SCENARIOS), len(BROKEN)) == (22, 4)
    assert len({scenario.name for scenario in SCENARIOS}) == 22


@pytest.mark.parametrize("scenario", BROKEN, ids=lambda scenario: scenario.name)
async def test_what_was_kept_is_of_use_once_the_server_is_well(
    tmp_path: Path, origin: Origin, scenario: Scenario
) -> None:
    await broken(tmp_path, origin, scenario, None)
    origin.script(Serve())
    async with running.daemon(tmp_path) as daemon:
        await ask(daemon, origin, None)
        assert (await daemon.settled("m"))["status"] == "complete"
    assert origin.requests[-1].headers["Range"] == f"bytes={HELD}-"
    assert (tmp_path / "models" / "model.gguf").read_bytes() == FIRST


@pytest.mark.parametrize("scenario", CHANGED, ids=lambda scenario: scenario.name)
async def test_the_digest_of_the_file_that_was_there_before_fits_no_other(
    tmp_path: Path, origin: Origin, scenario: Scenario
) -> None:
    told = [message.payload for message in await paused(tmp_path, origin, scenario, oracle.digest(FIRST))]
    assert (told[-1]["status"], told[-1]["code"]) == ("error", "sha256_mismatch")
    assert (told[-1]["expected"], told[-1]["actual"]) == (oracle.digest(FIRST), oracle.digest(scenario.file))
    assert list((tmp_path / "models").iterdir()) == []


async def test_a_digest_tells_the_file_whose_validator_did_not_change_with_it(tmp_path: Path, origin: Origin) -> None:
    scenario = Scenario("another file under the old validator", Serve(data=OTHER, is_blind=True))
    told = [message.payload for message in await paused(tmp_path, origin, scenario, oracle.digest(OTHER))]
    assert [payload["code"] for payload in told if payload.get("status") == "restarted"] == ["sha256_mismatch"]
    assert told[-1]["status"] == "complete"
    assert (tmp_path / "models" / "model.gguf").read_bytes() == OTHER

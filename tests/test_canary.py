"""The net in which a secret would be caught, wherever it got out: each leak is made on purpose, and is found."""

import base64
import json
import logging
import sys
import urllib.parse
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from arwd.jobs import facts
from tests import canary, processes, running
from tests.canary import COOKIE, WORD
from tests.nursery import Nursery
from tests.running import Running
from tests.wire import JSON, ask

TOKEN = canary.secret("token")
CAUGHT = "a secret got out"
LEAKS = """
import sys
from arwd import cli, daemon
class Leaking(daemon.Daemon):
    async def open(self):
        print(sys.argv[1], file=sys.stderr, flush=True)
        return await super().open()
from arwd import server
server.Daemon = Leaking
sys.exit(cli.main(sys.argv[2:]))
"""


async def say(daemon: Running) -> None:
    logging.getLogger("arwd.jobs").warning("Fetching with %s", canary.secret("another"))


async def fail(daemon: Running) -> None:
    try:
        raise OSError(f"no such file: {WORD}")
    except OSError:
        logging.getLogger("arwd.api").exception("A surprise")


async def tell(daemon: Running) -> None:
    async with daemon.events() as stream:
        await stream.next()
        daemon.daemon.bus.tell(facts.answer(WORD, "no-active-job"))
        await stream.status("no-active-job")


async def answer(daemon: Running) -> None:
    # An id is shown to whoever asks for it; nobody is to put a secret there.
    await daemon.call("GET", f"/events?until=done&id={WORD}")


async def answer_on_the_wire(daemon: Running) -> None:
    await ask(daemon, "GET", f"/events?until=done&id={WORD}", f"Authorization: Bearer {TOKEN}")


async def write(daemon: Running) -> None:
    daemon.daemon.layout.state_dir.joinpath("models.json.bak").write_text(canary.QUERY)


async def name(daemon: Running) -> None:
    daemon.models.joinpath(f"model.gguf?{canary.QUERY}.part").touch()


async def open_the_cage(daemon: Running) -> None:
    daemon.daemon.layout.secrets.chmod(0o755)


async def open_a_secret(daemon: Running) -> None:
    file = daemon.daemon.layout.secrets / "job"
    file.write_text(WORD)
    file.chmod(0o644)


async def name_a_session(daemon: Running) -> None:
    given = await ask(daemon, "POST", "/login", JSON, body=json.dumps({"token": TOKEN}).encode())
    session = given.headers["set-cookie"].partition("=")[2].partition(";")[0]
    logging.getLogger("arwd.api").warning("Session %s is open", session)


@pytest.mark.parametrize(
    "leak",
    [say, fail, tell, answer, answer_on_the_wire, write, name, open_the_cage, open_a_secret, name_a_session],
)
async def test_a_leak_is_caught_although_its_test_did_not_look(
    tmp_path: Path, leak: Callable[[Running], Awaitable[None]]
) -> None:
    with pytest.raises(AssertionError, match=CAUGHT):
        await live(tmp_path, leak)


async def test_a_session_s_name_is_no_leak_where_its_owner_is_told_it(tmp_path: Path) -> None:
    async def log_in(daemon: Running) -> None:
        given = await ask(daemon, "POST", "/login", JSON, body=json.dumps({"token": TOKEN}).encode())
        assert given.headers["set-cookie"].startswith(COOKIE)

    await live(tmp_path, log_in)


async def live(tmp_path: Path, leak: Callable[[Running], Awaitable[None]]) -> None:
    async with running.daemon(tmp_path / "state", TOKEN) as daemon:
        daemon.session.headers["Authorization"] = f"Bearer {TOKEN}"
        await leak(daemon)


async def test_a_leak_of_a_process_of_its_own_is_caught(tmp_path: Path, nursery: Nursery) -> None:
    with pytest.raises(AssertionError, match=CAUGHT):
        async with processes.child(tmp_path / "state", before=(sys.executable, "-c", LEAKS, WORD)):
            pass
    with pytest.raises(AssertionError, match=CAUGHT):
        async with nursery.child(tmp_path / "state") as daemon:
            (daemon.state_dir / "models.json").write_text(WORD)
    with pytest.raises(AssertionError, match=CAUGHT):
        await processes.run(sys.executable, "-c", f"print('{WORD}')")


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_it_is_known_in_every_form(before: int, after: int) -> None:
    data = b"x" * before + WORD.encode() + b"y" * after
    text = data.decode()
    for form in (
        data,
        data.upper(),
        base64.b64encode(data),
        base64.urlsafe_b64encode(data),
        data.hex().encode(),
        "".join(f"%{byte:02X}" for byte in data).encode(),
        urllib.parse.quote(text).encode(),
        json.dumps({text: text}).encode(),
    ):
        assert canary.found_in("here", form), form
    assert not canary.found_in("here", WORD[:-1].encode() + b" " + base64.b64encode(WORD[1:].encode()))

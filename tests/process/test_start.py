"""A daemon that may not start says why in a sentence, and with the status that tells its manager what to do."""

import signal
import socket
import sys
from pathlib import Path

import pytest

from tests import canary, processes
from tests.nursery import Nursery
from tests.processes import ARWD, Ended

IN_USE, CONFIGURATION, USAGE, FAILED = 75, 78, 2, 1

# Tells every address that the process binds, as it does it: to see that it bound none.
TELLS_ITS_BINDS = """
import sys
sys.addaudithook(lambda name, about: name == "socket.bind" and print("bound", about[1], flush=True))
from arwd.cli import main
sys.exit(main(sys.argv[1:]))
"""


def serve(state_dir: Path, *arguments: str) -> tuple[str, ...]:
    return (*ARWD, "serve", "--port", "0", "--state-dir", str(state_dir), *arguments)


def assert_refused(ended: Ended, status: int, *words: str) -> None:
    """The status, and one sentence with these words: no traceback, nothing announced."""
    assert ended.status == status, ended.errors
    assert ended.output == ""
    assert ended.errors.startswith("arwd: ")
    assert ended.errors.count("\n") == 1
    for word in words:
        assert word in ended.errors


async def test_a_second_daemon_on_the_same_state_directory_is_told_so(tmp_path: Path) -> None:
    async with processes.child(tmp_path / "state") as daemon:
        ended = await processes.run(*serve(tmp_path / "state"), home=tmp_path)
        assert_refused(ended, IN_USE, str(tmp_path / "state"), "in use", "--state-dir")
        assert (await daemon.call("GET", "/healthz")) == (200, {"ok": True})


async def test_the_state_directory_is_free_again_after_a_kill(nursery: Nursery, tmp_path: Path) -> None:
    async with nursery.child(tmp_path / "state") as daemon:
        assert await daemon.stop(signal.SIGKILL) == -signal.SIGKILL
    async with nursery.child(tmp_path / "state") as daemon:
        assert (await daemon.call("GET", "/readyz"))[0] == 200


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"ARWD_MAX_JOBZ": "3"}, ("max_jobz", "ARWD_MAX_JOBZ", "max_jobs")),
        ({"ARWD_TOKEN_FILE": "/nonexistent/token"}, ("token_file", "chmod 600")),
    ],
)
async def test_a_bad_variable_is_named(tmp_path: Path, environ: dict[str, str], words: tuple[str, ...]) -> None:
    ended = await processes.run(*serve(tmp_path / "state"), environ=environ, home=tmp_path)
    assert_refused(ended, CONFIGURATION, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_jobs = 3\nmax_jobs == 4\n", ("TOML", "line 2")),
        ("max_jobz = 3", ("max_jobz", "max_jobs")),
    ],
)
async def test_a_bad_settings_file_is_named(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    file = tmp_path / "arwd.toml"
    file.write_text(text)
    ended = await processes.run(*serve(tmp_path / "state", "--config", str(file)), home=tmp_path)
    assert_refused(ended, CONFIGURATION, str(file), *words)


async def test_a_port_out_of_range_is_named(tmp_path: Path) -> None:
    ended = await processes.run(*serve(tmp_path / "state", "--port", "70000"), home=tmp_path)
    assert_refused(ended, CONFIGURATION, "port", "70000", "65535")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_an_open_address_without_a_token_is_refused_before_anything_listens(tmp_path: Path, host: str) -> None:
    command = (sys.executable, "-c", TELLS_ITS_BINDS, *serve(tmp_path / "state", "--host", host)[len(ARWD) :])
    ended = await processes.run(*command, home=tmp_path)
    assert_refused(ended, CONFIGURATION, host, "token", "ARWD_TOKEN_FILE", "127.0.0.1")
    assert not (tmp_path / "state").exists()


async def test_that_a_bind_would_have_been_seen(tmp_path: Path) -> None:
    before = (sys.executable, "-c", TELLS_ITS_BINDS)
    with pytest.raises(AssertionError, match="bound"):
        async with processes.child(tmp_path / "state", before=before):
            pass


@pytest.mark.parametrize("arguments", [(), ("serve", "--port", "many"), ("serve", "--prot", "1"), ("dance",)])
async def test_a_usage_error_shows_the_usage(arguments: tuple[str, ...]) -> None:
    ended = await processes.run(*ARWD, *arguments)
    assert (ended.status, ended.output) == (USAGE, "")
    assert ended.errors.startswith("usage: arwd")


async def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = str(occupied.getsockname()[1])
        ended = await processes.run(*serve(tmp_path / "state", "--port", port), home=tmp_path)
    assert_refused(ended, FAILED, port, "in use", "--port 0")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("no such host", ("no such host", "no address of this machine")),
        ("192.0.2.1", ("192.0.2.1", "no such address", "--host")),
    ],
)
async def test_a_host_that_is_not_ours_is_named(tmp_path: Path, host: str, words: tuple[str, ...]) -> None:
    command = serve(tmp_path / "state", "--host", host)
    ended = await processes.run(*command, environ={"ARWD_TOKEN": "t0ken"}, home=tmp_path)
    assert_refused(ended, FAILED, *words)


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
async def test_a_host_that_can_be_no_name_is_a_wrong_setting(tmp_path: Path, host: str) -> None:
    command = serve(tmp_path / "state", "--host", host)
    ended = await processes.run(*command, environ={"ARWD_TOKEN": "t0ken"}, home=tmp_path)
    assert_refused(ended, CONFIGURATION, "The setting host is wrong", host, "127.0.0.1")


async def test_a_state_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    ended = await processes.run(*serve(tmp_path / "state"), home=tmp_path)
    assert_refused(ended, FAILED, str(tmp_path / "state"))


async def test_the_settings_in_force_are_shown_and_secrets_are_not(tmp_path: Path) -> None:
    file = tmp_path / "arwd.toml"
    file.write_text(f'max_jobs = 7\nheartbeat = 5.0\ntoken = "{canary.secret("file")}"\n')
    environ = {"ARWD_HEARTBEAT": "6", "ARW_ADMIN_TOKEN": canary.secret("environment")}
    headers = {"Authorization": f"Bearer {canary.secret('environment')}"}
    async with processes.child(tmp_path / "state", "--config", str(file), environ=environ, headers=headers) as daemon:
        status, probe = await daemon.call("GET", "/probe")
    assert status == 200
    assert probe["pid"] == daemon.process.pid
    assert (probe["settings"]["max_jobs"], probe["settings"]["heartbeat"]) == (7, 6.0)

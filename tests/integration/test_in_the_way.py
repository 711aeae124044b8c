"""What lies about in the state directory, or fails for a moment: it costs no part, no start, and nobody's own file."""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from arwd import fs
from arwd.errors import StorageError
from arwd.jobs import left_over
from arwd.store import control
from arwd.store.library import Library
from tests import running
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running

SOME = 300_000
NAME = "model.gguf"


async def until_held(daemon: Running, origin: Origin, url: str) -> None:
    origin.script(Stall(SOME), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", url)
        await stream.until(lambda message: message.payload.get("downloaded") == SOME)
        await daemon.call("POST", "/models/download/pause", {"id": "m"})


async def fail_when_checked(daemon: Running, origin: Origin, query: str = "") -> None:
    """A failed job whose part was checked: its place was taken."""
    await until_held(daemon, origin, origin.url(NAME) + query)
    (daemon.models / NAME).write_bytes(b"somebody's own")
    async with daemon.events("id=m&until=done") as stream:
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        assert (await stream.rest())[-1].payload["code"] == "io"
    (daemon.models / NAME).unlink()
    origin.requests.clear()


# What was checked for another request


async def test_the_digest_of_this_request_is_compared_with_what_was_checked_for_another(
    daemon: Running, origin: Origin
) -> None:
    await fail_when_checked(daemon, origin)
    await daemon.download("m", origin.url(NAME), sha256="0" * 64)
    last = await daemon.settled("m")
    assert (last["status"], last["code"]) == ("error", "sha256_mismatch")
    assert (await daemon.call("GET", "/models"))[1] == []


async def test_what_was_checked_for_another_query_is_asked_for_again(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    await fail_when_checked(daemon, origin, "?rev=1")
    await daemon.download("m", origin.url(f"{NAME}?rev=2"))
    assert (await daemon.settled("m"))["status"] == "complete"
    assert origin.requests[0].headers["If-Range"] == '"v1"'
    assert (daemon.models / NAME).read_bytes() == data


async def test_a_file_that_had_its_name_when_the_job_failed_goes_with_a_cancel(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = fs.rename_without_replacing

    def refuse(_: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def rename_but_not_back(source: Path, target: Path) -> None:
        if source.name == NAME:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(fs, "rename_without_replacing", rename_but_not_back)
    async with daemon.events("id=m") as stream:
        origin.script(Stall(SOME), Serve())
        await daemon.download("m", origin.url(NAME))
        await stream.until(lambda message: message.payload.get("downloaded") == SOME)
        place = Library.place

        async def place_badly(shelf: Library, *arguments: Any, **more: Any) -> None:
            with monkeypatch.context() as patched:
                patched.setattr(fs, "fsync_directory", refuse)
                await place(shelf, *arguments, **more)

        monkeypatch.setattr(Library, "place", place_badly)
        origin.go_on.set()
        assert (await stream.status("error", "complete"))["code"] == "io"
    assert daemon.files() == [NAME, f"{NAME}.part.json"]
    await daemon.call("POST", "/models/download/cancel", {"id": "m"})
    assert daemon.files() == []


# What passes


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
async def test_an_error_that_passes_says_nothing_about_a_part(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    await until_held(daemon, origin, origin.url(NAME))

    def refuse(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(control, "read", refuse)
        async with daemon.events("id=m&until=done") as stream:
            await daemon.call("POST", "/models/download/resume", {"id": "m"})
            assert (await stream.rest())[-1].payload["code"] == "io"
    await daemon.download("m", origin.url(NAME))
    assert (await daemon.settled("m"))["status"] == "complete"
    assert origin.requests[-1].headers["Range"] == f"bytes={SOME}-"


async def test_a_pause_that_could_not_be_recorded_is_not_said_to_be_one(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.script(Stall(SOME), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME))
        await stream.until(lambda message: message.payload.get("downloaded") == SOME)

        def refuse(*changes: Any, **more: Any) -> asyncio.Future[None]:
            refused = asyncio.get_running_loop().create_future()
            refused.set_exception(StorageError("database or disk is full"))
            return refused

        with monkeypatch.context() as patched:
            patched.setattr(daemon.daemon.database, "write", refuse)
            answers = [await daemon.call("POST", "/models/download/pause", {"id": "m"}) for _ in range(2)]
            assert [status for status, _ in answers] == [500, 500]
        assert (await daemon.call("POST", "/models/download/pause", {"id": "m"}))[0] == 200
        assert (await stream.status("paused"))["id"] == "m"
    known = control.read(daemon.models / f"{NAME}.part.json")
    assert known is not None
    assert known.is_paused


# What lies about


def lay(state: Path, what: str) -> None:
    models = state / "models"
    match what:
        case "a folder among the secrets":
            (state / "secrets" / "d").mkdir()
        case "a folder as a control file":
            (models / "x.part.json").mkdir()
        case "a folder as a scratch file":
            (models / ".x.part.json.tmp").mkdir()
        case "a pipe as a control file":
            os.mkfifo(models / "x.part.json")
        case "a link as a control file":
            (models / "x.part.json").symlink_to("nowhere")
        case "a control file that nests without end":
            (models / "x.part.json").write_text('{"zzz":' + "[" * 20_000 + "]" * 20_000 + "}")
        case "a name that is no text":
            Path(os.fsdecode(os.fsencode(models) + b"/\xff\xfe.part.json")).write_text("{}")


@pytest.mark.parametrize(
    "what",
    [
        "a folder among the secrets", "a folder as a control file", "a folder as a scratch file",
        "a pipe as a control file", "a link as a control file", "a control file that nests without end",
        "a name that is no text",
    ],
)  # fmt: skip
async def test_nothing_that_lies_about_keeps_it_from_starting_and_working(
    tmp_path: Path, origin: Origin, what: str
) -> None:
    async with running.daemon(tmp_path):
        pass
    lay(tmp_path, what)
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("m", origin.url("y" if "scratch" in what else "x"))
        assert (await daemon.settled("m"))["status"] == "complete"


async def test_a_file_that_is_called_like_a_control_file_is_left_alone(tmp_path: Path) -> None:
    async with running.daemon(tmp_path) as daemon:
        foreign = daemon.models / "dataset.part.json"
        foreign.write_text('{"rows":[1,2,3]}')
    async with running.daemon(tmp_path):
        assert foreign.exists()


async def test_a_file_that_came_to_the_name_of_a_condemned_one_is_left_alone(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("m", origin.url(NAME))
        await daemon.settled("m")
        with monkeypatch.context() as patched:
            patched.setattr(left_over, "bury", lambda *_: None)
            await daemon.call("POST", "/models/delete", {"id": "m"})
        (daemon.models / NAME).write_bytes(b"somebody's own")
    async with running.daemon(tmp_path) as daemon:
        assert (daemon.models / NAME).read_bytes() == b"somebody's own"


# Parts of other programs that cannot be used


@pytest.mark.parametrize("why", ["its final name is taken", "it has a second name"])
async def test_a_part_of_another_program_that_cannot_become_the_file_is_left_alone(
    daemon: Running, origin: Origin, data: bytes, tmp_path: Path, why: str
) -> None:
    part = daemon.models / f"{NAME}.part"
    part.write_bytes(data[:SOME])
    if why == "its final name is taken":
        (daemon.models / NAME).write_bytes(b"somebody's own")
    else:
        os.link(part, tmp_path / "elsewhere")
    await daemon.download("m", origin.url(NAME))
    last = await daemon.settled("m")
    assert last["status"] == "complete"
    assert last["file"] != NAME
    assert part.read_bytes() == data[:SOME]


async def test_a_part_that_no_job_remembers_is_taken_over_by_the_next_request_for_it(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    origin.script(Serve(SOME), Status(404), Serve())
    await daemon.download("m", origin.url(NAME))
    await daemon.settled("m")
    daemon.daemon.manager.roster._final.clear()
    daemon.daemon.manager.roster._newest.clear()
    await daemon.download("m", origin.url(NAME))
    assert (await daemon.settled("m"))["file"] == NAME
    assert origin.requests[-1].headers["Range"] == f"bytes={SOME}-"
    assert daemon.files() == [NAME]

"""Disks that refuse: full, or not to be written to. A real one of 16 MiB, where one may mount it."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from arwd.store.ballast import SIZE
from tests import processes, running
from tests.origin import Origin, Stall
from tests.process.test_start import FAILED, assert_refused, serve


def mount(*arguments: str) -> None:
    subprocess.run(("mount", *arguments), check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    where = tmp_path / "disk"
    where.mkdir()
    mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(where))
    try:
        yield where
    finally:
        subprocess.run(("umount", "-l", str(where)), check=True)


def fill(path: Path) -> None:
    """Write until nothing more goes in."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass


@pytest.mark.needs("mount")
async def test_on_a_full_disk_the_ballast_lets_the_database_write_down_what_happens(disk: Path, origin: Origin) -> None:
    origin.script(Stall())
    state = disk / "state"
    async with running.daemon(state, max_jobs=1) as daemon:
        ballast = state / "ballast"
        assert ballast.stat().st_size == SIZE
        count = 0
        while ballast.exists():
            fill(disk / "filler")
            count += 1
            assert count < 1_000
            # No body of a response, no file, no URL to be kept apart: nothing but the database writes here.
            await daemon.download(f"m{count}", f"http://127.0.0.1:{origin.port}/m.gguf")
        _, body = await daemon.call("GET", "/models/jobs")
        assert [job["id"] for job in body["jobs"]] == [f"m{number}" for number in range(1, count + 1)]
        assert daemon.daemon._ballast.make() is False
        assert not ballast.exists()
        (disk / "filler").unlink()
        assert daemon.daemon._ballast.make() is True
    async with running.daemon(state, max_jobs=1) as daemon:
        _, body = await daemon.call("GET", "/models/jobs")
        assert len(body["jobs"]) == count


@pytest.mark.needs("mount")
async def test_a_disk_that_may_only_be_read_is_named(disk: Path, tmp_path: Path) -> None:
    async with processes.child(disk / "state") as daemon:
        await daemon.call("GET", "/readyz")
    mount("-o", "remount,ro", str(disk))
    ended = await processes.run(*serve(disk / "state"), home=tmp_path)
    assert_refused(ended, FAILED, "state directory", str(disk / "state"), "Read-only file system")
    mount("-o", "remount,rw", str(disk))
    assert not list((disk / "state").glob("*corrupt*"))


@pytest.mark.needs("mount")
async def test_a_database_that_may_only_be_read_is_named_and_left_alone(disk: Path, tmp_path: Path) -> None:
    state, database = tmp_path / "state", disk / "state" / "arwd.db"
    for directory in (state, disk / "state"):
        async with processes.child(directory) as daemon:
            await daemon.call("GET", "/readyz")
    (state / "arwd.db").unlink()
    (state / "arwd.db").symlink_to(database)
    before = database.read_bytes()
    mount("-o", "remount,ro", str(disk))
    ended = await processes.run(*serve(state), home=tmp_path)
    assert_refused(ended, FAILED, str(state / "arwd.db"))
    assert database.read_bytes() == before
    assert not list(state.glob("*corrupt*"))


async def test_a_directory_in_the_place_of_the_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "state" / "arwd.db").mkdir(parents=True)
    ended = await processes.run(*serve(tmp_path / "state"), home=tmp_path)
    assert_refused(ended, FAILED, str(tmp_path / "state" / "arwd.db"), "unable to open")


async def test_a_daemon_that_sets_its_database_aside_says_so_and_serves(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "arwd.db").write_bytes(b"no database" * 1_000)
    async with processes.child(state) as daemon:
        assert (await daemon.call("GET", "/readyz"))[0] == 200
    assert b"The database was damaged (file is not a database)" in daemon.log
    (aside,) = state.glob("arwd.db.corrupt-*")
    assert aside.name.encode() in daemon.log
    assert aside.read_bytes() == b"no database" * 1_000

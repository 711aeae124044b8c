"""What the files know goes into a database that does not: once, without deleting anything, whatever they say."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from arwd.bus.local import LocalBus, Options
from arwd.database import Database, marks
from arwd.jobs import ledger, rebuild
from arwd.model import Job, Model
from arwd.states import State
from arwd.store import control, library
from arwd.store.control import ControlFile
from arwd.store.layout import Layout
from arwd.store.library import Library
from tests.unit.samples import URL, job, model

BYTES = b"the bytes of a model"
SHA256 = hashlib.sha256(BYTES).hexdigest()


class Home:
    """A state directory whose database knows nothing yet."""

    def __init__(self, layout: Layout, database: Database) -> None:
        self.layout, self.database = layout, database
        self.bus = LocalBus(database, Options())

    @property
    def jobs(self) -> list[Job]:
        return self.database.read_now(ledger.load)

    @property
    def models(self) -> list[Model]:
        return self.database.read_now(library.load)

    @property
    def library(self) -> Library:
        return Library(self.layout, self.models)

    def lists(self, *models: Model) -> None:
        Library(self.layout, models).tidying()()

    def part(self, name: str, held: int | None = 3, **fields: Any) -> None:
        known = {"id": "m", "job_id": "job_0123456789", "url": URL, "boot_id": "", "size": len(BYTES)}
        control.write(self.layout.control_file(name), ControlFile(**(known | fields)))
        if held is not None:
            self.layout.part(name).write_bytes(BYTES[:held])

    async def rebuild(self) -> None:
        await rebuild.rebuild(self.layout, self.database, self.bus)


class Rooms:
    """As much of the rooms as a check of digests needs."""

    def __init__(self, home: Home) -> None:
        self.bus, self.library = home.bus, home.library


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    layout = Layout(tmp_path)
    layout.prepare()
    made = Home(layout, Database(layout.database))
    await made.bus.begin()
    yield made
    await made.bus.close(0.0)
    made.database.close()
    layout.release()


def finished(home: Home, name: str = "m.gguf", **fields: Any) -> Model:
    home.layout.final(name).write_bytes(BYTES)
    return model(name=name, sha256=SHA256, bytes=len(BYTES), **fields)


async def test_a_listed_model_is_one_again_and_its_digest_is_checked(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.lists(finished(home))
    await home.rebuild()
    rooms = Rooms(home)
    assert [(each.id, each.name, each.sha256) for each in rooms.library] == [("m", "m.gguf", SHA256)]
    assert all(map(rooms.library.is_unchanged, rooms.library))
    caplog.set_level("INFO")
    await rebuild.recheck(rooms, home.database)  # type: ignore[arg-type]
    assert "m.gguf is what models.json said" in caplog.text
    assert [each.id for each in home.models] == ["m"]
    caplog.clear()
    await rebuild.recheck(rooms, home.database)  # type: ignore[arg-type]
    assert caplog.text == ""


async def test_one_that_does_not_match_is_unlisted_and_its_file_stays(home: Home) -> None:
    home.lists(finished(home), finished(home, "n.gguf", id="m2"))
    home.layout.final("m.gguf").write_bytes(BYTES.upper())
    await home.rebuild()
    rooms = Rooms(home)
    await rebuild.recheck(rooms, home.database)  # type: ignore[arg-type]
    assert [each.id for each in home.models] == [each.id for each in rooms.library] == ["m2"]
    assert home.layout.final("m.gguf").read_bytes() == BYTES.upper()
    assert b'"m"' not in home.layout.list.read_bytes()
    query = "SELECT data FROM events WHERE kind = 'Models.Changed'"
    assert home.database.read_now(lambda cursor: cursor.execute(query).fetchall()) == [(b'{"op":"missing","id":"m"}',)]


async def test_a_check_that_a_stop_cut_short_is_made_up_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.lists(finished(home), finished(home, "n.gguf", id="m2"))
    home.layout.final("n.gguf").write_bytes(BYTES.upper())
    await home.rebuild()
    digest = rebuild._digest

    async def stopped(path: Path) -> str:
        if path.name == "n.gguf":
            raise asyncio.CancelledError
        return await digest(path)

    monkeypatch.setattr(rebuild, "_digest", stopped)
    with pytest.raises(asyncio.CancelledError):
        await rebuild.recheck(Rooms(home), home.database)  # type: ignore[arg-type]
    assert [each.id for each in home.models] == ["m", "m2"]
    monkeypatch.setattr(rebuild, "_digest", digest)
    await rebuild.recheck(Rooms(home), home.database)  # type: ignore[arg-type]
    assert [each.id for each in home.models] == ["m"]


async def test_one_that_was_replaced_meanwhile_is_left_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.lists(finished(home))
    await home.rebuild()
    rooms = Rooms(home)

    async def other(_: Path) -> str:
        rooms.library.put(model(name="m.gguf"))
        return "0" * 64

    monkeypatch.setattr(rebuild, "_digest", other)
    await rebuild.recheck(rooms, home.database)  # type: ignore[arg-type]
    assert rooms.library.get("m") == model(name="m.gguf")


async def test_the_database_is_believed_before_the_list(home: Home) -> None:
    known = finished(home, trust="none")
    home.lists(replace(known, trust="caller"), replace(known, id="thief"))
    await home.database.write(library.record(known))
    await home.rebuild()
    assert home.models == [known]


async def test_a_part_with_a_control_file_is_a_job_again(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.part("m.gguf", provider="hub", filename="m.gguf", sha256=SHA256)
    home.part("n.gguf", id="n", job_id="job_aaaaaaaaaa", is_paused=True, held=None)
    await home.rebuild()
    queued, paused = sorted(home.jobs, key=lambda each: each.id)
    assert queued == job(
        queued_at=queued.queued_at,
        provider="hub",
        filename="m.gguf",
        name="m.gguf",
        sha256=SHA256,
        total=len(BYTES),
        downloaded=3,
    )
    assert (paused.state, paused.paused_by, paused.job_id) == (State.PAUSED, "user", "job_aaaaaaaaaa")
    assert [home.bus.latest(each.job_id).data for each in (queued, paused)] == [  # type: ignore[union-attr]
        b'{"id":"m","job_id":"job_0123456789","status":"queued"}',
        b'{"id":"n","job_id":"job_aaaaaaaaaa","status":"paused"}',
    ]
    assert "did not know of 0 models in models.json, whose digests are checked now, and of 2 parts" in caplog.text


@pytest.mark.parametrize(
    ("known", "mark"),
    [
        (job(state=State.FAILED), None),
        (job(job_id="job_bbbbbbbbbb"), None),
        (None, "ended:job_0123456789"),
    ],
    ids=["its own job", "another job of its id", "a job that had ended"],
)
async def test_a_part_that_must_not_go_on_unasked_does_not(home: Home, known: Job | None, mark: str | None) -> None:
    home.part("m.gguf")
    if known is not None:
        await home.database.write(ledger.record(known))
    if mark is not None:
        await home.database.write(marks.put(mark))
    await home.rebuild()
    assert home.jobs == ([] if known is None else [known])
    assert home.database.read_now(lambda cursor: marks.beginning(cursor, "ended:")) == []
    assert home.layout.part("m.gguf").exists()


async def test_the_control_file_of_a_finished_model_makes_no_job(home: Home) -> None:
    home.lists(finished(home))
    home.part("m.gguf", held=None)
    await home.rebuild()
    assert home.jobs == []


async def test_an_id_has_one_job_and_a_job_id_is_never_a_path(home: Home) -> None:
    home.part("a.gguf", job_id="../../secrets")
    home.part("b.gguf", job_id="job_aaaaaaaaaa")
    home.part("c.gguf", id="c", job_id="job_cccccccccc")
    home.part("d.gguf", id="d", job_id="job_cccccccccc")
    await home.rebuild()
    assert sorted((each.id, each.name) for each in home.jobs) == [("c", "c.gguf"), ("m", "a.gguf")]
    for each in home.jobs:
        assert rebuild._JOB_ID.fullmatch(each.job_id)


async def test_it_is_done_once(home: Home) -> None:
    await home.rebuild()
    home.part("m.gguf")
    home.lists(finished(home))
    await home.rebuild()
    assert (home.jobs, home.models) == ([], [])

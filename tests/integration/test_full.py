"""A disk with no room for the database: what cannot be recorded is said to be so, never passed over in silence."""

import asyncio
import sqlite3
from collections.abc import Iterator

import pytest

from arwd.database import Change, Database
from arwd.errors import StorageError
from arwd.jobs import roster
from tests.origin import Origin, Stall, Status
from tests.running import Running


class Room:
    """Whether the database may still be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_there = True
        self._apply = Database._apply
        monkeypatch.setattr(Database, "_apply", lambda *arguments: self._applied(*arguments))

    def _applied(self, database: Database, cursor: sqlite3.Cursor, changes: tuple[Change, ...]) -> StorageError | None:
        if self.is_there:
            return self._apply(database, cursor, changes)
        return StorageError("database or disk is full")


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, daemon: Running) -> Iterator[Room]:
    room = Room(monkeypatch)
    yield room
    room.is_there = True


@pytest.mark.parametrize("path", ["/models/download", "/models/download/cancel", "/models/delete"])
async def test_a_request_for_an_id_whose_last_word_cannot_be_recorded_is_answered(
    daemon: Running, origin: Origin, room: Room, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "_PATIENCE", 0.2)
    origin.script(Stall(0), Status(404))
    await daemon.download("m", origin.url())
    await origin.requested()
    room.is_there = False
    origin.go_on.set()
    async with asyncio.timeout(5.0):
        while (await daemon.job("m"))["status"] != "error":
            await asyncio.sleep(0.01)
    async with asyncio.timeout(10.0):
        status, problem = await daemon.call("POST", path, {"id": "m", "url": origin.url()})
    assert (status, problem["code"]) == (500, "io")
    room.is_there = True
    assert (await daemon.settled("m"))["code"] == "not_found"
    assert (await daemon.call("POST", path, {"id": "m", "url": origin.url()}))[0] == 200

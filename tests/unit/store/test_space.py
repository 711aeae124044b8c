"""Who was promised what: two never get the same room, and what is written is not counted twice."""

import asyncio
from pathlib import Path

import pytest

from arwd import fs
from arwd.errors import DiskFull, QuotaExceeded, SizeLimit, StorageError
from arwd.store.allowance import STEP
from arwd.store.layout import Layout, Options
from arwd.store.space import Space

MIB = 1 << 20


class Disk:
    """So many bytes are free; a measurement may be held up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 100 * MIB
        self.size = 1 << 40
        monkeypatch.setattr(fs, "free_bytes", lambda _: self.free)
        monkeypatch.setattr(fs, "total_bytes", lambda _: self.size)


class File:
    """A file that grows."""

    def __init__(self, written: int = 0) -> None:
        self.length = written

    def written(self) -> int:
        return self.length


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def make(layout: Layout, reserve: int | None = 0, **limits: int) -> Space:
    return Space(layout, Options(reserve=reserve, **limits))


async def test_the_reserve_is_a_gibibyte_or_five_per_cent(disk: Disk, layout: Layout) -> None:
    space = make(layout, reserve=None)
    assert (await space.measure()).reserve == (1 << 40) // 20
    disk.size = 1 << 30
    assert (await space.measure()).reserve == 1 << 30


async def test_what_is_promised_to_one_is_not_promised_to_another(disk: Disk, layout: Layout) -> None:
    space = make(layout, reserve=10 * MIB)
    await space.promise("a", size=60 * MIB, written=File().written)
    assert space.promised == 60 * MIB
    with pytest.raises(DiskFull, match=str(31 * MIB)):
        await space.promise("b", size=31 * MIB, written=File().written)
    assert space.promised == 60 * MIB
    await space.promise("b", size=30 * MIB, written=File().written)
    space.withdraw("a")
    assert space.promised == 30 * MIB


async def test_of_many_that_ask_at_once_only_those_are_let_in_for_whom_there_is_room(
    disk: Disk, layout: Layout
) -> None:
    space = make(layout)
    asked = [space.promise(f"job{number}", size=20 * MIB, written=File().written) for number in range(10)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [outcome for outcome in outcomes if outcome is None] == [None] * 5
    assert space.promised == 100 * MIB


async def test_a_promise_shrinks_as_its_bytes_are_written(disk: Disk, layout: Layout) -> None:
    space, file = make(layout), File()
    await space.promise("a", size=60 * MIB, written=file.written)
    file.length, disk.free = 50 * MIB, 50 * MIB
    assert (await space.measure()).promised == 10 * MIB
    await space.promise("b", size=40 * MIB, written=File().written)


async def test_what_is_written_while_the_disk_is_measured_is_not_taken_for_free(
    disk: Disk, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, file = make(layout), File()
    await space.promise("a", size=60 * MIB, written=file.written)

    def measured_too_early(_: Path) -> int:
        file.length = 60 * MIB
        return 100 * MIB

    monkeypatch.setattr(fs, "free_bytes", measured_too_early)
    with pytest.raises(DiskFull):
        await space.promise("b", size=41 * MIB, written=File().written)


async def test_a_job_that_asks_anew_is_judged_by_what_remains_to_it(disk: Disk, layout: Layout) -> None:
    space, file = make(layout), File(80 * MIB)
    disk.free = 20 * MIB
    await space.promise("a", size=100 * MIB, written=file.written)
    await space.promise("a", size=100 * MIB, written=file.written)
    assert space.promised == 20 * MIB


async def test_of_two_that_are_short_the_first_to_look_makes_room_for_the_other(disk: Disk, layout: Layout) -> None:
    space = make(layout)
    for job_id in ("a", "b"):
        await space.promise(job_id, size=50 * MIB, written=File().written)
    disk.free = 60 * MIB
    outcomes = await asyncio.gather(space.look_again("a"), space.look_again("b"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DiskFull, type(None)]
    assert space.promised == 50 * MIB


async def test_who_was_promised_nothing_has_nothing_to_look_for(disk: Disk, layout: Layout) -> None:
    disk.free = 0
    assert await make(layout).look_again("a") is None


async def test_a_file_of_unknown_size_is_promised_a_step_and_looks_ever_closer(disk: Disk, layout: Layout) -> None:
    space, file = make(layout), File()
    strides = [await space.promise("a", size=None, written=file.written)]
    assert space.promised == STEP
    for disk.free in (50 * MIB, 10 * MIB, STEP):
        strides.append(await space.look_again("a"))
    assert strides == [100 * MIB // 8, 50 * MIB // 8, 2 * MIB, 2 * MIB]
    disk.free = STEP - 1
    with pytest.raises(DiskFull):
        await space.look_again("a")
    assert space.promised == 0


async def test_a_waiting_job_is_promised_what_it_needs_and_others_are_judged_beside_it(
    disk: Disk, layout: Layout
) -> None:
    space = make(layout)
    room = await space.measure(is_used_wanted=False)
    assert space.promise_now("a", size=70 * MIB, written=File(10 * MIB).written, room=room)
    assert not space.promise_now("b", size=50 * MIB, written=File().written, room=room)
    assert space.promise_now("c", size=40 * MIB, written=File().written, room=room)
    assert space.promised == 100 * MIB


async def test_a_quota_counts_what_is_there_and_what_was_promised(disk: Disk, layout: Layout) -> None:
    space = make(layout, quota=1_000)
    (layout.models / "m.gguf").write_bytes(b"x" * 400)
    (layout.models / "n.gguf.part").write_bytes(b"x" * 100)
    (layout.models / "link").symlink_to("m.gguf")
    await space.promise("a", size=300, written=File().written)
    with pytest.raises(QuotaExceeded, match="Delete a model or raise quota"):
        await space.promise("b", size=201, written=File().written)
    await space.promise("b", size=200, written=File().written)
    (layout.models / "more").write_bytes(b"x" * 900)
    assert await space.look_again("a") is None, "what was promised is not taken back for a quota"


async def test_a_file_that_goes_while_the_models_are_counted_takes_no_room(
    disk: Disk, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layout.models / "m.gguf").write_bytes(b"x" * 400)

    class Going:
        def is_file(self, *, follow_symlinks: bool) -> bool:
            return True

        def stat(self, *, follow_symlinks: bool) -> None:
            raise FileNotFoundError

    class Listing(list[Going]):
        def __enter__(self) -> "Listing":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("os.scandir", lambda _: Listing([Going()]))
    assert (await make(layout).measure()).used == 0


async def test_the_length_of_a_file_of_unknown_size_is_counted(disk: Disk, layout: Layout) -> None:
    space = make(layout, max_file_size=10)
    await space.promise("a", size=None, written=File().written)
    space.admit(10)
    with pytest.raises(SizeLimit):
        space.admit(11)
    with pytest.raises(SizeLimit):
        await space.promise("b", size=11, written=File().written)


async def test_a_disk_that_was_full_without_being_asked_is_explained_with_figures(disk: Disk, layout: Layout) -> None:
    space, error = make(layout), DiskFull("cannot write the part: No space left on device")
    error.__cause__ = OSError(28, "No space left on device")
    said = await space.explain(error, size=100, held=30)
    assert said == f"{error}. 70 bytes more are needed, and {disk.free} are free."
    judged = DiskFull("70 bytes more are needed")
    assert await space.explain(judged, size=100, held=30) == str(judged)


async def test_where_nothing_can_be_measured_the_error_is_said_as_it_was(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fs, "free_bytes", refuse)
    space, error = make(layout), DiskFull("full")
    error.__cause__ = OSError(28, "No space left on device")
    assert await space.explain(error, size=100, held=30) == "full"
    with pytest.raises(StorageError, match="cannot measure the disk"):
        await space.promise("a", size=1, written=File().written)


async def test_a_second_name_takes_no_room(layout: Layout) -> None:
    (layout.models / "a").write_bytes(bytes(1_000))
    (layout.models / "b").hardlink_to(layout.models / "a")
    assert (await make(layout).measure()).used == 1_000

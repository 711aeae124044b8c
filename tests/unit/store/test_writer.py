"""Buffers in, bytes on disk, and a digest of exactly these bytes, whatever the disk does."""

import asyncio
import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arwd.errors import StorageError
from arwd.store import writer as module
from arwd.store.writer import POOL, SLAB, PartWriter

PATIENCE = 5.0


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """An open part; the writer closes it."""
    return os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "part"


async def written(chunks: Iterable[bytes], held: bytes = b"") -> tuple[bytes, str]:
    """What is on disk and its digest, after these chunks were put behind `held`."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(held)
        file.flush()
        writer = PartWriter(os.dup(file.fileno()), len(held))
        for chunk in chunks:
            if writer.full:
                await writer.room()
            writer.put(chunk)
        digest = await writer.digest()
        await writer.close()
        return Path(file.name).read_bytes(), digest


CHUNKS = st.lists(
    st.binary(max_size=40) | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=3), st.integers(0, SLAB // 2)),
    max_size=12,
)


@settings(max_examples=60)
@given(CHUNKS, st.binary(max_size=40) | st.just(b"held" * 100_000))
def test_the_digest_is_that_of_the_bytes_however_they_came_in_pieces(chunks: list[bytes], held: bytes) -> None:
    on_disk, digest = asyncio.run(written(chunks, held))
    assert on_disk == held + b"".join(chunks)
    assert digest == hashlib.sha256(on_disk).hexdigest()


@pytest.mark.parametrize("size", [1, 50, 255])
async def test_a_slab_of_very_small_chunks_is_written_like_any_other(size: int) -> None:
    data = os.urandom(SLAB + 1)
    on_disk, digest = await written(data[at : at + size] for at in range(0, len(data), size))
    assert on_disk == data
    assert digest == hashlib.sha256(data).hexdigest()


async def test_an_empty_part_has_the_digest_of_nothing(descriptor: int) -> None:
    writer = PartWriter(descriptor, 0)
    assert await writer.digest() == hashlib.sha256().hexdigest()
    await writer.close()


async def test_only_full_slabs_are_written_before_it_must_be(descriptor: int, part: Path) -> None:
    writer = PartWriter(descriptor, 0)
    writer.put(b"x" * (SLAB - 1))
    assert (writer.accepted, writer.written) == (SLAB - 1, 0)
    await writer.settle()
    assert (writer.accepted, writer.written, part.stat().st_size) == (SLAB - 1,) * 3
    await writer.close()


async def test_bytes_go_behind_what_is_held(descriptor: int, part: Path) -> None:
    part.write_bytes(b"held and stale")
    writer = PartWriter(descriptor, 4)
    writer.put(b"!")
    await writer.settle()
    assert part.read_bytes()[:5] == b"held!"
    assert (writer.accepted, writer.written) == (5, 5)
    await writer.close()


async def test_closing_writes_what_was_taken_and_closes_once(descriptor: int, part: Path) -> None:
    writer = PartWriter(descriptor, 0)
    writer.put(b"last words")
    await writer.close()
    await writer.close()
    assert part.read_bytes() == b"last words"
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(descriptor)


async def test_a_write_that_comes_short_is_gone_on_with(
    descriptor: int, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_pwrite = os.pwrite

    def short_pwritev(descriptor: int, chunks: list[bytes], offset: int) -> int:
        return real_pwrite(descriptor, b"".join(chunks)[:5], offset)

    def short_pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        return real_pwrite(descriptor, data[: max(len(data) // 2, 1)], offset)

    monkeypatch.setattr(os, "pwritev", short_pwritev)
    monkeypatch.setattr(os, "pwrite", short_pwrite)
    writer = PartWriter(descriptor, 0)
    for chunk in (b"abc", b"defg", b"h" * 1_000):
        writer.put(chunk)
    digest = await writer.digest()
    await writer.close()
    assert part.read_bytes() == b"abcdefg" + b"h" * 1_000
    assert digest == hashlib.sha256(part.read_bytes()).hexdigest()


class Disk:
    """A disk that takes `good` writes and refuses the next ones; `go_on` holds it up until set."""

    def __init__(self, good: int) -> None:
        self.good = good
        self.go_on = threading.Event()
        self.real = os.pwritev

    def pwritev(self, descriptor: int, chunks: list[bytes], offset: int) -> int:
        self.go_on.wait(PATIENCE)
        if self.good <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.good -= 1
        return self.real(descriptor, chunks, offset)


async def test_a_write_that_fails_is_told_to_everyone_who_asks_and_nothing_more_is_written(
    descriptor: int, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(good=1)
    disk.go_on.set()
    monkeypatch.setattr(os, "pwritev", disk.pwritev)
    writer = PartWriter(descriptor, 0)
    for _ in range(3):
        writer.put(b"x" * SLAB)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        await writer.settle()
    assert isinstance(caught.value.__cause__, OSError)
    disk.good = 100
    writer.put(b"x" * SLAB)
    with pytest.raises(StorageError):
        await writer.room()
    with pytest.raises(StorageError):
        await writer.digest()
    await writer.close()
    assert (writer.written, part.stat().st_size) == (SLAB, SLAB)


async def test_whoever_waits_for_room_hears_of_the_failure(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(good=0)
    monkeypatch.setattr(os, "pwritev", disk.pwritev)
    writer = PartWriter(descriptor, 0)
    for _ in range(POOL):
        writer.put(b"x" * SLAB)
    assert writer.full
    waiting = asyncio.ensure_future(writer.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    disk.go_on.set()
    with pytest.raises(StorageError):
        await asyncio.wait_for(waiting, PATIENCE)
    await writer.close()


async def test_a_disk_that_is_behind_asks_for_patience_and_then_has_room(
    descriptor: int, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(good=1_000)
    monkeypatch.setattr(os, "pwritev", disk.pwritev)
    writer = PartWriter(descriptor, 0)
    for _ in range(POOL - 1):
        writer.put(b"x" * SLAB)
    assert not writer.full
    writer.put(b"x" * SLAB)
    assert writer.full
    disk.go_on.set()
    await asyncio.wait_for(writer.room(), PATIENCE)
    assert not writer.full
    await writer.close()
    assert part.stat().st_size == POOL * SLAB


async def test_settling_waits_for_what_was_taken_and_not_for_what_comes_meanwhile(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(good=1_000)
    monkeypatch.setattr(os, "pwritev", disk.pwritev)
    writer = PartWriter(descriptor, 0)
    writer.put(b"before")
    settling = asyncio.ensure_future(writer.settle())
    await asyncio.sleep(0)
    writer.put(b"meanwhile")
    disk.go_on.set()
    await asyncio.wait_for(settling, PATIENCE)
    assert (writer.written, writer.accepted) == (6, 15)
    await writer.close()


async def test_a_digest_thread_that_cannot_read_back_is_a_storage_error(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", refuse)
    writer = PartWriter(descriptor, 10)
    with pytest.raises(StorageError, match="Input/output error"):
        await writer.digest()
    await writer.close()


async def test_a_part_that_is_shorter_than_it_should_be_is_not_hashed_as_if_whole(descriptor: int) -> None:
    writer = PartWriter(descriptor, 10)
    with pytest.raises(StorageError):
        await writer.digest()
    await writer.close()


async def test_a_file_is_closed_only_when_nobody_reads_or_writes_it_any_more(
    descriptor: int, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part.write_bytes(b"held")
    go_on, real = threading.Event(), os.pread

    def slow(*arguments: int) -> bytes:
        go_on.wait(PATIENCE)
        return real(*arguments)

    monkeypatch.setattr(os, "pread", slow)
    writer = PartWriter(descriptor, 4)
    threads = list(writer._threads)
    asking = asyncio.ensure_future(writer.digest())
    for _ in range(5):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    closing = asyncio.ensure_future(writer.close())
    for _ in range(5):
        await asyncio.sleep(0)
    was_open = Path(f"/proc/self/fd/{descriptor}").exists()
    go_on.set()
    await closing
    for thread in threads:
        thread.join(PATIENCE)
    assert was_open, "closed under the digest thread's feet"


async def test_hashing_that_falls_behind_catches_up_from_the_file(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HASHING", 0)
    data = os.urandom(3 * SLAB + 17)
    writer = PartWriter(descriptor, 0)
    for at in range(0, len(data), 10_000):
        writer.put(data[at : at + 10_000])
    assert await writer.digest() == hashlib.sha256(data).hexdigest()
    await writer.close()


async def test_a_cancel_of_the_digest_does_not_wait_for_the_gigabytes_before_it(descriptor: int) -> None:
    size = 4 * 1024**3
    os.ftruncate(descriptor, size)
    writer = PartWriter(descriptor, size)
    waiting = asyncio.create_task(writer.digest())
    while not writer._hashed:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await writer.close()
    assert writer._hashed < size
    assert writer.prefix is None  # nor is anything vouched for that was not hashed


async def test_no_more_is_taken_than_was_allowed_until_somebody_has_looked(descriptor: int, part: Path) -> None:
    writer = PartWriter(descriptor, 0)
    writer.allow(1000)
    writer.put(b"a" * 999)
    assert not writer.full
    reached = asyncio.create_task(writer.reached(1000))
    writer.put(b"a")
    assert writer.full
    room = asyncio.create_task(writer.room())
    async with asyncio.timeout(PATIENCE):
        await reached  # far less than a slab, and yet it is heard of
        await writer.settle()
        assert part.stat().st_size == 1000
        assert not room.done()
        writer.allow(2000)
        await room
        writer.allow(None)
        assert not writer.full
    await writer.close()


async def test_who_waits_to_be_allowed_hears_that_there_is_no_room(descriptor: int) -> None:
    writer = PartWriter(descriptor, 0)
    writer.allow(1)
    writer.put(b"ab")
    room = asyncio.create_task(writer.room())
    await writer.settle()
    writer.fail(StorageError("no room"))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StorageError, match="no room"):
            await room
    await writer.close()

"""A part is trusted as far as its control file vouches for it, and no further."""

import asyncio
import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from arwd import fs
from arwd.errors import NotSynced, PartChanged, StorageError
from arwd.store import checkpoint, control
from arwd.store.control import Checked, ControlFile, Prefix
from arwd.store.layout import Layout, Options
from arwd.store.names import Claim, Names
from arwd.store.parts import Part
from arwd.store.space import Space
from arwd.store.writer import SLAB
from tests.unit.samples import DIGEST, OTHER_DIGEST, URL, job


@pytest.fixture
def names(layout: Layout) -> Names:
    return Names(layout.models)


@pytest.fixture(autouse=True)
def boot(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The boot we are in: a test may begin another."""
    current = ["boot-1"]
    monkeypatch.setattr(control, "boot_id", lambda: current[0])
    return current


def make(layout: Layout, names: Names, **more: Any) -> Part:
    own_name = more.pop("own_name", None)
    return Part(layout, Claim(names, job(**more), own_name), Space(layout, Options(reserve=0)), job(**more))


async def begin(part: Part, start: int = 0, **more: Any) -> None:
    answer: dict[str, Any] = {"size": 10, "validator": '"v1"', "declared": None, "length_known": True}
    await part.begin(start=start, **(answer | {"suggested": None} | more))


async def leave(layout: Layout, names: Names, data: bytes = b"01234", **more: Any) -> None:
    """What a transfer that was interrupted leaves."""
    part = make(layout, names, **more)
    await begin(part)
    part.put(data)
    await part.close()
    await part.sync()
    part.release()


def said(layout: Layout, name: str = "m.gguf") -> ControlFile:
    """What the control file says, without its seal."""
    known = control.read(layout.control_file(name))
    assert known is not None
    return replace(known, seal="")


async def test_the_control_file_is_there_before_the_first_byte(layout: Layout, names: Names) -> None:
    part = make(layout, names, sha256=DIGEST)
    await begin(part)
    assert said(layout) == ControlFile(
        id="m",
        job_id="job_0123456789",
        url=URL,
        boot_id="boot-1",
        size=10,
        validator='"v1"',
        sha256=DIGEST,
        synced=0,
    )
    assert layout.part("m.gguf").stat().st_size == 0
    await part.close()


async def test_the_name_is_settled_with_the_first_answer_and_reserved(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    assert part.name is None
    await begin(part, suggested="told.gguf")
    assert part.name == "told.gguf"
    assert names.settle("told.gguf", "other") != "told.gguf"
    await part.close()
    await begin(part, suggested="another.gguf")
    assert part.name == "told.gguf"
    await part.close()


async def test_bytes_that_were_put_are_held_and_are_on_disk_when_it_is_closed(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    assert part.held == 4
    await part.close()
    assert part.held == 4
    assert layout.part("m.gguf").read_bytes() == b"0123"


async def test_a_part_is_taken_up_where_it_was_left(layout: Layout, names: Names) -> None:
    await leave(layout, names)
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    assert (part.held, part.size, part.validator) == (5, 10, '"v1"')
    await begin(part, start=5)
    part.put(b"56789")
    assert await part.digest() == hashlib.sha256(b"0123456789").hexdigest()
    await part.close()
    assert layout.part("m.gguf").read_bytes() == b"0123456789"


async def test_after_another_boot_only_what_was_synced_is_trusted(
    layout: Layout, names: Names, boot: list[str]
) -> None:
    await leave(layout, names)
    with layout.part("m.gguf").open("ab") as file:
        file.write(b"\0\0\0")
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    assert part.held == 8
    boot[0] = "boot-2"
    await part.take_up()
    assert part.held == 5


async def test_where_the_boot_cannot_be_told_every_start_counts_as_another(
    layout: Layout, names: Names, boot: list[str]
) -> None:
    boot[0] = ""
    await leave(layout, names)
    with layout.part("m.gguf").open("ab") as file:
        file.write(b"\0")
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    assert part.held == 5


async def test_what_is_beyond_the_start_is_dropped_before_new_bytes_come(layout: Layout, names: Names) -> None:
    await leave(layout, names)
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    await begin(part, start=2)
    assert layout.part("m.gguf").read_bytes() == b"01"
    assert said(layout).synced == 2
    await part.close()


async def test_a_validator_of_another_address_says_nothing(layout: Layout, names: Names) -> None:
    await leave(layout, names)
    part = make(layout, names, name="m.gguf", url="https://elsewhere.example/m.gguf")
    await part.take_up()
    assert (part.held, part.validator) == (5, None)


@pytest.mark.parametrize(
    ("damage", "lost"), [("no control file", 0), ("no part", 5), ("garbage", 5), ("not ours", 0), ("too long", 11)]
)
async def test_what_nobody_vouches_for_is_not_taken_up(layout: Layout, names: Names, damage: str, lost: int) -> None:
    await leave(layout, names)
    path = layout.control_file("m.gguf")
    match damage:
        case "no control file":
            path.unlink()
        case "no part":
            layout.part("m.gguf").unlink()
        case "garbage":
            path.write_bytes(b'{"id":')
        case "not ours":
            control.write(path, replace(said(layout), id="other"))
        case "too long":
            layout.part("m.gguf").write_bytes(b"x" * 11)
    part = make(layout, names, name="m.gguf")
    assert await part.take_up() == lost
    assert part.held == 0


async def test_syncing_lets_the_control_file_say_what_is_durable(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    await part.close()
    assert said(layout).synced == 0
    await part.sync()
    assert said(layout).synced == 4


async def test_clearing_drops_the_bytes_and_keeps_the_name(layout: Layout, names: Names) -> None:
    await leave(layout, names)
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    await part.clear()
    assert (part.held, part.validator, part.size) == (0, None, None)
    assert list(layout.models.iterdir()) == []
    assert names.settle("m.gguf", "other") != "m.gguf"


async def test_discarding_drops_the_name_too(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    await part.discard()
    assert list(layout.models.iterdir()) == []
    assert names.settle("m.gguf", "other") == "m.gguf"


async def test_a_new_version_of_the_same_part_is_written_down(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    await begin(part, start=0, size=20, validator='"v2"')
    assert (said(layout).size, said(layout).validator) == (20, '"v2"')
    assert layout.part("m.gguf").stat().st_size == 0
    await part.close()


@pytest.mark.parametrize(
    ("start", "declared", "known"),
    [
        (0, OTHER_DIGEST, OTHER_DIGEST),
        (0, None, None),
        (4, None, DIGEST),
        (4, DIGEST, DIGEST),
        (4, OTHER_DIGEST, OTHER_DIGEST),
        (2, None, DIGEST),
    ],
)
async def test_a_digest_that_the_server_declared_is_of_the_file_that_its_answer_began(
    layout: Layout, names: Names, start: int, declared: str | None, known: str | None
) -> None:
    part = make(layout, names)
    assert part.declared_sha256 is None
    await begin(part, declared=DIGEST)
    assert (part.declared_sha256, said(layout).declared, said(layout).sha256) == (DIGEST, DIGEST, None)
    part.put(b"0123")
    await begin(part, start=start, declared=declared)
    assert (part.declared_sha256, said(layout).declared) == (known, known)
    await part.close()


async def test_a_digest_that_only_a_later_answer_declares_is_written_down(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    await begin(part, start=4, declared=DIGEST)
    assert (part.declared_sha256, said(layout).declared) == (DIGEST, DIGEST)
    await part.close()


async def test_a_declared_digest_survives_a_start_for_the_same_address_only(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await begin(part, declared=DIGEST)
    part.put(b"0123")
    await part.close()
    await part.sync()
    assert said(layout).declared == DIGEST
    part.release()
    for url, known in ((URL, DIGEST), ("https://elsewhere.example/m.gguf", None)):
        later = make(layout, names, name="m.gguf", url=url)
        await later.take_up()
        assert (later.held, later.declared_sha256) == (4, known)
        later.release()


@pytest.mark.parametrize(("url", "known"), [(URL, DIGEST), ("https://elsewhere.example/m.gguf", None)])
async def test_a_declared_digest_goes_to_another_job_with_its_bytes_if_the_address_is_the_same(
    layout: Layout, names: Names, url: str, known: str | None
) -> None:
    part, other = make(layout, names), make(layout, names, id="other", url=url)
    await begin(part, declared=DIGEST)
    part.put(b"0123")
    await part.close()
    await part.sync()
    assert await other.inherit(part)
    await other.take_up()
    assert (other.held, other.declared_sha256) == (4, known)


async def test_with_the_bytes_goes_what_was_declared_of_them(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await begin(part, declared=DIGEST)
    part.put(b"0123")
    await part.clear()
    assert part.declared_sha256 is None
    await begin(part)
    assert said(layout).declared is None
    await part.close()


async def test_going_on_behind_the_same_bytes_writes_nothing_anew(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    before = layout.control_file("m.gguf").stat().st_ino
    await begin(part, start=4)
    part.put(b"456789")
    assert layout.control_file("m.gguf").stat().st_ino == before
    assert await part.digest() == hashlib.sha256(b"0123456789").hexdigest()
    await part.close()


async def test_a_whole_part_of_an_earlier_life_can_be_hashed(layout: Layout, names: Names) -> None:
    await leave(layout, names, data=b"0123456789")
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    assert await part.digest() == hashlib.sha256(b"0123456789").hexdigest()
    await part.close()


async def test_a_link_in_place_of_the_part_is_not_followed(layout: Layout, names: Names, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    await leave(layout, names)
    layout.part("m.gguf").unlink()
    layout.part("m.gguf").symlink_to(victim)
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    with pytest.raises(StorageError, match=r"cannot prepare m\.gguf\.part"):
        await begin(part)
    assert victim.read_bytes() == b"untouched"


async def test_a_control_file_never_holds_the_query_of_a_url(layout: Layout, names: Names) -> None:
    await leave(layout, names)
    assert said(layout).url == URL
    assert "?" not in layout.control_file("m.gguf").read_text()


async def test_without_a_transfer_closing_and_settling_do_nothing(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await part.settle()
    await part.close()
    await part.sync()
    assert (part.held, part.full, list(layout.models.iterdir())) == (0, False, [])


# What vouches for the bytes


async def test_a_seal_that_does_not_fit_makes_a_control_file_worthless(layout: Layout, names: Names) -> None:
    await leave(layout, names)
    path = layout.control_file("m.gguf")
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert control.read(path) is None, place
        path.write_bytes(whole[:place])
        assert control.read(path) is None, place


async def test_a_byte_that_changed_while_nobody_looked_is_found_out(layout: Layout, names: Names) -> None:
    await leave(layout, names, data=b"01234")
    assert said(layout).prefix == Prefix(bytes=5, sha256=hashlib.sha256(b"01234").hexdigest())
    layout.part("m.gguf").write_bytes(b"01x34")
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    await begin(part, start=5)
    part.put(b"56789")
    with pytest.raises(PartChanged):
        await part.digest()
    await part.clear()
    assert (part.held, list(layout.models.iterdir())) == (0, [])


async def test_a_part_that_was_cut_is_still_the_beginning_of_the_file(layout: Layout, names: Names) -> None:
    await leave(layout, names)
    layout.part("m.gguf").write_bytes(b"012")
    part = make(layout, names, name="m.gguf")
    assert await part.take_up() == 0
    await begin(part, start=3)
    part.put(b"3456789")
    assert await part.digest() == hashlib.sha256(b"0123456789").hexdigest()
    await part.close()


async def test_what_was_vouched_for_is_recognised_as_the_part_and_under_its_final_name(
    layout: Layout, names: Names, boot: list[str]
) -> None:
    await leave(layout, names, data=b"0123456789")
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    digest = await part.digest()
    await part.close()
    await part.vouch(digest)
    status = layout.part("m.gguf").stat()
    checked = Checked(sha256=digest, bytes=10, inode=status.st_ino, mtime_ns=status.st_mtime_ns)
    assert (said(layout).checked, said(layout).synced) == (checked, 10)
    boot[0] = "boot-2"
    for _ in range(2):
        later = make(layout, names, name="m.gguf")
        assert await later.take_up() == 0
        assert (later.checked, later.held) == (checked, 10)
        if layout.part("m.gguf").exists():
            layout.part("m.gguf").rename(layout.final("m.gguf"))
    layout.final("m.gguf").write_bytes(b"0123456780")
    later = make(layout, names, name="m.gguf")
    await later.take_up()
    assert (later.checked, later.held) == (None, 0)


async def test_a_pause_is_written_down_and_ends_with_the_next_bytes(layout: Layout, names: Names) -> None:
    await leave(layout, names)
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    await part.sync(is_paused=True)
    assert said(layout).is_paused
    await part.take_up()
    await begin(part, start=5)
    assert not said(layout).is_paused
    await part.close()


# Bytes that another program left


async def test_bare_bytes_are_ours_only_once_they_are_proved(layout: Layout, names: Names) -> None:
    layout.part("m.gguf").write_bytes(b"01234")
    part = make(layout, names)
    assert await part.take_up() == 0
    assert (part.name, part.unproven, part.held) == ("m.gguf", 5, 0)
    assert await part.read(1, 3) == b"123"
    assert not layout.control_file("m.gguf").exists()
    await part.own(size=10, validator='"v1"')
    assert (part.unproven, part.held, part.is_pieced) == (0, 5, True)
    assert (said(layout).size, said(layout).validator, said(layout).synced) == (10, '"v1"', 0)


@pytest.mark.parametrize("ending", ["disown", "discard"])
async def test_bare_bytes_that_are_not_ours_are_left_alone(layout: Layout, names: Names, ending: str) -> None:
    layout.part("m.gguf").write_bytes(b"01234")
    part = make(layout, names)
    await part.take_up()
    if ending == "disown":
        part.disown()
        await begin(part)
        assert part.name != "m.gguf"
        await part.close()
    else:
        await part.discard()
    assert layout.part("m.gguf").read_bytes() == b"01234"


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nothing"])
async def test_what_is_no_plain_file_is_left_alone(layout: Layout, names: Names, kind: str) -> None:
    path = layout.part("m.gguf")
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("nowhere")
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    await begin(part)
    part.put(b"0123")
    await part.close()
    assert part.name != "m.gguf"
    assert not path.is_file()


async def test_a_part_with_a_second_name_is_not_written_to(layout: Layout, names: Names, tmp_path: Path) -> None:
    await leave(layout, names)
    os.link(layout.part("m.gguf"), tmp_path / "victim")
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    with pytest.raises(StorageError, match="not a plain file of ours"):
        await begin(part, start=5)
    assert (tmp_path / "victim").read_bytes() == b"01234"


# Durability


class Syncs:
    """Counts what is synced; refuses while told so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refusals = 0
        self.count = 0
        self.happened = asyncio.Event()
        self._sync = fs.fsync_file
        self._loop = asyncio.get_running_loop()
        monkeypatch.setattr(fs, "fsync_file", self)

    def __call__(self, path: Path) -> os.stat_result:
        self.count += 1
        self._loop.call_soon_threadsafe(self.happened.set)
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EIO, "Input/output error")
        return self._sync(path)


async def synced(layout: Layout, count: int) -> None:
    async with asyncio.timeout(5.0):
        while said(layout).synced < count:
            await asyncio.sleep(0.005)


async def test_bytes_are_made_durable_by_their_number(
    layout: Layout, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_BYTES", SLAB)
    syncs = Syncs(monkeypatch)
    part = make(layout, names)
    await begin(part, size=3 * SLAB)
    part.put(b"x" * (SLAB - 1))
    await asyncio.sleep(0.05)
    assert (syncs.count, said(layout).synced) == (0, 0)
    part.put(b"xx")
    await synced(layout, SLAB + 1)
    known = said(layout).prefix
    await part.close()
    assert known is None or known.sha256 == hashlib.sha256(b"x" * known.bytes).hexdigest()


async def test_bytes_are_made_durable_after_a_while_however_few_they_are(
    layout: Layout, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.02)
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    await synced(layout, 4)
    part.put(b"4")
    await synced(layout, 5)
    await part.close()


async def test_a_sync_that_fails_is_told_to_the_transfer_and_costs_what_came_after_the_last_good_one(
    layout: Layout, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.02)
    syncs = Syncs(monkeypatch)
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    await synced(layout, 4)
    syncs.refusals = 1
    part.put(b"456")
    async with asyncio.timeout(5.0):
        while not part.full:
            await asyncio.sleep(0.005)
    with pytest.raises(NotSynced):
        await part.room()
    assert await part.fall_back() == 3
    assert (part.held, layout.part("m.gguf").read_bytes()) == (4, b"0123")
    await begin(part, start=4)
    part.put(b"456789")
    assert await part.digest() == hashlib.sha256(b"0123456789").hexdigest()
    await part.close()


async def test_after_a_failed_sync_no_later_one_makes_the_same_bytes_good(
    layout: Layout, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    await part.close()
    await part.sync()
    await begin(part, start=4)
    part.put(b"456")
    await part.close()
    syncs.refusals = 1
    with pytest.raises(NotSynced):
        await part.sync()
    await part.sync()
    assert (part.held, said(layout).synced, layout.part("m.gguf").read_bytes()) == (4, 4, b"0123")

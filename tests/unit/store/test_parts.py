"""A part is trusted as far as its control file vouches for it, and no further."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from arwd.errors import StorageError
from arwd.store import parts
from arwd.store.layout import Layout
from arwd.store.names import Names
from arwd.store.parts import ControlFile, Part
from tests.unit.samples import DIGEST, URL


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    made = Layout(tmp_path / "state")
    made.prepare()
    yield made
    made.release()


@pytest.fixture
def names(layout: Layout) -> Names:
    return Names(layout.models)


@pytest.fixture(autouse=True)
def boot(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The boot we are in: a test may begin another."""
    current = ["boot-1"]
    monkeypatch.setattr(parts, "_boot_id", lambda: current[0])
    return current


def make(layout: Layout, names: Names, **more: Any) -> Part:
    return Part(layout, names, **({"model_id": "m", "url": URL} | more))


async def begin(part: Part, start: int = 0, **more: Any) -> None:
    known: dict[str, Any] = {"size": 10, "validator": '"v1"', "length_known": True, "suggested": None}
    await part.begin(start=start, **(known | more))


async def leave(layout: Layout, names: Names, data: bytes = b"01234", **more: Any) -> None:
    """What a transfer that was interrupted leaves."""
    part = make(layout, names, **more)
    await begin(part)
    part.put(data)
    await part.close()
    await part.sync()
    part.release()


def control(layout: Layout, name: str = "m.gguf") -> ControlFile:
    return msgspec.json.decode(layout.control_file(name).read_bytes(), type=ControlFile)


async def test_the_control_file_is_there_before_the_first_byte(layout: Layout, names: Names) -> None:
    part = make(layout, names, sha256=DIGEST)
    await begin(part)
    assert control(layout) == ControlFile(
        id="m", url=URL, boot_id="boot-1", size=10, validator='"v1"', sha256=DIGEST, synced=0
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
    assert control(layout).synced == 2
    await part.close()


async def test_a_validator_of_another_address_says_nothing(layout: Layout, names: Names) -> None:
    await leave(layout, names)
    part = make(layout, names, name="m.gguf", url="https://elsewhere.example/m.gguf")
    await part.take_up()
    assert (part.held, part.validator) == (5, None)


@pytest.mark.parametrize("damage", ["no control file", "no part", "garbage", "not ours", "too long"])
async def test_what_nobody_vouches_for_is_not_taken_up(layout: Layout, names: Names, damage: str) -> None:
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
            path.write_bytes(msgspec.json.encode(msgspec.structs.replace(control(layout), id="other")))
        case "too long":
            layout.part("m.gguf").write_bytes(b"x" * 11)
    part = make(layout, names, name="m.gguf")
    await part.take_up()
    assert part.held == 0


async def test_syncing_lets_the_control_file_say_what_is_durable(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await begin(part)
    part.put(b"0123")
    await part.close()
    assert control(layout).synced == 0
    await part.sync()
    assert control(layout).synced == 4


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
    assert (control(layout).size, control(layout).validator) == (20, '"v2"')
    assert layout.part("m.gguf").stat().st_size == 0
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
    assert control(layout).url == URL
    assert "?" not in layout.control_file("m.gguf").read_text()


async def test_without_a_transfer_closing_and_settling_do_nothing(layout: Layout, names: Names) -> None:
    part = make(layout, names)
    await part.settle()
    await part.close()
    await part.sync()
    assert (part.held, part.full, list(layout.models.iterdir())) == (0, False, [])

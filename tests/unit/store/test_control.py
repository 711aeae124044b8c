"""A control file is as it was written, or it vouches for nothing."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from arwd.store import control
from arwd.store.control import Checked, ControlFile, Prefix

KNOWN = ControlFile(
    id="org/model-ü",
    job_id="job_0123456789",
    url="https://h.example/m.gguf",
    boot_id="3e1c1a52-8c1b-4a0a-9d5e-0d8d5b1f2a77",
    filename="m.gguf",
    is_paused=True,
    synced=1_048_576,
    prefix=Prefix(bytes=1_048_576, sha256="a" * 64),
    size=5_000_000,
    validator='"v1"',
    declared="c" * 64,
    sha256="b" * 64,
    checked=Checked(sha256="b" * 64, bytes=5_000_000, inode=77, mtime_ns=1_800_000_000_123_456_789),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "m.gguf.part.json"
    control.write(written, KNOWN)
    return written


def assert_it_lies_never(path: Path, whole: bytes, harmed: list[bytes]) -> None:
    path.write_bytes(whole)
    known = control.read(path)
    assert known is not None
    for data in harmed:
        path.write_bytes(data)
        # What a missing field means by itself may be missing.
        assert (found := control.read(path)) is None or replace(found, seal="") == replace(known, seal=""), data


def test_it_says_what_was_written(path: Path) -> None:
    found = control.read(path)
    assert found is not None
    assert replace(found, seal="") == KNOWN


def test_with_any_bit_changed_it_vouches_for_nothing(path: Path) -> None:
    whole = path.read_bytes()
    places = [(place, mask) for place in range(len(whole)) for mask in (1, 32, 128)]
    harmed = [whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :] for place, mask in places]
    assert_it_lies_never(path, whole, harmed)


def test_cut_anywhere_it_vouches_for_nothing(path: Path) -> None:
    whole = path.read_bytes()
    assert_it_lies_never(path, whole, [whole[:length] for length in range(len(whole))])

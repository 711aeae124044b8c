"""Names that every platform takes, and writes that are whole or absent."""

import errno
import os
import stat
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arwd import fs
from arwd.errors import DiskFull, QuotaExceeded, ReadOnly, StorageError
from arwd.fs import renames

RESERVED = {"con", "prn", "aux", "nul", "clock$", "conin$", "conout$"} | {
    f"{device}{number}" for device in ("com", "lpt") for number in "0123456789¹²³"
}
AWKWARD = st.text(
    st.sampled_from('ab.-_ /\\:*?"<>|\0\x1f\x7f\x85\u200b\u202e\ufeff\ud800éé한글😀CONULprtjs'), max_size=140
)
ENDINGS = st.sampled_from(["", ".part", ".PART", ".part.json", ".part .json", ".gguf", ". part", " .txt", ".", " "])
NAMES = st.builds(
    "{}{}{}".format,
    st.text(max_size=60) | AWKWARD | st.sampled_from(["CON", "nul", "LPT¹", "a" * 115, "é" * 60]),
    ENDINGS,
    ENDINGS,
)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("m.gguf", "m.gguf"),
        ("Modell größer.gguf", "Modell größer.gguf"),
        ("a/b\\c.gguf", "a_b_c.gguf"),
        ("../../etc/passwd", "_._etc_passwd"),
        ("..", "model"),
        (".", "model"),
        ("", "model"),
        ("   ", "model"),
        ("///", "model"),
        (".hidden", "hidden"),
        ("trailing. . ", "trailing"),
        ("CON", "_CON"),
        ("nul.gguf", "_nul.gguf"),
        ("LPT¹.txt", "_LPT¹.txt"),
        ("console.txt", "console.txt"),
        ("a\0b\nc.gguf", "a_b_c.gguf"),
        ("a\u202egpj.exe", "a_gpj.exe"),
        ("m.part", "m.part_"),
        ("m.PART", "m.PART_"),
        ("m.part.json", "m.part.json_"),
        ("m.json", "m.json"),
        ("depart", "depart"),
        ("e\u0301.gguf", "\u00e9.gguf"),
        ("x" * 200 + ".gguf", "x" * 115 + ".gguf"),
        ("é" * 100 + ".gguf", "é" * 57 + ".gguf"),
        ("x" * 200, "x" * 120),
    ],
)
def test_a_name_is_made_safe_and_stays_as_close_as_can_be(raw: str, name: str) -> None:
    assert fs.safe_name(raw) == name


@given(NAMES)
@example("NUL .txt")
@example("a.part .json")
@example("a" * 115 + ".part" + "x" * 30)
@example("a" * 110 + ".part.json" + "x" * 30)
def test_a_safe_name_is_safe_on_every_platform(raw: str) -> None:
    name = fs.safe_name(raw)
    assert name
    assert name not in (".", "..")
    assert len(name.encode()) <= fs.MAX_NAME_BYTES
    assert unicodedata.is_normalized("NFC", name)
    assert not set(name) & set('/\\:*?"<>|')
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
    assert not name.startswith((".", " "))
    assert not name.endswith((".", " "))
    assert name.partition(".")[0].rstrip(" ").casefold() not in RESERVED
    assert not name.casefold().endswith((".part", ".part.json"))


@given(NAMES)
@example("NUL .txt")
@example("a.part .json")
@example("a" * 115 + ".part" + "x" * 30)
def test_a_safe_name_is_left_as_it_is(raw: str) -> None:
    name = fs.safe_name(raw)
    assert fs.safe_name(name) == name


@given(st.text("abé.", min_size=1, max_size=200), st.sampled_from(["", "-0a1b2c3d", "-0a1b2c3d-12"]))
def test_a_shortened_name_keeps_its_ending_and_its_suffix(name: str, ending: str) -> None:
    _, suffix = fs.split_suffix(name)
    short = fs.shorten(name, ending)
    assert short.endswith(ending + suffix)
    assert len(short.encode()) <= fs.MAX_NAME_BYTES


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("m.gguf", ("m", ".gguf")),
        ("m.tar.gz", ("m.tar", ".gz")),
        ("m", ("m", "")),
        (".gguf", (".gguf", "")),
        ("m." + "x" * 25, ("m." + "x" * 25, "")),
    ],
)
def test_a_suffix_is_what_follows_the_last_dot_unless_it_is_too_long_to_be_one(
    name: str, parts: tuple[str, str]
) -> None:
    assert fs.split_suffix(name) == parts


def test_a_written_file_is_there_with_its_mode_and_no_scratch_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    fs.write_atomic(path, b"first", mode=0o600)
    fs.write_atomic(path, b"second", mode=0o600)
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secret"]


def test_a_write_that_fails_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list"
    fs.write_atomic(path, b"old")

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        fs.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_file_is_synced_before_it_takes_the_name_and_its_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        steps.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    fs.write_atomic(tmp_path / "list", b"new")
    assert steps == ["file", "rename", "directory"]


@pytest.mark.parametrize("kind", ["symbolic link", "second name", "pipe"])
def test_what_lies_in_place_of_the_scratch_file_is_not_written_through(tmp_path: Path, kind: str) -> None:
    victim, scratch = tmp_path / "victim", tmp_path / ".list.tmp"
    victim.write_bytes(b"untouched")
    match kind:
        case "symbolic link":
            scratch.symlink_to(victim)
        case "second name":
            os.link(victim, scratch)
        case _:
            os.mkfifo(scratch)
    fs.write_atomic(tmp_path / "list", b"new")
    assert (victim.read_bytes(), (tmp_path / "list").read_bytes()) == (b"untouched", b"new")


def test_a_rename_moves_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    fs.rename_without_replacing(tmp_path / "a", tmp_path / "b")
    assert os.listdir(tmp_path) == ["b"]


def test_a_rename_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        fs.rename_without_replacing(tmp_path / "a", tmp_path / "b")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"a", b"b")


class _OldLibc:
    """A C library on a file system that does not know the flag."""

    def renameat2(self, *arguments: object) -> int:
        return -1


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_where_the_flag_is_unknown_links_are_as_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(renames.ctypes, "CDLL", lambda *_, **__: _OldLibc())
    monkeypatch.setattr(renames.ctypes, "get_errno", lambda: number)
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "taken").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        fs.rename_without_replacing(tmp_path / "a", tmp_path / "taken")
    fs.rename_without_replacing(tmp_path / "a", tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["b", "taken"]
    assert (tmp_path / "taken").read_bytes() == b"b"


def test_a_rename_of_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fs.rename_without_replacing(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.EROFS, ReadOnly, "read_only"),
        (errno.ENOSPC, DiskFull, "disk_full"),
        (errno.EDQUOT, QuotaExceeded, "quota_exceeded"),
        (errno.EIO, StorageError, "io"),
    ],
)
def test_what_the_disk_refuses_becomes_a_storage_error_that_says_what_was_done(
    number: int, kind: type[StorageError], code: str
) -> None:
    with (
        pytest.raises(StorageError, match=r"^cannot put m in place: ") as caught,
        fs.translate_errors("cannot put m in place"),
    ):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert isinstance(caught.value.__cause__, OSError)


def test_other_errors_pass_the_border_as_they_are() -> None:
    with pytest.raises(KeyError), fs.translate_errors("cannot"):
        raise KeyError


def test_the_free_bytes_are_some_of_all(tmp_path: Path) -> None:
    assert 0 <= fs.free_bytes(tmp_path) <= fs.total_bytes(tmp_path)


def test_files_and_directories_can_be_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    (tmp_path / "a").write_bytes(b"a")
    fs.fsync_file(tmp_path / "a")
    fs.fsync_directory(tmp_path)
    assert synced == [(tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino]

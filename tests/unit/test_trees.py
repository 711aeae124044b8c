"""Directories looked through and removed: never through a link, never more than was asked for."""

import errno
import os
from pathlib import Path

import pytest

from arwd import fs
from arwd.fs import renames


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two files of a model, one of somebody else, and a link that leads out."""
    root = tmp_path / "models"
    for name in ("m/a", "m/sub/deep/b", "m/sub/theirs"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("outside")
    (root / "m" / "link").symlink_to(tmp_path / "outside")
    return root


def test_files_are_found_at_any_depth_and_links_are_not_followed(tree: Path) -> None:
    names = {str(path.relative_to(tree)) for path, _ in fs.files_below(tree)}
    assert names == {"m/a", "m/sub/deep/b", "m/sub/theirs", "m/link"}


def test_a_file_that_goes_while_we_look_is_passed_over(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fs.files_below(tree / "m" / "sub" / "deep")
    real = os.scandir

    def scan(path: Path) -> object:
        entries = list(real(path))
        (tree / "m/sub/deep/b").unlink()
        return _Closing(entries)

    monkeypatch.setattr(os, "scandir", scan)
    assert list(found) == []


class _Closing(list[os.DirEntry[str]]):
    def __enter__(self) -> "_Closing":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_only_the_files_that_are_named_are_removed_and_the_folders_that_are_empty_then(tree: Path) -> None:
    fs.remove_files(tree, ["m/a", "m/sub/deep/b", "m/sub/gone"])
    assert {str(path.relative_to(tree)) for path, _ in fs.files_below(tree)} == {"m/sub/theirs", "m/link"}
    assert not (tree / "m/sub/deep").exists()
    fs.remove_files(tree, ["m/sub/theirs", "m/link"])
    assert list(tree.iterdir()) == []


def test_a_tree_is_removed_and_what_its_links_lead_to_stays(tmp_path: Path, tree: Path) -> None:
    fs.remove(tree)
    assert not tree.exists()
    assert (tmp_path / "outside" / "file").read_text() == "outside"


def test_of_a_link_to_a_directory_the_link_is_removed(tmp_path: Path, tree: Path) -> None:
    fs.remove(tree / "m" / "link")
    assert (tmp_path / "outside" / "file").exists()
    fs.remove(tree / "m" / "link")  # nothing is there any more


def test_two_names_change_places(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "file").write_text("file")
    assert fs.exchange(tmp_path / "file", tree)
    assert tree.read_text() == "file"
    assert (tmp_path / "file" / "m" / "a").exists()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_where_names_cannot_change_places_nothing_happens(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, number)
    (tmp_path / "file").write_text("file")
    assert not fs.exchange(tmp_path / "file", tree)
    assert (tmp_path / "file").read_text() == "file"


def test_a_refused_exchange_is_an_error(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fs.exchange(tmp_path / "nothing", tree)


def test_a_directory_is_renamed_where_the_system_knows_no_better_and_replaces_nothing(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, errno.EINVAL)
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileExistsError):
        fs.rename_without_replacing(tree, tmp_path / "taken")
    fs.rename_without_replacing(tree, tmp_path / "free")
    assert (tmp_path / "free" / "m" / "a").read_text() == "m/a"


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The kernel knows the call, the file system does not."""

    class Libc:
        def renameat2(self, *_: object) -> int:
            return -1

    monkeypatch.setattr(renames.ctypes, "CDLL", lambda *_, **__: Libc())
    monkeypatch.setattr(renames.ctypes, "get_errno", lambda: number)

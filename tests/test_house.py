"""The house is in order: small files, nothing left for later, nothing in it that only one machine knows."""

import re
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "arwd").rglob("*.py"))
MOST_LINES = 250
MEDIAN_LINES = 120

# Put together here, so that this file is not found by its own search.
_FOREIGN = re.compile("|".join(("/wo" + "rk/", r"(?<!\w)\.lib" + "rary", "/ro" + "ot/", "/bash" + "_jobs")))
_LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def tracked() -> list[Path]:
    """Every file that is, or is about to be, under version control."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git repository: there is no saying which files belong to it")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert lines(path) <= MOST_LINES


def test_most_files_are_much_shorter() -> None:
    assert statistics.median(map(lines, SOURCES)) <= MEDIAN_LINES


def test_nothing_in_the_code_is_left_for_later() -> None:
    found = [path.name for path in (ROOT / "arwd").rglob("*.*") if path.suffix != ".pyc" and _LATER.search(_text(path))]
    assert found == []


def test_no_file_names_a_place_that_only_one_machine_has() -> None:
    found = [f"{path.relative_to(ROOT)}: {place[0]}" for path in tracked() for place in _FOREIGN.finditer(_text(path))]
    assert found == []


def test_a_foreign_place_would_be_found() -> None:
    assert _FOREIGN.search("see /ro" + "ot/notes")
    assert not _FOREIGN.search("rooms.lib" + "rary")


def test_the_lock_file_names_the_public_index_only() -> None:
    hosts = set(re.findall(r"\bhttps?://[^/\"\s]+", (ROOT / "uv.lock").read_text()))
    assert hosts == {"https://pypi.org", "https://files.pythonhosted.org"}


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")

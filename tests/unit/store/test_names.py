"""A name is settled once: the caller's, else the server's, else the URL's, and nobody else's."""

import hashlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import fs
from arwd.store.names import Names, preferred


def mark(model_id: str) -> str:
    return hashlib.sha256(model_id.encode()).hexdigest()[:8]


@pytest.fixture
def names(tmp_path: Path) -> Names:
    return Names(tmp_path)


@pytest.mark.parametrize(
    ("filename", "suggested", "url", "name"),
    [
        ("asked.gguf", "told.gguf", "https://h/url.gguf", "asked.gguf"),
        (None, "told.gguf", "https://h/url.gguf", "told.gguf"),
        (None, None, "https://h/dir/url.gguf?x=/y#z", "url.gguf"),
        (None, None, "https://h/a%20b%2Bc.gguf", "a b+c.gguf"),
        (None, None, "https://h/m%C3%BC.gguf", "mü.gguf"),
        (None, None, "https://h/%ff.gguf", "\ufffd.gguf"),
        (None, None, "https://h/a%252Fb", "a%2Fb"),
        (None, None, "https://h/a%2F..%2Fb.gguf", "b.gguf"),
        (None, None, "https://h/", "model"),
        (None, None, "https://h", "model"),
        (None, None, "https://h/..", "model"),
        (None, "../../.bashrc", "https://h/x", "bashrc"),
        (None, "C:\\Users\\x\\m.gguf", "https://h/x", "m.gguf"),
        ("dir/m.gguf", None, "https://h/x", "m.gguf"),
        ("", "", "https://h/url.gguf", "url.gguf"),
        (None, None, "https://h/m.part", "m.part_"),
    ],
)
def test_the_preferred_name_is_the_first_that_is_given_made_safe(
    filename: str | None, suggested: str | None, url: str, name: str
) -> None:
    assert preferred(filename=filename, suggested=suggested, url=url) == name


@given(
    st.none() | st.text(max_size=30),
    st.none() | st.text(max_size=30),
    st.text(st.characters(codec="ascii"), max_size=30),
)
def test_every_preferred_name_is_a_single_safe_one(filename: str | None, suggested: str | None, path: str) -> None:
    name = preferred(filename=filename, suggested=suggested, url=f"https://h/{path}")
    assert name
    assert Path(name).name == name


def test_a_free_name_is_given_as_wanted(names: Names) -> None:
    assert names.settle("m.gguf", "a") == "m.gguf"


@pytest.mark.parametrize("entry", ["m.gguf", "M.GGUF", "m.gguf.part", "m.gguf.part.json"])
def test_a_file_a_part_and_a_control_file_take_the_name_case_folded(names: Names, tmp_path: Path, entry: str) -> None:
    (tmp_path / entry).touch()
    assert names.settle("m.gguf", "a") == f"m-{mark('a')}.gguf"


@pytest.mark.parametrize("entry", ["m", "m.ggu", "m.gguf2", "xm.gguf"])
def test_other_files_do_not_take_the_name(names: Names, tmp_path: Path, entry: str) -> None:
    (tmp_path / entry).touch()
    assert names.settle("m.gguf", "a") == "m.gguf"


def test_what_another_job_has_reserved_is_taken(names: Names) -> None:
    names.settle("Straße.gguf", "a")
    assert names.settle("STRASSE.gguf", "b") == f"STRASSE-{mark('b')}.gguf"


def test_what_the_same_id_has_reserved_is_its_own(names: Names) -> None:
    names.settle("m.gguf", "a")
    assert names.settle("m.gguf", "a") == "m.gguf"


def test_where_the_marked_name_is_taken_too_numbers_follow(names: Names, tmp_path: Path) -> None:
    for entry in ("m.gguf", f"m-{mark('a')}.gguf", f"m-{mark('a')}-2.gguf"):
        (tmp_path / entry).touch()
    assert names.settle("m.gguf", "a") == f"m-{mark('a')}-3.gguf"


def test_the_finished_file_of_this_very_id_may_be_replaced(names: Names, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    assert names.settle("M.gguf", "a", own="m.gguf") == "m.gguf"
    assert names.settle("m.gguf", "b") == f"m-{mark('b')}.gguf"


def test_a_finished_file_of_another_name_is_no_reason_to_replace(names: Names, tmp_path: Path) -> None:
    (tmp_path / "new.gguf").touch()
    assert names.settle("new.gguf", "a", own="old.gguf") == f"new-{mark('a')}.gguf"


def test_a_released_name_is_free_again(names: Names) -> None:
    names.settle("m.gguf", "a")
    names.release("M.gguf", "somebody else")
    assert names.settle("m.gguf", "b") != "m.gguf"
    names.release("M.gguf", "a")
    assert names.settle("m.gguf", "b") == "m.gguf"
    names.release("never-reserved", "a")


def test_a_name_of_an_earlier_life_can_be_held(names: Names) -> None:
    assert names.hold("m.gguf", "a")
    assert not names.hold("M.gguf", "b")
    assert names.settle("m.gguf", "b") == f"m-{mark('b')}.gguf"
    assert names.settle("m.gguf", "a") == "m.gguf"


def test_settling_writes_nothing(names: Names, tmp_path: Path) -> None:
    names.settle("m.gguf", "a")
    assert os.listdir(tmp_path) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["m.gguf", "M.gguf", "x" * 120, "ü" * 55 + ".bin"]), st.text(max_size=4)), max_size=12
    )
)
def test_no_two_models_ever_get_names_that_fold_to_the_same(
    tmp_path_factory: object, wishes: list[tuple[str, str]]
) -> None:
    directory = tmp_path_factory.mktemp("models")  # type: ignore[attr-defined]
    names = Names(directory)
    owners: dict[str, str] = {}
    for wanted, model_id in wishes:
        name = names.settle(wanted, model_id)
        assert owners.setdefault(name.casefold(), model_id) == model_id
        assert len(name.encode()) <= fs.MAX_NAME_BYTES
        assert re.search(r"(\.[^.]*)?$", wanted)[0] in name  # type: ignore[index]

"""Names that a source gives: one that could do harm condemns all; what passes can be written below a folder."""

import os
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import errors
from arwd.sources.paths import checked, folded

GOOD = [
    "config.json",
    "tokenizer/vocab.json",
    "a/b/c/model-00001-of-00002.safetensors",
    "Modèle v1 (final).gguf",
    "模型.gguf",
]


@pytest.mark.parametrize(
    "bad",
    [
        "../secret", "a/../../secret", "..", ".", "a/.", "a/..", "/etc/passwd", "//host/share", "", "/", "a//b", "a/",
        "..\\secret", "a\\b", "C:\\x", "C:x", "a:stream", "NUL", "nul.gguf", "a/con.txt", "COM1", "com¹.gguf",
        "aux .bin", "a\0b", "a\nb", "a\x1b[2J", "a\x7f", "a\u202egguf.exe", "a\u200bb", "\ufeffa", "a\ud800b", "a?b",
        "a*b", 'a"b', "a|b", "a<b", ".hidden", ".git/config", "a/.ssh/id", " a", "a ", "a.",
        "a./b", "x.part", "x.PART", "a/x.part.json",
        "x.gguf.part", "a" * 121, "é" * 61, "/".join("a" * 17), "/".join(["b" * 100] * 11),
    ],
)  # fmt: skip
def test_a_name_that_could_do_harm_condemns_the_whole(bad: str) -> None:
    with pytest.raises(errors.UnsafePaths, match="refused as a whole") as caught:
        checked([*GOOD, bad, "other.json"], "The repository org/repo")
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 400


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("a/../b", "leads elsewhere"),
        ("/a", "is absolute or has an empty step"),
        ("a/b" * 500, "is too long or too deep"),
        ("a/CON/b", "has the step “CON”"),
        ("a\x1bb", r"has the step “a\x1bb”"),
    ],
)
def test_the_sentence_says_what_is_wrong_with_which_file(bad: str, fault: str) -> None:
    with pytest.raises(errors.UnsafePaths) as caught:
        checked([*GOOD, bad], "The repository org/repo")
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("model.gguf", "Model.GGUF"), ("a/x", "A/X"), ("straße", "STRASSE"), ("é", "e\u0301"), ("É", "e\u0301"),
        ("x", "x"), ("a", "a/b"), ("A", "a/b"), ("a/b", "a/B/c"), ("ǆ", "Ǆ"), ("Σ", "ς"),
    ],
)  # fmt: skip
def test_two_names_that_some_system_takes_for_one_are_refused(one: str, other: str) -> None:
    for names in ([one, other], [other, one], [*GOOD, other, "z", one]):
        with pytest.raises(errors.UnsafePaths, match="refused as a whole"):
            checked(names, "The repository")


def test_good_names_pass_as_they_are() -> None:
    assert checked(GOOD, "The repository") == tuple(GOOD)


def test_folders_that_several_files_share_are_no_collision() -> None:
    names = ("a/b/x", "a/b/y", "a/c", "ab", "a.b")
    assert checked(names, "The repository") == names


def test_a_name_is_written_in_its_composed_form() -> None:
    assert checked(["mode\u0300le.gguf"], "The repository") == ("modèle.gguf",)


STEPS = st.text(st.characters(codec=None), min_size=0, max_size=8) | st.sampled_from(["..", ".", "a", "A", "é", "con"])
PATHS = st.lists(STEPS, min_size=1, max_size=4).map("/".join)


@given(st.lists(PATHS, max_size=5))
def test_whatever_passes_lies_below_its_folder_and_each_has_a_place_of_its_own(paths: list[str]) -> None:
    try:
        names = checked(paths, "The repository")
    except errors.UnsafePaths:
        return
    assert len({folded(name) for name in names}) == len(paths)
    with TemporaryDirectory() as top:
        root = Path(top) / "models" / "m"
        for index, name in enumerate(names):
            assert os.path.normpath(name) == name
            assert not os.path.isabs(name)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(str(index))
        assert [path.name for path in Path(top).iterdir()] == (["models"] if names else [])
        assert [(root / name).read_text() for name in names] == [str(index) for index in range(len(names))]


@given(st.text(max_size=20))
def test_folding_settles_at_once_and_forgets_case_and_composition(name: str) -> None:
    assert folded(unicodedata.normalize("NFD", name)) == folded(unicodedata.normalize("NFC", name))
    assert folded(name.casefold()) == folded(name)

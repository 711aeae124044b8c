"""The catalog: what is shipped can be read, what a user adds wins, and what is wrong in it is said at the start."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from arwd import errors
from arwd.sources.base import Options
from arwd.sources.catalog import Catalog, Entry, parse
from arwd.sources.hub_links import is_repository

SHIPPED = resources.files("arwd.sources").joinpath("catalog.toml").read_text(encoding="utf-8")


def catalog(path: str = "") -> Catalog:
    session: Any = None  # nobody is asked
    return Catalog(session, Options(catalog=path))


def test_a_dozen_models_are_known_from_the_start() -> None:
    entries = catalog().entries
    assert len(entries) >= 12
    assert entries["openai/gpt-oss-20b"] == Entry(repository="lmstudio-community/gpt-oss-20b-GGUF")
    assert all(name == name.lower() and is_repository(entry.repository) for name, entry in entries.items())


def test_what_a_user_adds_is_known_beside_it_and_wins(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[models."Me/Mine"]\nrepository = "org/repo"\nrevision = "v1"\nquantization = "q8_0"\n'
        '[models."openai/GPT-OSS-20B"]\nrepository = "org/other"'
    )
    entries = catalog(str(path)).entries
    assert entries["me/mine"] == Entry(repository="org/repo", revision="v1", quantization="Q8_0")
    assert entries["openai/gpt-oss-20b"].repository == "org/other"
    assert set(entries) == {*parse(SHIPPED, "it"), "me/mine"}


def test_the_manual_s_example_is_a_catalog() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "settings.md").read_text()
    [example] = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    whole = Entry(repository="lmstudio-community/Qwen3-8B-GGUF", quantization="Q8_0")
    assert parse(example, "it") == {"me/assistant": whole}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[models", "not valid TOML"),
        ('models = "x"', "is wrong"),
        ('[models."a/b"]', "repository"),
        ('[models."a/b"]\nrepository = 1', "is wrong"),
        ('[models."a/b"]\nrepository = "x"\nrepo = "y"', "repo"),
        ('[models."a/b"]\nrepository = "a/b/c"', "the repository of a/b is none"),
        ('[models."a/b"]\nrepository = "../x"', "the repository of a/b is none"),
        ('[models."a/b"]\nrepository = "x/y"\nrevision = ""', "no revision"),
        ('[models."a/b"]\nrepository = "x/y"\nquantization = "Q 4"', "quantization"),
        ('[models."a"]\nrepository = "x/y"', "no identifier"),
        ('[models."a/b@Q4"]\nrepository = "x/y"', "no identifier"),
        ('[models."a/b"]\nrepository = "x/y"\n[models."A/B"]\nrepository = "x/z"', "names a/b twice"),
        ('[model."a/b"]\nrepository = "x/y"', "has a table model"),
    ],
)
def test_what_is_wrong_in_a_catalog_is_said_with_its_name(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(errors.SettingsError) as caught:
        catalog(str(path))
    assert str(path) in str(caught.value)
    assert sentence in str(caught.value)


def test_an_empty_catalog_adds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.touch()
    assert catalog(str(path)).entries == catalog().entries


def test_a_catalog_that_cannot_be_read_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(errors.SettingsError, match="No such file"):
        catalog(str(tmp_path / "nothing.toml"))
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(errors.SettingsError, match="UTF-8"):
        catalog(str(path))

"""What `models.json` says is believed only where a file of ours bears it out, and nothing in it is ever a fault."""

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd.model import Model
from arwd.store import listing
from arwd.store.layout import Layout
from arwd.store.library import Library
from tests.unit.samples import DIGEST, model


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout(tmp_path_factory.mktemp("state"))
    made.models.mkdir()
    for name in ("m.gguf", "other.gguf"):
        made.final(name).write_bytes(b"1234567")
    (made.models / "folder").mkdir()
    (made.models / "link.gguf").symlink_to("m.gguf")
    (made.state_dir / "outside.gguf").write_bytes(b"1234567")
    return made


def entry(**fields: Any) -> dict[str, Any]:
    known = {
        "id": "m",
        "provider": "local",
        "status": "available",
        "path": "/elsewhere/models/m.gguf",
        "sha256": DIGEST,
        "bytes": 7,
        "trust": "caller",
    }
    return known | fields


def ids(layout: Layout, *entries: object) -> list[str]:
    layout.list.write_text(json.dumps(entries))
    return [found.id for found in listing.listed(layout)]


def test_what_the_library_writes_is_read_back(layout: Layout) -> None:
    written = model(mtime_ns=layout.final("m.gguf").stat().st_mtime_ns, url="", job_id="")
    Library(layout, [written]).tidying()()
    assert listing.listed(layout) == [written]


def test_a_path_of_another_place_means_the_file_of_that_name_here(layout: Layout) -> None:
    assert ids(layout, entry(path="C:\\arw\\models\\m.gguf"), entry(id="n", path="other.gguf")) == ["m", "n"]


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "../outside.gguf"},
        {"path": "/etc/passwd"},
        {"path": ".."},
        {"path": ""},
        {"path": "m.gguf/"},
        {"path": "folder"},
        {"path": "link.gguf"},
        {"path": "missing.gguf"},
        {"path": "m.gguf\x00"},
        {"path": 7},
        {"path": None},
        {"bytes": 8},
        {"bytes": -1},
        {"bytes": 7.5},
        {"bytes": "7"},
        {"bytes": 2**70},
        {"sha256": DIGEST.upper()},
        {"sha256": "../" + DIGEST},
        {"sha256": None},
        {"trust": "everyone"},
        {"id": ""},
        {"id": "m" * 257},
        {"id": "a\nb"},
        {"id": ["m"]},
        {"provider": {}},
    ],
    ids=str,
)
def test_an_entry_that_makes_no_sense_is_passed_over(layout: Layout, fields: dict[str, Any]) -> None:
    assert ids(layout, entry(**fields), entry(id="n", path="other.gguf")) == ["n"]


def test_one_id_has_one_file_and_one_file_one_id(layout: Layout) -> None:
    assert ids(layout, entry(), entry(path="other.gguf"), entry(id="n")) == ["m"]


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"null", b"[", b"[1, null, [], \"x\"]", b"[NaN]", b"\xff\xfe", b"[" * 100_000, b" " * (17 << 20)],
    ids=["empty", "object", "null", "cut", "numbers", "NaN", "no text", "deep", "long"],
)  # fmt: skip
def test_a_list_that_is_none_is_an_empty_one(layout: Layout, text: bytes) -> None:
    layout.list.write_bytes(text)
    assert listing.listed(layout) == []


def test_ten_megabytes_of_others_do_not_hide_ours(layout: Layout) -> None:
    noise = [entry(id=f"{number}", path=f"{number}.gguf", provider="x" * 200) for number in range(25_000)]
    assert ids(layout, *noise, entry()) == ["m"]
    assert layout.list.stat().st_size > 9_000_000


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing"])
def test_what_is_no_file_is_no_list(layout: Layout, kind: str) -> None:
    layout.list.unlink(missing_ok=True)
    if kind == "folder":
        layout.list.mkdir()
    elif kind == "pipe":
        os.mkfifo(layout.list)
    try:
        assert listing.listed(layout) == []
    finally:
        layout.list.rmdir() if kind == "folder" else layout.list.unlink(missing_ok=True)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(entry())), inner, max_size=7),
    max_leaves=20,
)


@given(_JSON | st.lists(st.dictionaries(st.sampled_from(sorted(entry())), _JSON, min_size=7)))
def test_whatever_it_says_what_is_found_lies_in_the_models_folder(layout: Layout, said: object) -> None:
    layout.list.write_text(json.dumps(said))
    for found in listing.listed(layout):
        assert isinstance(found, Model)
        assert layout.final(found.name).parent == layout.models

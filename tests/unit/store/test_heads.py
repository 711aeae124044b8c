"""Heads are read once, anew when a file has changed, and never where the disk refuses."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from arwd.store import heads
from arwd.store import inspect as inspecting
from arwd.store.heads import Heads
from arwd.store.inspect import Head
from tests.heads import LLAMA, TENSORS, gguf

LATER = 1_700_000_000_000_000_000


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[Path]]:
    """The paths of every model that was read, in order."""
    found: list[list[Path]] = []

    def inspect(paths: Iterable[Path]) -> Head | None:
        found.append(list(paths))
        return inspecting.inspect(found[-1])

    monkeypatch.setattr(heads, "inspect", inspect)
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(LLAMA, TENSORS))
    return path


async def name_of(known: Heads, *paths: Path) -> str | None:
    head = (await known.of({"m": paths}))["m"]
    return None if head is None else head.display_name


async def test_a_head_is_read_once_however_often_it_is_asked_for(model: Path, read: list[list[Path]]) -> None:
    known = Heads()
    assert [await name_of(known, model) for _ in range(3)] == ["Tiny Llama"] * 3
    assert read == [[model]]


async def test_those_who_ask_at_once_are_served_by_one_reading(model: Path, read: list[list[Path]]) -> None:
    known = Heads()
    assert await asyncio.gather(*(name_of(known, model) for _ in range(5))) == ["Tiny Llama"] * 5
    assert read == [[model]]


async def test_a_file_that_changed_in_size_or_time_is_read_anew(model: Path, read: list[list[Path]]) -> None:
    known = Heads()
    await name_of(known, model)
    model.write_bytes(gguf(LLAMA | {"general.name": "Tinier Llama"}, TENSORS))
    assert await name_of(known, model) == "Tinier Llama"
    model.write_bytes(gguf(LLAMA | {"general.name": "Other, Llama"}, TENSORS))
    os.utime(model, ns=(LATER, LATER))
    assert await name_of(known, model) == "Other, Llama"
    assert len(read) == 3


async def test_a_model_of_several_files_is_read_anew_when_any_of_them_changed(
    model: Path, read: list[list[Path]]
) -> None:
    config = model.with_name("config.json")
    config.write_bytes(b"{}")
    known = Heads()
    await name_of(known, model, config)
    await name_of(known, model, config)
    os.utime(config, ns=(LATER, LATER))
    assert await name_of(known, model, config) == "Tiny Llama"
    assert read == [[model, config]] * 2


async def test_what_is_no_model_is_looked_at_once(model: Path, read: list[list[Path]]) -> None:
    model.write_bytes(b"GGUF and then nothing of the kind")
    known = Heads()
    assert [await name_of(known, model) for _ in range(2)] == [None, None]
    assert len(read) == 1


async def test_a_file_that_cannot_be_read_has_no_head_and_is_tried_again(model: Path) -> None:
    known = Heads()
    hidden = model.rename(model.with_name("hidden"))
    assert await name_of(known, model) is None
    hidden.rename(model)
    assert await name_of(known, model) == "Tiny Llama"


async def test_a_disk_that_refuses_one_model_costs_the_others_nothing(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = model.with_name("other.gguf")
    other.write_bytes(model.read_bytes())

    def inspect(paths: Iterable[Path]) -> Head | None:
        if model in paths:
            raise OSError(5, "Input/output error")
        return inspecting.inspect(paths)

    known = Heads()
    monkeypatch.setattr(heads, "inspect", inspect)
    found = await known.of({"m": [model], "other": [other]})
    assert (found["m"], found["other"] and found["other"].display_name) == (None, "Tiny Llama")
    monkeypatch.undo()
    assert await name_of(known, model) == "Tiny Llama"


async def test_a_model_that_is_gone_is_forgotten(model: Path, read: list[list[Path]]) -> None:
    known = Heads()
    await known.of({"m": [model], "gone": [model]})
    assert list(await known.of({"m": [model]})) == ["m"]
    assert list(known._known) == ["m"]
    assert len(read) == 2

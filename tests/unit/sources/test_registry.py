"""The registry: the first source that knows a ref answers, in time, and what does not fit the request is refused."""

import asyncio
from typing import Any

import pytest

from arwd import errors
from arwd.model import Artifact, RemoteFile, Request
from arwd.sources import registry
from arwd.sources.base import Options
from arwd.sources.registry import Registry


class Fixed:
    """Knows refs with this beginning, and has this many files."""

    def __init__(self, beginning: str, count: int = 1) -> None:
        self.beginning, self.count = beginning, count

    def knows(self, ref: str) -> bool:
        return ref.startswith(self.beginning)

    async def resolve(self, request: Request) -> Artifact:
        files = [RemoteFile(mirrors=("http://x/",), name=str(index)) for index in range(self.count)]
        return Artifact(url=self.beginning, files=tuple(files))


class Silent(Fixed):
    async def resolve(self, request: Request) -> Artifact:
        await asyncio.Event().wait()
        raise AssertionError


async def test_the_first_that_knows_a_ref_answers() -> None:
    known = Registry(Options(), (Fixed("ab"), Fixed("a"), Fixed("")))
    for ref, url in (("abc", "ab"), ("ac", "a"), ("c", "")):
        assert (await known.resolve(Request(ref=ref))).url == url


async def test_a_ref_that_nobody_knows_is_refused() -> None:
    with pytest.raises(errors.InvalidField):
        await Registry(Options(), (Fixed("a"),)).resolve(Request(ref="b"))


async def test_who_does_not_answer_in_time_is_unreachable() -> None:
    with pytest.raises(errors.SourceUnreachable, match=r"within 0\.01 s"):
        await Registry(Options(resolve_timeout=0.01), (Silent(""),)).resolve(Request(ref="a"))


@pytest.mark.parametrize("field", ["sha256", "filename"])
async def test_what_only_one_file_can_have_is_refused_of_several(field: str) -> None:
    request = Request(ref="a", **{field: "0" * 64})
    with pytest.raises(errors.InvalidField, match=f"{field} is of one file"):
        await Registry(Options(), (Fixed("", 2),)).resolve(request)
    assert (await Registry(Options(), (Fixed("", 1),)).resolve(request)).files


@pytest.mark.parametrize("options", [Options(hf_endpoint="x"), Options(catalog="/nonexistent/catalog.toml")])
def test_a_source_that_cannot_be_made_is_a_wrong_setting(options: Options) -> None:
    session: Any = None
    with pytest.raises(errors.SettingsError):
        registry.default(session, options)

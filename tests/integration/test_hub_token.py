"""The Hub's own variables over real sockets: what is private is had with them, and nobody but the Hub is told."""

from pathlib import Path

import pytest

from arwd import errors, net
from arwd.model import Request
from arwd.sources import hub_token, registry
from arwd.sources.base import Options
from tests import canary, hub
from tests.hub import Hub, Repo
from tests.internet import egress, fetch
from tests.models import gguf

TOKEN = canary.secret("hub-variable")
FILES = {"m-Q4_K_M.gguf": gguf(b"." * 300), "README.md": b"# m"}
REPOS = {"org/private": Repo(FILES, private=True), "org/gated": Repo(FILES, gated=True)}


async def fetched(served: Hub, name: str, environ: dict[str, str]) -> bytes:
    """The weights of this repository, by a way out that knows these variables."""
    options = Options(hf_endpoint=served.url)
    way_out = egress(stall_timeout=30.0)
    hub_token.introduce(way_out, options, environ)
    session = net.Session(way_out)
    try:
        artifact = await registry.default(session, options).resolve(Request(ref=f"hf://{name}"))
        assert TOKEN not in repr(artifact)
        return await fetch(session, artifact.files[0].mirrors[0])
    finally:
        await session.close()


@pytest.mark.parametrize("name", REPOS)
@pytest.mark.parametrize("variable", ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME"])
async def test_what_is_not_for_everybody_is_had_with_each_variable(name: str, variable: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(f"{TOKEN}\n")
    environ = {variable: {"HF_TOKEN": f" {TOKEN}\n", "HF_TOKEN_PATH": str(file), "HF_HOME": str(tmp_path)}[variable]}
    async with hub.running(REPOS) as served:
        served.tokens[TOKEN] = frozenset({name})
        assert await fetched(served, name, environ) == FILES["m-Q4_K_M.gguf"]
        assert {seen.headers.get("authorization") for seen in served.requests} == {f"Bearer {TOKEN}"}
        # The bytes came from another origin, which was told nothing.
        assert served.storage.requests
        assert TOKEN not in "".join(f"{seen.target} {dict(seen.headers)}" for seen in served.storage.requests)


@pytest.mark.parametrize(
    ("name", "kind"), [("org/private", errors.ModelNotFound), ("org/gated", errors.ModelForbidden)]
)
@pytest.mark.parametrize("environ", [{}, {"HF_TOKEN": TOKEN, hub_token.DISABLED: "1"}])
async def test_without_a_token_it_is_refused(name: str, kind: type[errors.ArwdError], environ: dict[str, str]) -> None:
    async with hub.running(REPOS) as served:
        served.tokens[TOKEN] = frozenset({name})
        with pytest.raises(kind, match="HF_TOKEN") as caught:
            await fetched(served, name, environ)
        assert TOKEN not in str(caught.value)
        assert {seen.headers.get("authorization") for seen in served.requests} == {None}
        assert not served.storage.requests


async def test_another_hub_is_not_told_of_it() -> None:
    async with hub.running(REPOS) as served, hub.running({"org/m": Repo(FILES)}) as mirror:
        way_out = egress(stall_timeout=30.0)
        hub_token.introduce(way_out, Options(hf_endpoint=served.url), {"HF_TOKEN": TOKEN})
        session = net.Session(way_out)
        try:
            known = registry.default(session, Options(hf_endpoint=mirror.url))
            assert (await known.resolve(Request(ref="hf://org/m"))).files
        finally:
            await session.close()
        assert {seen.headers.get("authorization") for seen in mirror.requests} == {None}

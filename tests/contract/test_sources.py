"""What every source keeps, whatever it knows of models. A new source is one more parameter."""

import asyncio
import contextlib
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver

from arwd import errors, net
from arwd.model import MAX_WHOLE, Artifact, Request, parse_sha256
from arwd.sources import paths, registry
from arwd.sources.base import Options, Source
from arwd.sources.registry import SOURCES
from tests import canary, hub
from tests.hub import Hub, Repo
from tests.internet import egress
from tests.models import gguf

TOKEN = canary.secret("hub")


@dataclass(frozen=True)
class Case:
    """A source by examples. In a ref `{hub}`, `{host}` and `{storage}` stand for the test's own servers."""

    source: str
    known: tuple[str, ...]
    """Each is a model."""
    wrong: tuple[str, ...]
    """Of its kind, and nothing that can be downloaded."""
    foreign: tuple[str, ...]
    """Refs of other kinds."""
    answers: Mapping[str, bytes] = field(default_factory=dict)
    """What `{hub}` has under these paths, beyond what a Hub has. All of it is JSON."""
    asks: bool = True
    """Does it need a server to resolve a ref?"""


def manifest(**layers: int) -> bytes:
    """What a registry says of a model that has layers of these kinds, of so many bytes."""
    return json.dumps({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": "sha256:0", "size": 5},
        "layers": [
            {
                "mediaType": f"application/vnd.ollama.image.{kind}",
                "digest": f"sha256:{hashlib.sha256(kind.encode()).hexdigest()}",
                "size": size,
            }
            for kind, size in layers.items()
        ],
    }).encode()  # fmt: skip


CASES = (
    Case(
        "HuggingFace",
        known=(
            "https://huggingface.co/org/gguf", "hf://org/gguf:q8_0", "hf://org/tensors@main",
            "{hub}/org/gguf?token={secret}", "{hub}/org/tensors/resolve/main/a/vocab.json?download={secret}",
            "hf.co/org/gguf:Q4_K_M",
        ),
        wrong=(
            "hf://", "hf://org/nothing", "hf://org/gguf:Q9_9", "hf://org/gguf@no", "{hub}/datasets/org/x?k={secret}",
            "https://huggingface.co/org/tensors/blob/main/no.json?k={secret}", "hf://org/evil",
        ),
        foreign=("org/gguf", "https://example.org/org/gguf", "ftp://huggingface.co/org/gguf", ""),
    ),
    Case(
        "Catalog",
        known=("me/mine", "ME/mine@q8_0", "org/gguf"),
        wrong=("org/nothing", "me/mine@a@b", "org/tensors", "org/gguf@Q9_9", "a--b/c"),
        foreign=("hf://org/gguf", "https://example.org/org/gguf", "hf.co/org", "a/b/c", "/a/b", "a", ""),
    ),
    Case(
        "Ollama",
        known=("ollama://{host}/library/seer", "OLLAMA://{host}/library/seer:7b", "ollama://{host}/me/plain:q8_0"),
        wrong=(
            "ollama://{host}/library/nothing", "ollama://{host}/me/tensors", "ollama://{host}/me/torn", "ollama://",
            "ollama://{host}/a/b/c", "ollama://seer?k={secret}", "ollama://x:{secret}@h/a/b", "ollama://a:b:c",
        ),
        foreign=("seer", "seer:7b", "library/seer", "https://registry.ollama.ai/v2/library/seer", "ollama:seer", ""),
        answers={
            **dict.fromkeys(
                ("/v2/library/seer/manifests/latest", "/v2/library/seer/manifests/7b"),
                manifest(model=5_000_000_000, projector=600_000_000, license=1_000, template=10),
            ),
            "/v2/me/plain/manifests/q8_0": manifest(model=300, params=5),
            "/v2/me/tensors/manifests/latest": manifest(tensor=300),
            "/v2/me/torn/manifests/latest": manifest(model=-1),
        },
    ),
    Case(
        "UrlSource",
        known=("{storage}/model.gguf?signature={secret}", "http://127.0.0.1:1/x#{secret}", "{storage}/%2e%2e/x"),
        wrong=(
            "ftp://127.0.0.1/x?k={secret}", "http://u:{secret}@127.0.0.1/", "http://127.0.0.1:0/{secret}", "x", "",
            "http://a b/{secret}", "file:///etc/passwd?{secret}", "http:///{secret}",
        ),
        foreign=(),
        asks=False,
    ),
)  # fmt: skip
STRANGE = (
    "\0",
    "\ud800",
    "hf://\ud800",
    "a/\n",
    "//",
    "@",
    "a/b@",
    "https://",
    "http://[",
    "https://[::1",
    "é/é",
    "/" * 99,
)


class Nobody(AbstractResolver):
    """No name is looked up here: who asks for one has left the test."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
        raise AssertionError(f"{host} was looked up")

    async def close(self) -> None:
        pass


class World:
    """A Hub, a source that asks it, and whom it dialled."""

    def __init__(self, served: Hub, session: net.Session, options: Options, dialled: set[int]) -> None:
        self.served, self.session, self.options, self.dialled = served, session, options, dialled

    def ref(self, text: str) -> str:
        host, storage = self.served.url.removeprefix("http://"), self.served.storage.url
        return text.format(hub=self.served.url, host=host, storage=storage, secret=canary.WORD)

    def source(self, case: Case) -> Source:
        make = next(each for each in SOURCES if getattr(each, "__name__", "") == case.source)
        return make(self.session, self.options)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Everything in it is readable with the token alone."""
    weights = gguf(b"." * 300)
    repos = {
        "org/gguf": Repo({"m-Q4_K_M.gguf": weights, "m-Q8_0.gguf": weights, "mmproj-F16.gguf": weights}, private=True),
        "org/tensors": Repo({"model.safetensors": weights, "a/vocab.json": b"{}"}, gated=True),
        "org/evil": Repo({"model.safetensors": weights, "../x.json": b"{}"}),
    }
    token, catalog = tmp_path / "token", tmp_path / "catalog.toml"
    token.touch(0o600)
    token.write_text(TOKEN)
    catalog.write_text('[models."me/mine"]\nrepository = "org/gguf"')
    dialled: set[int] = set()

    class Noted(socket.socket):
        def connect(self, address: Any) -> None:
            dialled.add(address[1])
            super().connect(address)

    async with hub.running(repos) as served, contextlib.AsyncExitStack() as closing:
        served.tokens[TOKEN] = frozenset(repos)
        for case in CASES:
            served.pages.update({path: hub.as_json(text) for path, text in case.answers.items()})
        session = net.Session(
            egress(credentials={served.url: str(token)}),
            resolver=Nobody(),
            make_socket=lambda entry: Noted(*entry[:3]),
        )
        closing.push_async_callback(session.close)
        yield World(served, session, Options(hf_endpoint=served.url, catalog=str(catalog)), dialled)


@pytest.fixture(params=CASES, ids=lambda case: case.source)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param  # type: ignore[no-any-return]


async def resolved(world: World, case: Case) -> list[Artifact]:
    """What its known refs come to."""
    source = world.source(case)
    return [await source.resolve(Request(ref=world.ref(ref))) for ref in case.known]


def test_every_source_is_held_to_this() -> None:
    assert [getattr(make, "__name__", "") for make in SOURCES] == [case.source for case in CASES]


async def test_it_knows_its_refs_and_no_others_without_asking_anybody(world: World, case: Case) -> None:
    source = world.source(case)
    assert all(source.knows(world.ref(ref)) for ref in (*case.known, *case.wrong))
    assert not [ref for ref in case.foreign if source.knows(ref)]
    assert world.dialled == set()


async def test_no_text_is_too_strange_to_be_judged(world: World, case: Case) -> None:
    source = world.source(case)
    for ref in STRANGE:
        if source.knows(ref):
            with pytest.raises(errors.RequestError):
                await source.resolve(Request(ref=ref))
    assert world.dialled == set()


async def test_its_refs_come_to_it_and_to_nobody_before_it(world: World, case: Case) -> None:
    made = [make(world.session, world.options) for make in SOURCES]
    for ref in (*case.known, *case.wrong):
        first = next(source for source in made if source.knows(world.ref(ref)))
        assert type(first).__name__ == case.source


async def test_a_model_has_files_that_can_be_asked_for(world: World, case: Case) -> None:
    for artifact in await resolved(world, case):
        assert artifact.files
        for file in artifact.files:
            assert file.mirrors
            assert [net.fault_in(url) for url in file.mirrors] == [None] * len(file.mirrors)
            assert file.size is None or 0 <= file.size <= MAX_WHOLE
            assert file.sha256 is None or parse_sha256(file.sha256) == file.sha256


async def test_its_files_have_names_that_are_safe_and_their_own(world: World, case: Case) -> None:
    for artifact in await resolved(world, case):
        names = [file.name for file in artifact.files if file.name is not None]
        assert paths.checked(names, "the source") == tuple(names)
        # Only a file that is alone may be named by its server; one that is alone lies flat.
        assert len(names) == len(artifact.files) or len(artifact.files) == 1
        assert len(artifact.files) > 1 or not [name for name in names if "/" in name]


async def test_what_may_be_shown_holds_no_secret(world: World, case: Case) -> None:
    for artifact in await resolved(world, case):
        shown = f"{artifact.url} {artifact.key} {artifact.revision} {[file.name for file in artifact.files]}"
        assert canary.WORD not in shown
        assert "?" not in artifact.url
        assert TOKEN not in repr(artifact)


async def test_what_is_shown_means_the_same_when_it_is_given_again(world: World, case: Case) -> None:
    known = registry.default(world.session, world.options)
    for artifact in await resolved(world, case):
        again = await known.resolve(Request(ref=artifact.url))
        assert (again.url, again.revision) == (artifact.url, artifact.revision)


async def test_asked_twice_it_says_the_same(world: World, case: Case) -> None:
    assert await resolved(world, case) == await resolved(world, case)


async def test_nobody_is_asked_but_whom_it_was_made_for(world: World, case: Case) -> None:
    await resolved(world, case)
    assert world.dialled <= {world.served.port, world.served.storage.port}
    assert bool(world.dialled) == case.asks
    assert not [seen for seen in world.served.storage.requests if "authorization" in seen.headers]


async def test_what_cannot_be_had_is_refused_with_a_sentence_and_without_secrets(world: World, case: Case) -> None:
    source = world.source(case)
    for ref in case.wrong:
        with pytest.raises((errors.RequestError, errors.TransferError)) as caught:
            await source.resolve(Request(ref=world.ref(ref)))
        sentence = str(caught.value)
        assert len(sentence) > 10
        assert sentence.isprintable()
        assert canary.WORD not in sentence


async def test_a_server_that_is_down_is_a_failure_and_not_an_answer(world: World, case: Case) -> None:
    world.served.is_down = True
    source = world.source(case)
    for ref in case.known:
        refusal = pytest.raises(errors.SourceUnreachable) if case.asks else contextlib.nullcontext()
        with refusal:
            await source.resolve(Request(ref=world.ref(ref)))


async def test_whoever_waits_for_it_can_stop_waiting(world: World, case: Case) -> None:
    world.served.go_on.clear()
    before = asyncio.all_tasks()
    waiting = asyncio.ensure_future(resolved(world, case))
    while case.asks and not world.served.requests:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() or not case.asks
    served = {task for task in asyncio.all_tasks() if "serve" in repr(task.get_coro())}
    assert asyncio.all_tasks() - before - served == set()
    world.served.go_on.set()

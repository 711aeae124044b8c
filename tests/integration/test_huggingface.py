"""Models of the Hub, asked for over real sockets: what is fetched of a repository, and who is told what."""

import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from arwd import errors, net
from arwd.model import Artifact, RemoteFile, Request
from arwd.sources import answers, hub_api, registry
from arwd.sources.base import Options
from tests import canary, hub
from tests.hub import Answer, Hub, Repo, Seen
from tests.internet import egress, fetch
from tests.models import gguf

TOKEN = canary.secret("hub")


def model(name: str, size: int = 300) -> bytes:
    return gguf(name.encode().ljust(size, b"."))


GGUF = {
    name: model(name)
    for name in (
        "m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "big/m-F16-00001-of-00002.gguf", "big/m-F16-00002-of-00002.gguf",
        "mmproj-m-F16.gguf", "imatrix.gguf",
    )
} | {"README.md": b"# m", ".gitattributes": b"*.gguf filter=lfs"}  # fmt: skip
NEEDED = {
    "README.md": b"# t", "LICENSE": b"do", "config.json": b"{}", "model-00001-of-00002.safetensors": model("1"),
    "model-00002-of-00002.safetensors": model("2"), "model.safetensors.index.json": b'{"weight_map": {}}',
    "tokenizer.model": model("sentencepiece"), "tokenizer/vocab.json": b"{}", "modeling.py": b"pass",
}  # fmt: skip
TENSORS = NEEDED | {
    ".gitattributes": b"x", ".eval/results.json": b"{}", "pytorch_model.bin": model("b"), "tf_model.h5": model("h"),
    "flax_model.msgpack": model("f"), "onnx/model.onnx": model("o"), "onnx/config.json": b"{}", "picture.PNG": b"p",
    "original/consolidated.00.pth": model("c"), "original/params.json": b"{}", "metal/model.bin": model("m"),
    "original/model.safetensors": model("again"), "consolidated.safetensors": model("and again"), "training.pt": b"t",
}  # fmt: skip


@pytest.fixture
async def served() -> AsyncIterator[Hub]:
    async with hub.running({"org/m-GGUF": Repo(GGUF), "org/tensors": Repo(TENSORS)}) as started:
        yield started


@contextlib.asynccontextmanager
async def sources(
    served: Hub, tmp_path: Path | None = None, **options: Any
) -> AsyncIterator[tuple[registry.Registry, net.Session]]:
    """All sources, with this Hub as theirs; with a folder they have a token for it."""
    credentials = {}
    if tmp_path is not None:
        file = tmp_path / "token"
        file.touch(0o600)
        file.write_text(TOKEN)
        credentials[served.url] = str(file)
    session = net.Session(egress(credentials=credentials, stall_timeout=30.0))
    try:
        yield registry.default(session, Options(hf_endpoint=served.url, **options)), session
    finally:
        await session.close()


async def resolve(served: Hub, ref: str, tmp_path: Path | None = None, **more: Any) -> Artifact:
    """What the ref comes to."""
    async with sources(served, tmp_path) as (known, _):
        return await known.resolve(Request(ref=ref, **more))


async def refused(served: Hub, ref: str, tmp_path: Path | None = None, **more: Any) -> errors.ArwdError:
    """Why the ref comes to nothing."""
    with pytest.raises(errors.ArwdError) as caught:
        await resolve(served, ref, tmp_path, **more)
    assert TOKEN not in str(caught.value)
    return caught.value


def names(artifact: Artifact) -> list[str | None]:
    return [file.name for file in artifact.files]


async def test_a_repository_of_gguf_is_its_usual_quantization_and_its_projector(served: Hub) -> None:
    artifact = await resolve(served, "https://huggingface.co/org/m-GGUF")
    assert names(artifact) == ["m-Q4_K_M.gguf", "mmproj-m-F16.gguf"]
    assert (artifact.key, artifact.revision) == ("org/m-GGUF", served.repos["org/m-GGUF"].commit)
    assert artifact.quantizations == ("F16", "Q2_K", "Q4_K_M", "Q8_0")
    assert artifact.url == f"{served.url}/org/m-GGUF"


@pytest.mark.parametrize(
    ("ref", "quantization"),
    [
        ("https://huggingface.co/org/m-GGUF", "f16"),
        ("hf://org/m-GGUF:F16", None),
        ("hf.co/org/m-GGUF:f16", "F16"),
        ("hf://org/m-GGUF@main", "F16"),
    ],
)
async def test_a_quantization_is_asked_for_in_or_beside_the_ref(
    ref: str, quantization: str | None, served: Hub
) -> None:
    artifact = await resolve(served, ref, quantization=quantization)
    assert names(artifact) == [
        "big/m-F16-00001-of-00002.gguf",
        "big/m-F16-00002-of-00002.gguf",
        "mmproj-m-F16.gguf",
    ]
    assert artifact.key == "org/m-GGUF@F16"
    assert artifact.url == "hf://org/m-GGUF:F16"


async def test_a_repository_of_safetensors_is_everything_that_is_needed(served: Hub) -> None:
    artifact = await resolve(served, "https://huggingface.co/org/tensors/tree/main")
    assert sorted(map(str, names(artifact))) == sorted(NEEDED)
    assert artifact.quantizations == ()


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("blob/main/m-Q8_0.gguf", "m-Q8_0.gguf"),
        ("resolve/main/big/m-F16-00001-of-00002.gguf?download=true", "big/m-F16-00001-of-00002.gguf"),
        ("resolve/main/README.md", "README.md"),
    ],
)
async def test_one_file_is_that_file_and_lies_flat(link: str, path: str, served: Hub) -> None:
    served.page_size = 2
    artifact = await resolve(served, f"{served.url}/org/m-GGUF/{link}")
    assert names(artifact) == [path.rpartition("/")[2]]
    assert artifact.key == f"org/m-GGUF/{path}"
    assert artifact.url == f"{served.url}/org/m-GGUF/resolve/main/{path}"
    assert artifact.files[0].mirrors == (f"{served.url}/org/m-GGUF/resolve/{artifact.revision}/{path}",)
    # Nothing below its folder was listed, and nothing beside that.
    lists = [seen for seen in served.requests if "/tree/" in seen.path]
    assert {seen.query["recursive"] for seen in lists} == {"false"}
    assert {seen.path.rpartition(f"/tree/{artifact.revision}")[2].strip("/") for seen in lists} == {
        path.rpartition("/")[0]
    }


async def test_sizes_and_digests_are_those_of_the_bytes_and_no_xet_hash_is_taken_for_one(served: Hub) -> None:
    artifact = await resolve(served, "hf://org/tensors")
    for file in artifact.files:
        data = NEEDED[str(file.name)]
        is_large = len(data) >= 100
        assert file.size == len(data)
        assert file.sha256 == (hashlib.sha256(data).hexdigest() if is_large else None)
        assert file.git_oid == (None if is_large else hub.git_oid(data))
    assert any(file.sha256 for file in artifact.files)
    assert any(file.git_oid for file in artifact.files)


async def test_what_was_resolved_can_be_fetched_byte_for_byte(served: Hub) -> None:
    served.repos["org/tensors"].small_files_by_cache = True
    async with sources(served) as (known, session):
        artifact = await known.resolve(Request(ref="hf://org/tensors"))
        for file in artifact.files:
            assert await fetch(session, file.mirrors[0]) == NEEDED[str(file.name)]


async def test_a_tree_of_many_pages_is_read_whole_and_once(served: Hub) -> None:
    served.page_size = 2
    artifact = await resolve(served, "hf://org/tensors")
    assert sorted(map(str, names(artifact))) == sorted(NEEDED)
    tree = f"/api/models/org/tensors/tree/{artifact.revision}?"
    pages = served.targets(beginning=tree)
    assert len(pages) == len(set(pages)) > 10


async def test_a_branch_that_moves_meanwhile_is_pinned_where_it_was(served: Hub) -> None:
    repo = served.repos["org/tensors"]
    first, served.page_size = repo.commit, 3

    def move(seen: Seen) -> None:
        repo.push({"model.safetensors": model(f"new {len(served.requests)}")})

    served.after = move
    async with sources(served) as (known, session):
        artifact = await known.resolve(Request(ref="hf://org/tensors"))
        assert artifact.revision == first != repo.commit
        assert sorted(map(str, names(artifact))) == sorted(NEEDED)
        assert await fetch(session, artifact.files[0].mirrors[0]) == NEEDED[str(artifact.files[0].name)]
    assert len(served.targets(beginning="/api/models/org/tensors/revision/")) == 1


async def test_a_branch_with_a_slash_a_tag_and_a_commit_are_revisions(served: Hub) -> None:
    repo = served.repos["org/tensors"]
    old = repo.commit
    for branch in ("refs/pr/1", "feature/x", "v1"):
        repo.push({"model.safetensors": model(branch)}, branch)
    base = "https://huggingface.co/org/tensors"
    for ref, branch in (
        (f"{base}/tree/refs%2Fpr%2F1", "refs/pr/1"),
        (f"{base}/tree/refs/pr/1", "refs/pr/1"),
        (f"{base}/tree/feature%2Fx", "feature/x"),
        ("hf://org/tensors@feature/x", "feature/x"),
        (f"{base}/blob/v1/model.safetensors", "v1"),
    ):
        artifact = await resolve(served, ref)
        assert artifact.revision == repo.branches[branch]
        # What is shown of it means the same when it is given again.
        assert (await resolve(served, artifact.url)).revision == artifact.revision
    assert (await resolve(served, f"{base}/tree/{old}")).revision == old


async def test_a_repository_that_was_renamed_has_its_new_name(served: Hub) -> None:
    served.renamed["old/name"] = "org/m-GGUF"
    artifact = await resolve(served, "https://huggingface.co/old/name")
    assert artifact.key == "org/m-GGUF"
    assert artifact.files[0].mirrors[0].startswith(f"{served.url}/org/m-GGUF/resolve/")


async def test_a_token_goes_to_the_hub_and_never_to_the_storage(served: Hub, tmp_path: Path) -> None:
    served.tokens[TOKEN] = frozenset({"org/secret"})
    served.repos["org/secret"] = Repo(TENSORS, private=True, gated=True)
    async with sources(served, tmp_path) as (known, session):
        artifact = await known.resolve(Request(ref="hf://org/secret"))
        large = next(file for file in artifact.files if file.sha256)
        assert await fetch(session, large.mirrors[0]) == NEEDED[str(large.name)]
    assert {seen.headers.get("authorization") for seen in served.requests} == {f"Bearer {TOKEN}"}
    assert served.storage.requests
    said = "\n".join(f"{seen.target} {dict(seen.headers)}" for seen in served.storage.requests)
    assert TOKEN not in said
    assert TOKEN not in repr(artifact)


@pytest.mark.parametrize("lists_to_all", [True, False])
@pytest.mark.parametrize("has_token", [True, False])
async def test_a_gated_repository_says_where_its_licence_is(
    lists_to_all: bool, has_token: bool, served: Hub, tmp_path: Path
) -> None:
    served.tokens[TOKEN] = frozenset()
    served.repos["org/gated"] = Repo(TENSORS, gated=True, lists_to_all=lists_to_all)
    error = await refused(served, "hf://org/gated", tmp_path if has_token else None)
    assert isinstance(error, errors.ModelForbidden)
    assert f"{served.url}/org/gated is gated: accept its licence there" in str(error)
    assert "HF_TOKEN" in str(error)


async def test_a_gated_repository_that_may_be_read_is_read(served: Hub, tmp_path: Path) -> None:
    served.tokens[TOKEN] = frozenset({"org/gated"})
    served.repos["org/gated"] = Repo(TENSORS, gated=True)
    assert len((await resolve(served, "hf://org/gated", tmp_path)).files) == len(NEEDED)
    # Nothing but the first byte of one file was asked for.
    assert len(served.targets(beginning="/org/gated/resolve/")) == 1
    assert not [seen for seen in served.storage.requests if seen.headers.get("range") != "bytes=0-0"]


async def test_a_storage_that_refuses_just_now_is_no_licence_that_is_missing(served: Hub, tmp_path: Path) -> None:
    served.tokens[TOKEN] = frozenset({"org/gated"})
    served.repos["org/gated"] = Repo({"model.safetensors": model("1")}, gated=True)
    served.lifetime = -1
    assert names(await resolve(served, "hf://org/gated", tmp_path)) == ["model.safetensors"]
    assert len(served.storage.requests) == 1


async def test_a_limit_that_is_met_while_trying_a_gated_file_says_so(served: Hub, tmp_path: Path) -> None:
    served.tokens[TOKEN] = frozenset({"org/gated"})
    served.repos["org/gated"] = Repo({"model.safetensors": model("1")}, gated=True)
    served.after = lambda seen: served.limit(9) if "/tree/" in seen.path else None
    assert isinstance(await refused(served, "hf://org/gated", tmp_path), errors.TooManyRequests)


async def test_missing_and_private_are_told_apart_as_far_as_the_hub_does(served: Hub, tmp_path: Path) -> None:
    served.tokens[TOKEN] = frozenset()
    served.repos["org/private"] = Repo(TENSORS, private=True)
    for name in ("org/private", "org/nothing"):
        without = await refused(served, f"hf://{name}")
        assert isinstance(without, errors.ModelNotFound)
        assert "missing or private" in str(without)
        assert "HF_TOKEN" in str(without)
        with_one = await refused(served, f"hf://{name}", tmp_path)
        assert isinstance(with_one, errors.ModelNotFound)
        assert "Check the spelling" in str(with_one)


async def test_a_token_that_the_hub_does_not_take_is_named_as_the_fault(served: Hub, tmp_path: Path) -> None:
    error = await refused(served, "hf://org/tensors", tmp_path)
    assert isinstance(error, errors.ModelForbidden)
    assert "does not take the token" in str(error)


@pytest.mark.parametrize(
    ("ref", "kind", "sentence"),
    [
        ("hf://org/tensors@nowhere", errors.ModelNotFound, "no branch, tag or commit nowhere"),
        ("https://hf.co/org/tensors/blob/main/no.json", errors.ModelNotFound, "no file no.json at main"),
        ("https://hf.co/org/tensors/blob/main/no/x.json", errors.ModelNotFound, "no file no/x.json"),
        ("https://hf.co/org/tensors/blob/main/tokenizer", errors.ModelNotFound, "no file tokenizer"),
        ("hf://org/m-GGUF:Q5_K_M", errors.ModelNotFound, "it has F16, Q2_K, Q4_K_M, Q8_0."),
        ("hf://org/tensors:Q4_K_M", errors.InvalidField, "holds no GGUF files"),
        ("hf://org/pictures", errors.ModelNotFound, "neither GGUF nor safetensors"),
        ("hf://org/two", errors.AmbiguousRef, "a-Q4_K_M.gguf, b-Q4_K_M.gguf"),
        ("https://hf.co/datasets/org/data", errors.InvalidField, "datasets"),
    ],
)
async def test_what_is_not_there_is_said_with_what_is(
    ref: str, kind: type[errors.ArwdError], sentence: str, served: Hub
) -> None:
    served.repos["org/pictures"] = Repo({"a.png": b"p", "README.md": b"r"})
    served.repos["org/two"] = Repo({"a-Q4_K_M.gguf": model("a"), "b-Q4_K_M.gguf": model("b")})
    error = await refused(served, ref)
    assert type(error) is kind
    assert sentence in str(error)


@pytest.mark.parametrize(
    ("ref", "more", "sentence"),
    [
        ("https://hf.co/org/m-GGUF/blob/main/m-Q8_0.gguf", {"quantization": "Q8_0"}, "one file already"),
        ("hf://org/m-GGUF:Q8_0", {"quantization": "Q2_K"}, "two different ones"),
        ("hf://org/m-GGUF", {"quantization": "../x"}, "such as Q4_K_M"),
        ("hf://org/tensors", {"sha256": "0" * 64}, "sha256 is of one file"),
        ("hf://org/tensors", {"filename": "x"}, "filename is of one file"),
    ],
)
async def test_a_request_that_contradicts_itself_is_refused(
    ref: str, more: dict[str, str], sentence: str, served: Hub
) -> None:
    error = await refused(served, ref, **more)
    assert type(error) is errors.InvalidField
    assert sentence in str(error)


@pytest.mark.parametrize(
    "bad",
    ["../model.safetensors", "/model.safetensors", "a\\b.json", "a//b.json", "CON.json", "x.part", "CONFIG.json",
     "config.json/x", "a\nb"],
)  # fmt: skip
async def test_a_malicious_path_condemns_the_repository(bad: str, served: Hub) -> None:
    served.repos["org/bad"] = Repo(NEEDED | {bad: b"{}"})
    error = await refused(served, "hf://org/bad")
    assert type(error) is errors.UnsafePaths
    assert "refused as a whole" in str(error)
    assert not served.targets(beginning="/org/bad/resolve/")


@pytest.mark.parametrize(("by", "seconds"), [("ratelimit", 56), ("Retry-After", 55)])
async def test_a_limit_says_for_how_long(by: str, seconds: int, served: Hub) -> None:
    served.limit(55, by=by)
    error = await refused(served, "hf://org/tensors")
    assert isinstance(error, errors.TooManyRequests)
    assert error.retry_after == seconds
    assert f"in {seconds} s" in str(error)


async def test_a_limit_that_is_not_used_up_is_not_the_reason(served: Hub) -> None:
    served.answers.append(Answer(429, {"ratelimit": '"api";r=7;t=55'}))
    error = await refused(served, "hf://org/tensors")
    assert isinstance(error, errors.TooManyRequests)
    assert (error.retry_after, "later" in str(error)) == (None, True)


async def test_a_hub_that_is_down_is_said_to_be(served: Hub) -> None:
    served.is_down = True
    error = await refused(served, "hf://org/tensors")
    assert isinstance(error, errors.SourceUnreachable)
    assert (error.status, error.code) == (502, "hub_unreachable")
    served.is_down = False
    served.answers.append(Answer(503))
    assert isinstance(await refused(served, "hf://org/tensors"), errors.SourceUnreachable)


async def test_a_hub_where_nobody_listens_is_said_to_be_unreachable(served: Hub) -> None:
    async with sources(served) as (_, session):
        known = registry.default(session, Options(hf_endpoint="http://127.0.0.1:1"))
        with pytest.raises(errors.SourceUnreachable, match="cannot be reached"):
            await known.resolve(Request(ref="hf://org/tensors"))


async def test_a_hub_that_is_slow_is_given_up_in_time(served: Hub) -> None:
    served.go_on.clear()
    async with sources(served, resolve_timeout=0.05) as (known, _):
        with pytest.raises(errors.SourceUnreachable, match=r"within 0\.05 s"):
            await known.resolve(Request(ref="hf://org/tensors"))
    served.go_on.set()


LIST = {"Content-Type": "application/json"}
PINNED = Answer(200, LIST, b'{"id": "org/tensors", "sha": "%s"}' % (b"a" * 40))


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(200, {}, b"<!doctype html>")],
        [Answer(200, LIST, b"[]")],
        [Answer(200, LIST, b"\xff")],
        [Answer(200, LIST, b'{"id": "org/tensors", "sha": "main"}')],
        [Answer(200, LIST, b'{"id": "../x", "sha": "%s"}' % (b"a" * 40))],
        [Answer(200, LIST, b"[" * 100_000)],
        [PINNED, Answer(200, LIST, b"{}")],
        [PINNED, Answer(200, LIST, b'[{"type": "file", "path": "x.gguf", "size": -1}]')],
        [PINNED, Answer(200, LIST, b'[{"type": "file", "path": "x.gguf", "size": 1e400}]')],
        [PINNED, Answer(200, LIST, b'[{"type": "file", "path": "x.gguf", "lfs": {"oid": 5, "size": 1}}]')],
    ],
)
async def test_an_answer_that_no_hub_gives_is_refused(answers: list[Answer], served: Hub) -> None:
    served.answers += answers
    error = await refused(served, "hf://org/tensors")
    assert type(error) is errors.InvalidResponse
    assert "does not answer as a Hub does" in str(error)


async def test_what_is_listed_in_a_wrong_form_is_no_digest(served: Hub) -> None:
    entry = b'[{"type": "file", "path": "x.gguf", "oid": "z", "lfs": {"oid": "%s", "size": 1}},' % (b"g" * 64)
    served.answers += [PINNED, Answer(200, LIST, entry + b'{"type": "file", "path": "mmproj.gguf", "oid": "main"}]')]
    artifact = await resolve(served, "hf://org/tensors")
    assert [(file.sha256, file.git_oid) for file in artifact.files] == [(None, None)] * 2


async def test_an_answer_without_end_is_not_read_to_its_end(served: Hub) -> None:
    served.answers += [PINNED, Answer(200, LIST, b" " * (answers.MOST_BYTES + 1))]
    assert "more than" in str(await refused(served, "hf://org/tensors"))


async def test_a_list_in_a_circle_ends(served: Hub) -> None:
    page = Answer(200, {**LIST, "Link": '</x?cursor=1>; rel="next"'}, b"[]")
    served.answers += [PINNED, page, page]
    assert "in a circle" in str(await refused(served, "hf://org/tensors"))


async def test_too_many_files_are_refused(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_api, "MOST_FILES", len(TENSORS) - 1)
    served.page_size = 5
    assert "more than" in str(await refused(served, "hf://org/tensors"))


async def test_a_next_page_elsewhere_is_asked_for_here(served: Hub) -> None:
    async with hub.running({}) as elsewhere:
        link = {"Link": f'<{elsewhere.url}/api/models/org/tensors/tree/x?cursor=2>; rel="next"'}
        first = b'[{"type": "file", "path": "model.safetensors", "size": 1}]'
        served.answers += [PINNED, Answer(200, {**LIST, **link}, first), Answer(200, LIST, b"[]")]
        assert names(await resolve(served, "hf://org/tensors")) == ["model.safetensors"]
        assert elsewhere.requests == []
    assert served.requests[-1].query["cursor"] == "2"


async def test_a_link_that_expires_is_renewed_where_it_was_asked_for(tmp_path: Path) -> None:
    clock = [1_000.0]
    async with hub.running({"org/m-GGUF": Repo(GGUF)}, lambda: clock[0]) as served:
        served.lifetime = 0
        async with sources(served) as (known, session):
            file = (await known.resolve(Request(ref="hf://org/m-GGUF:Q8_0"))).files[0]
            async with session.get(file.mirrors[0], {}) as response:
                assert response.status == 403
            served.lifetime = 30
            assert await fetch(session, file.mirrors[0]) == GGUF["m-Q8_0.gguf"]


CATALOG = """
[models."Me/Mine"]
repository = "org/m-GGUF"
[models."me/small"]
repository = "org/m-GGUF"
quantization = "q2_k"
"""


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG)
    return str(path)


@pytest.mark.parametrize(
    ("ref", "key", "name"),
    [
        ("me/mine", "me/mine", "m-Q4_K_M.gguf"),
        ("ME/Mine", "me/mine", "m-Q4_K_M.gguf"),
        ("me/mine@q8_0", "me/mine@Q8_0", "m-Q8_0.gguf"),
        ("me/small", "me/small", "m-Q2_K.gguf"),
        ("me/small@Q8_0", "me/small@Q8_0", "m-Q8_0.gguf"),
        ("org/m-GGUF", "org/m-GGUF", "m-Q4_K_M.gguf"),
        ("org/m-GGUF@q8_0", "org/m-GGUF@Q8_0", "m-Q8_0.gguf"),
    ],
)
async def test_an_identifier_is_looked_up_in_the_catalog_and_then_in_the_hub(
    ref: str, key: str, name: str, served: Hub, catalog: str
) -> None:
    async with sources(served, catalog=catalog) as (known, _):
        artifact = await known.resolve(Request(ref=ref))
    assert (artifact.key, names(artifact)) == (key, [name, "mmproj-m-F16.gguf"])
    assert artifact.revision == served.repos["org/m-GGUF"].commit


@pytest.mark.parametrize(
    ("ref", "more", "kind", "sentence"),
    [
        ("org/nothing", {}, errors.ModelNotFound, "missing or private"),
        ("org/tensors", {}, errors.ModelNotFound, "holds no GGUF files"),
        ("org/tensors@Q4_K_M", {}, errors.ModelNotFound, "holds no GGUF files"),
        ("org/m-GGUF@Q5_K_M", {}, errors.ModelNotFound, "it has F16, Q2_K, Q4_K_M, Q8_0."),
        ("org/m-GGUF@a@b", {}, errors.InvalidField, "more than one @"),
        ("org/m-GGUF@", {}, errors.InvalidField, "such as Q4_K_M"),
        ("org/m--GGUF", {}, errors.InvalidField, "no identifier"),
        ("org/m-GGUF", {"quantization": "Q8_0"}, errors.InvalidField, "publisher/name@Q4_K_M"),
    ],
)
async def test_an_identifier_that_cannot_be_had_says_why(
    ref: str, more: dict[str, str], kind: type[errors.ArwdError], sentence: str, served: Hub
) -> None:
    error = await refused(served, ref, **more)
    assert type(error) is kind
    assert sentence in str(error)


async def test_a_url_has_no_quantization(served: Hub) -> None:
    error = await refused(served, f"{served.storage.url}/x.gguf", quantization="Q4_K_M")
    assert type(error) is errors.InvalidField
    artifact = await resolve(served, f"{served.storage.url}/x.gguf?signature=1", sha256="0" * 64)
    assert artifact.files == (RemoteFile(mirrors=(f"{served.storage.url}/x.gguf?signature=1",)),)
    assert served.requests == served.storage.requests == []

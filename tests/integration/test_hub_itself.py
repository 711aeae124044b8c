"""The Hub of the tests is one: the real client lists it, downloads from it, and is refused by it as by the real one."""

import asyncio
import json
import os
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import canary, hub
from tests.hub import Hub, Repo

WEIGHTS = bytes(range(256)) * 40
FILES = {
    "README.md": b"# A model",
    "config.json": b'{"model_type": "tiny"}',
    "model.safetensors": WEIGHTS,
    "tokenizer/vocab.json": b"{}",
    "tokenizer/merges.txt": b"a b\n" * 100,
}
TOKEN = canary.secret("hub")

# What every script begins with: `answer` is what it has found out, or which exception it was given.
PROLOGUE = """
import json, sys
import huggingface_hub as hub
endpoint, folder, token = sys.argv[1:4]
more = {"endpoint": endpoint, "token": token or False}
api = hub.HfApi(**more)
"""
EPILOGUE = """
try:
    found = answer()
except Exception as error:
    found = {"error": type(error).__name__, "sentence": str(error)}
json.dump(found, sys.stdout)
"""


@pytest.fixture
async def served() -> AsyncIterator[Hub]:
    async with hub.running({"org/repo": Repo(FILES)}) as started:
        yield started


async def client(served: Hub, tmp_path: Path, script: str, *, token: str = "") -> Any:
    """What the real client finds out, in a process of its own: its settings are read when it is imported."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environ |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
    body = textwrap.indent(textwrap.dedent(script), "    ")
    program = f"{PROLOGUE}\ndef answer():\n{body}\n{EPILOGUE}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, served.url, str(tmp_path / "got"), token,
        env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    return json.loads(out)


@pytest.mark.parametrize("small_files_by_cache", [False, True])
async def test_a_snapshot_is_the_repository_byte_for_byte(
    small_files_by_cache: bool, served: Hub, tmp_path: Path
) -> None:
    served.repos["org/repo"].small_files_by_cache = small_files_by_cache
    script = 'return hub.snapshot_download("org/repo", local_dir=folder, **more)'
    folder = Path(await client(served, tmp_path, script))
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    # The large file came from the storage, and the others did not.
    large = [data for data in FILES.values() if len(data) >= 100]
    assert len({seen.path for seen in served.storage.requests}) == len(large) == 2


async def test_one_file_of_one_commit(served: Hub, tmp_path: Path) -> None:
    old = served.repos["org/repo"].commit
    served.repos["org/repo"].push({"config.json": b"new"})
    script = f'return open(hub.hf_hub_download("org/repo", "config.json", revision="{old}", **more)).read()'
    assert await client(served, tmp_path, script) == FILES["config.json"].decode()


async def test_a_tree_of_several_pages_is_listed_whole(served: Hub, tmp_path: Path) -> None:
    served.page_size = 2
    script = """
    return [[type(e).__name__, e.path, getattr(e, "lfs", None) and e.lfs.sha256, getattr(e, "blob_id", "")]
            for e in api.list_repo_tree("org/repo", recursive=True)]
    """
    found = await client(served, tmp_path, script)
    assert {path for kind, path, *_ in found if kind == "RepoFile"} == set(FILES)
    assert [path for kind, path, *_ in found if kind == "RepoFolder"] == ["tokenizer"]
    assert len(served.targets(beginning="/api/models/org/repo/tree/main")) == 3
    by_path = {path: (digest, oid) for _, path, digest, oid in found}
    assert by_path["model.safetensors"][0] == hub.entry("model.safetensors", WEIGHTS, Repo({}))["lfs"]["oid"]
    assert by_path["config.json"] == (None, hub.git_oid(FILES["config.json"]))


async def test_a_folder_and_single_paths_can_be_asked_for(served: Hub, tmp_path: Path) -> None:
    script = """
    return [sorted(e.path for e in api.list_repo_tree("org/repo", "tokenizer")),
            [e.path for e in api.get_paths_info("org/repo", ["config.json", "nothing"])],
            api.model_info("org/repo").sha]
    """
    tree, paths, commit = await client(served, tmp_path, script)
    assert tree == ["tokenizer/merges.txt", "tokenizer/vocab.json"]
    assert paths == ["config.json"]
    assert commit == served.repos["org/repo"].commit


async def test_a_new_name_is_followed(served: Hub, tmp_path: Path) -> None:
    served.renamed["old/name"] = "org/repo"
    assert await client(served, tmp_path, 'return api.model_info("old/name").id') == "org/repo"
    script = 'return open(hub.hf_hub_download("old/name", "README.md", **more)).read()'
    assert await client(served, tmp_path, script) == "# A model"


DOWNLOAD = 'return hub.hf_hub_download("{}", "{}", revision="{}", **more)'


@pytest.mark.parametrize(
    ("name", "path", "revision", "token", "error"),
    [
        ("org/nothing", "config.json", "main", "", "RepositoryNotFoundError"),
        ("org/nothing", "config.json", "main", TOKEN, "RepositoryNotFoundError"),
        ("org/private", "config.json", "main", "", "RepositoryNotFoundError"),
        ("org/gated", "config.json", "main", "", "GatedRepoError"),
        ("org/gated", "config.json", "main", TOKEN, "GatedRepoError"),
        ("org/repo", "nothing.json", "main", "", "RemoteEntryNotFoundError"),
        ("org/repo", "config.json", "nowhere", "", "RevisionNotFoundError"),
    ],
)
async def test_a_refusal_is_the_exception_that_the_client_knows(
    name: str, path: str, revision: str, token: str, error: str, served: Hub, tmp_path: Path
) -> None:
    served.tokens[TOKEN] = frozenset()
    served.repos |= {"org/private": Repo(FILES, private=True), "org/gated": Repo(FILES, gated=True)}
    found = await client(served, tmp_path, DOWNLOAD.format(name, path, revision), token=token)
    assert found["error"] == error, found["sentence"]


async def test_a_token_opens_what_is_private_and_goes_to_the_hub_alone(served: Hub, tmp_path: Path) -> None:
    served.tokens[TOKEN] = frozenset({"org/private", "org/gated"})
    served.repos |= {"org/private": Repo(FILES, private=True), "org/gated": Repo(FILES, gated=True)}
    for name in ("org/private", "org/gated"):
        script = f'return len(open(hub.hf_hub_download("{name}", "model.safetensors", **more), "rb").read())'
        assert await client(served, tmp_path, script, token=TOKEN) == len(WEIGHTS)
    assert {seen.headers.get("authorization") for seen in served.requests} == {f"Bearer {TOKEN}"}
    assert served.storage.requests
    assert not [seen for seen in served.storage.requests if "authorization" in seen.headers]


async def test_a_limit_is_told_in_the_hub_s_own_words(served: Hub, tmp_path: Path) -> None:
    served.limit(55)
    found = await client(served, tmp_path, 'return api.model_info("org/repo").id')
    assert found["error"] == "HfHubHTTPError"
    assert "'api' rate limit" in found["sentence"]
    assert "55 seconds" in found["sentence"]


async def test_a_signed_link_expires_and_the_next_is_another(tmp_path: Path) -> None:
    clock = [1_000.0]
    async with hub.running({"org/repo": Repo(FILES)}, lambda: clock[0]) as served:
        served.lifetime = 30
        asked = hub.Seen("GET", "/org/repo/resolve/main/model.safetensors", {})
        first = served.answer(asked).headers["Location"]
        target = first.removeprefix(served.storage.url)
        assert served.storage.answer(hub.Seen("GET", target, {})).body == WEIGHTS
        clock[0] += 30
        assert served.storage.answer(hub.Seen("GET", target, {})).status == 403
        assert served.storage.answer(hub.Seen("GET", target.replace("expires=1", "expires=9"), {})).status == 403
        second = served.answer(asked).headers["Location"]
        assert second != first
        again = served.storage.answer(hub.Seen("GET", second.removeprefix(served.storage.url), {"range": "bytes=5-9"}))
        assert (again.status, again.body) == (206, WEIGHTS[5:10])

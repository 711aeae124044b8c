"""Models of sources, as jobs: named, pinned, verified with the source's digests."""

import hashlib
from pathlib import Path

from arwd.model import Request
from tests import hub
from tests.hub import Repo
from tests.models import SEVERAL, gguf, tree
from tests.running import daemon

WEIGHTS = gguf(b"weights" * 5_000)


async def test_a_single_file_of_a_repository_is_checked_with_the_digest_of_its_source(tmp_path: Path) -> None:
    async with (
        hub.running({"org/m-GGUF": Repo({"m-Q4_K_M.gguf": WEIGHTS, "README.md": b"# m"})}) as served,
        daemon(tmp_path, hf_endpoint=served.url) as started,
    ):
        outcome = await started.daemon.manager.submit(Request(ref="hf://org/m-GGUF:q4_k_m"))
        assert (outcome.kind, outcome.job.id, outcome.job.total) == ("accepted", "org/m-GGUF@Q4_K_M", len(WEIGHTS))
        last = await started.settled("org/m-GGUF@Q4_K_M")
        assert (last["status"], last["trust"], last["file"]) == ("complete", "source", "m-Q4_K_M.gguf")
        assert last["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
        assert (started.models / "m-Q4_K_M.gguf").read_bytes() == WEIGHTS
        assert (await started.daemon.manager.submit(Request(ref="hf://org/m-GGUF:Q4_K_M"))).kind == "have"


async def test_a_model_of_several_files_is_one_directory_and_one_job(tmp_path: Path) -> None:
    async with (
        hub.running({"org/m": Repo(SEVERAL)}) as served,
        daemon(tmp_path, hf_endpoint=served.url) as started,
    ):
        outcome = await started.daemon.manager.submit(Request(ref="hf://org/m"))
        assert (outcome.kind, outcome.job.id) == ("accepted", "org/m")
        last = await started.settled("org/m")
        assert (last["status"], last["trust"], last["file"], last["files"]) == ("complete", "source", "org--m", 5)
        assert "sha256" not in last
        assert tree(started.models / "org--m") == SEVERAL
        assert started.files() == ["org--m"]
        assert (await started.daemon.manager.submit(Request(ref="hf://org/m"))).kind == "have"

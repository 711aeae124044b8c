"""How soon a daemon is ready that finds unfinished jobs: from exec to `/readyz`, the median of a few starts.

    python benchmarks/boot.py [--starts N] [--dir DIRECTORY]

Every fifth job has a part and a control file. Their origin takes connections and answers nothing.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from arwd import events, net
from arwd.bus import ids, journal
from arwd.database import Change, Database
from arwd.jobs import facts, ledger
from arwd.model import Job, Request, new_job
from arwd.states import State
from arwd.store import control
from arwd.store.control import Prefix
from arwd.store.layout import Layout

COUNTS = (0, 100, 1_000)
PART = bytes(range(256)) * 256
_ADDRESS = re.compile(r"open (http://[^ ]+)/ in a browser")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--starts", type=int, default=5)
    arguments.add_argument("--dir", default=None, help="where to work: decides which disk is measured")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as folder, silent_origin() as url:
        for count in COUNTS:
            lived = Path(folder) / f"{count}"
            asyncio.run(leave_unfinished(lived, count, url))
            seconds = []
            for _ in range(given.starts):
                state = shutil.copytree(lived, Path(folder) / "state")
                seconds.append(start(state)[0])
                shutil.rmtree(state)
            print(f"{count:5} unfinished jobs: ready after {statistics.median(seconds):.2f} s ({given.starts} starts)")


@contextlib.contextmanager
def silent_origin() -> Iterator[str]:
    """Where the unfinished jobs are to be had from, if it ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def leave_unfinished(state_dir: Path, count: int, url: str) -> None:
    """A state directory as a kill leaves it, with so many unfinished jobs."""
    layout = Layout(state_dir)
    layout.prepare()
    database = Database(layout.database)
    changes: list[Change] = []
    first = ids.Ids(database, lambda: None).last + 1
    for number in range(count):
        job = _job(number, url)
        last = events.publishable(facts.milestone(job, "queued"), first + number)
        changes += [ledger.record(job), journal.record(last)]
        layout.secret(job.job_id).write_text(f"{url}/{number}.gguf?secret")
        if job.name is not None:
            _leave_part(layout, job)
    await database.write(*changes)
    database.close()
    layout.release()


def _job(number: int, url: str) -> Job:
    ref = f"{url}/{number}.gguf?secret"
    state = State.DOWNLOADING if number % 5 == 0 else State.QUEUED
    job = new_job(
        Request(id=f"model {number}", ref=ref),
        net.shown(ref),
        job_id=ledger.new_job_id(),
        state=state,
        now=events.now(),
    )
    if state is State.DOWNLOADING:
        return replace(job, name=f"{number}.gguf", total=10 * len(PART), downloaded=len(PART))
    return job


def _leave_part(layout: Layout, job: Job) -> None:
    assert job.name is not None
    prefix = Prefix(bytes=len(PART), sha256=hashlib.sha256(PART).hexdigest())
    known = replace(control.blank(job), synced=len(PART), prefix=prefix, size=10 * len(PART), validator='"v1"')
    control.write(layout.control_file(job.name), known)
    layout.part(job.name).write_bytes(PART)


def start(state_dir: Path) -> tuple[float, float]:
    """Seconds from exec until `/readyz` answers 200, and how many of them were work. The daemon is killed then."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "arwd", "serve", "--port", "0", "--state-dir", str(state_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_settings()) as daemon:
        try:
            assert daemon.stdout is not None
            address = _ADDRESS.search(daemon.stdout.readline().decode())
            assert address is not None, "it did not start"
            with urllib.request.urlopen(f"{address[1]}/readyz") as answer:
                assert answer.status == 200
            used = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
            return time.monotonic() - begin, sum(map(int, used)) / os.sysconf("SC_CLK_TCK")
        finally:
            daemon.kill()


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("ARWD_", "ARW_"))}


if __name__ == "__main__":
    main()

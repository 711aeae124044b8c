"""A daemon with a thousand unfinished jobs starts as others do."""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import backlog, processes

JOBS, PARTS = 1_000, 200
SOON = 10.0
"""Seconds: five times what is promised, for machines that have other things to do."""


@pytest.fixture
def silent() -> Iterator[str]:
    """An origin that lets everybody in and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_a_thousand_unfinished_jobs_are_there_in_no_time(tmp_path: Path, silent: str) -> None:
    head = await backlog.fill(tmp_path / "state", silent, jobs=JOBS, parts=PARTS)
    begin = time.monotonic()
    async with processes.child(tmp_path / "state") as daemon:
        assert (await daemon.call("GET", "/readyz"))[0] == 200
        seconds = time.monotonic() - begin
        print(f"ready after {seconds:.2f} s")
        assert seconds < SOON
        _, body = await daemon.call("GET", "/models/jobs")
        async with daemon.events("after=0&prefix=Service.Start") as stream:
            start = (await stream.until(lambda message: message.event == "Service.Start"))[-1]
    listed = body["jobs"]
    assert [job["job_id"] for job in listed] == [f"job_{number:010x}" for number in range(JOBS)]
    assert Counter(job["status"] for job in listed) == {"paused": 250, "queued": 747, "downloading": 3}
    assert body["last_event_id"] >= int(start.id) > head
    parts = [path.stem for path in daemon.models.glob("*.part")]
    assert len(parts) == PARTS

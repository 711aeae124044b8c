"""Whatever a server does to status, head, framing and content: the file in the end is one that was served.

The long form is in tests/torture. A failure prints its seed; ARWD_TEST_SEED=<seed> does that one again.
"""

import os
import random
from pathlib import Path

import pytest

from tests import mutating, running
from tests.mutating import Act, Course, Outcome, follow
from tests.running import Running

RUNS = 500
AT_ONCE = 24


async def outcomes_of(state_dir: Path, runs: int) -> list[Outcome]:
    """So many courses through one daemon."""
    base = f"{random.randrange(2**32):08x}"
    given = os.environ.get("ARWD_TEST_SEED")
    seeds = [given] if given else [f"{base}-{number}" for number in range(runs)]
    print(f"{len(seeds)} courses from {seeds[0]}")
    async with running.daemon(state_dir, max_jobs=AT_ONCE, stall_timeout=5) as daemon:
        return await mutating.follow_many(daemon, seeds, AT_ONCE)


def judge(outcomes: list[Outcome]) -> None:
    """Nothing is wrong but what nobody could have known; and say how often that was."""
    faults = [outcome for outcome in outcomes if outcome.fault is not None]
    mixed = [outcome for outcome in outcomes if outcome.is_mixed]
    excused = [outcome for outcome in outcomes if outcome.is_excused]
    complete = [outcome for outcome in outcomes if outcome.last["status"] == "complete"]
    print(
        f"{len(outcomes)} courses, {len(complete)} complete; content changed under an unchanged validator, without a "
        f"digest, in {len(excused)}, and {len(mixed)} files of those are mixed"
    )
    for fault in faults:
        print(fault)
    assert [fault.course.seed for fault in faults] == []
    assert set(map(id, mixed)) <= set(map(id, excused))


@pytest.mark.timeout(240)
async def test_the_file_is_one_version_that_was_served(tmp_path: Path) -> None:
    judge(await outcomes_of(tmp_path, RUNS))


def course(*acts: Act, digest_of: str) -> Course:
    """A course of one's own making."""
    made = Course("made")
    made.style, made.digest_of = "etag", digest_of
    made.acts = list(acts)
    made.prepare()
    while len(made.first) != len(made.last):  # by its size it would be told
        made.prepare()
    return made


SILENT = (Act("cut", 0.5, 1, ""), Act("honest", 0.0, 1, "silent"))
OPEN = (Act("cut", 0.5, 1, ""), Act("blind", 0.0, 1, "new"))


async def test_content_that_changed_in_silence_is_counted_apart(daemon: Running) -> None:
    outcome = await follow(daemon, course(*SILENT, digest_of="none"))
    assert outcome.is_mixed
    assert outcome.is_excused
    assert outcome.fault is None


async def test_a_digest_leaves_nothing_undetected(daemon: Running) -> None:
    outcome = await follow(daemon, course(*SILENT, digest_of="last"))
    assert outcome.file == outcome.course.last
    assert outcome.fault is None


async def test_content_that_changed_with_its_validator_is_no_excuse(daemon: Running) -> None:
    outcome = await follow(daemon, course(*OPEN, digest_of="none"))
    assert (outcome.is_mixed, outcome.is_excused) == (False, False)
    mixed = outcome.course.first[:1_000] + outcome.course.last[1_000:]
    assert Outcome(outcome.course, outcome.last, mixed).fault == "the file is not one that was served"

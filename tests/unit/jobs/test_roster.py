"""Which jobs there are, and which of them stands for its id."""

from typing import Any

import pytest

from arwd.jobs.roster import Roster
from arwd.model import Job
from arwd.states import State
from tests.unit import samples


class Worker:
    """As much of a worker as the roster looks at."""

    def __init__(self, job: Job) -> None:
        self.job = job


def worker(job_id: str, model_id: str = "m") -> Any:
    return Worker(samples.job(job_id=job_id, id=model_id))


def final(job_id: str, model_id: str = "m", state: State = State.COMPLETED) -> Job:
    return samples.job(job_id=job_id, id=model_id, state=state)


@pytest.fixture
def roster() -> Roster:
    return Roster(3)


def test_an_empty_roster_knows_nobody(roster: Roster) -> None:
    assert (roster.get("j"), roster.newest("m"), roster.worker("m"), roster.workers) == (None, None, None, [])
    assert list(roster) == []


def test_an_unfinished_job_is_found_by_its_job_id_and_by_its_model(roster: Roster) -> None:
    employed = worker("j1")
    roster.employ(employed)
    assert roster.get("j1") is roster.newest("m") is employed.job
    assert roster.worker("m") is employed
    assert list(roster) == [(employed.job, employed)]


def test_what_a_worker_s_job_is_now_counts(roster: Roster) -> None:
    employed = worker("j1")
    roster.employ(employed)
    employed.job = samples.job(job_id="j1", state=State.PAUSED)
    assert roster.get("j1") is employed.job


def test_a_final_job_has_no_worker_and_stays_the_newest(roster: Roster) -> None:
    roster.employ(worker("j1"))
    done = final("j1")
    assert roster.keep(done) == []
    assert (roster.get("j1"), roster.newest("m"), roster.worker("m"), roster.workers) == (done, done, None, [])


def test_a_new_job_of_the_same_model_is_the_newest_and_the_old_one_is_kept(roster: Roster) -> None:
    old = final("j1")
    roster.keep(old)
    employed = worker("j2")
    roster.employ(employed)
    assert roster.newest("m") is employed.job
    assert roster.get("j1") is old


def test_an_earlier_job_that_is_kept_later_does_not_become_the_newest(roster: Roster) -> None:
    roster.employ(worker("j2"))
    roster.keep(final("j1"))
    newest = roster.newest("m")
    assert newest is not None
    assert newest.job_id == "j2"


def test_a_job_can_be_made_the_newest(roster: Roster) -> None:
    roster.keep(final("j1"))
    roster.keep(final("j2"))
    roster.make_newest(final("j2"))
    newest = roster.newest("m")
    assert newest is not None
    assert newest.job_id == "j2"


def test_beyond_the_limit_the_oldest_final_jobs_are_let_go(roster: Roster) -> None:
    jobs = [final(f"j{number}", model_id=f"m{number}") for number in range(5)]
    gone = [old for job in jobs for old in roster.keep(job)]
    assert gone == jobs[:2]
    assert [job for job, _ in roster] == jobs[2:]
    assert roster.newest("m0") is None
    assert roster.get("j0") is None


def test_letting_an_old_job_go_leaves_the_newest_of_its_model(roster: Roster) -> None:
    roster.keep(final("j0"))
    roster.employ(worker("j1"))
    for number in range(3):
        roster.keep(final(f"other{number}", model_id=f"other{number}"))
    newest = roster.newest("m")
    assert newest is not None
    assert newest.job_id == "j1"


def test_unfinished_jobs_are_never_let_go(roster: Roster) -> None:
    for number in range(10):
        roster.employ(worker(f"j{number}", f"m{number}"))
    assert len(roster.workers) == 10


def test_keeping_a_job_again_replaces_its_record(roster: Roster) -> None:
    roster.keep(final("j1", state=State.FAILED))
    again = samples.job(job_id="j1", state=State.FAILED, name=None, error="x")
    assert roster.keep(again) == []
    assert list(roster) == [(again, None)]


def test_a_job_that_was_never_recorded_is_as_if_it_had_not_been(roster: Roster) -> None:
    employed = worker("j1")
    roster.employ(employed)
    roster.dismiss(employed)
    assert (roster.get("j1"), roster.newest("m"), roster.workers) == (None, None, [])


def test_the_job_before_one_that_was_never_recorded_stands_for_its_id_again(roster: Roster) -> None:
    failed = final("j1", state=State.FAILED)
    roster.keep(failed)
    employed = worker("j2")
    roster.employ(employed)
    roster.dismiss(employed)
    assert roster.newest("m") is failed


def test_final_jobs_come_first_and_then_the_unfinished_in_the_order_they_came(roster: Roster) -> None:
    roster.employ(worker("j1", "a"))
    roster.employ(worker("j2", "b"))
    roster.keep(final("j0", "c"))
    assert [job.job_id for job, _ in roster] == ["j0", "j1", "j2"]

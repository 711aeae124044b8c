"""Every row of the contract's table "Meaning of a POST for an id"."""

import pytest

from arwd.jobs.admission import (
    Accept,
    AwaitCancel,
    Current,
    Decision,
    Elsewhere,
    GoOn,
    Have,
    Join,
    Refuse,
    Wanted,
    decide,
)
from arwd.model import Artifact, Job, Model, RemoteFile, Request
from arwd.states import TERMINAL, State
from tests.unit.samples import DIGEST, OTHER_DIGEST, URL, job, model, request

SIGNED = f"{URL}?sig=1"
SIGNED_ANEW = f"{URL}?sig=2"
ELSEWHERE = "https://elsewhere.example/other.gguf"
RUNNING = [State.QUEUED, State.DOWNLOADING, State.VERIFYING]


def decided(
    asked: Request,
    *,
    current: Job | None = None,
    url: str = URL,
    is_canceling: bool = False,
    there: Model | None = None,
    is_unchanged: bool = True,
    holder: Model | None = None,
    fetching: str | None = None,
) -> Decision:
    known = None if current is None else Current(job=current, url=url, is_canceling=is_canceling)
    shown = asked.ref.partition("?")[0]
    return decide(
        Wanted(request=asked, artifact=Artifact(url=shown, files=(RemoteFile(mirrors=(asked.ref,)),))),
        current=known,
        model=there,
        is_unchanged=is_unchanged and there is not None,
        elsewhere=Elsewhere(holder=holder, fetching=fetching),
    )


def test_where_nothing_is_a_job_begins() -> None:
    assert decided(request()) == Accept()


# What was asked before (full URL, digest), what is asked now, and whether that is the same.
SAME = [
    ((URL, None), (URL, None), True),
    ((URL, DIGEST), (URL, DIGEST), True),
    ((URL, DIGEST), (ELSEWHERE, DIGEST), True),
    ((SIGNED, DIGEST), (SIGNED_ANEW, DIGEST), True),
    ((SIGNED, None), (SIGNED_ANEW, None), False),
    ((URL, None), (ELSEWHERE, None), False),
    ((URL, DIGEST), (URL, OTHER_DIGEST), False),
    ((URL, DIGEST), (URL, None), False),
    ((URL, None), (URL, DIGEST), False),
]


@pytest.mark.parametrize("state", [*RUNNING, State.PAUSED])
@pytest.mark.parametrize(("before", "now", "is_same"), SAME)
def test_beside_an_unfinished_job_only_the_same_is_taken(
    state: State, before: tuple[str, str | None], now: tuple[str, str | None], is_same: bool
) -> None:
    asked = request(ref=now[0], sha256=now[1])
    found = decided(asked, current=job(state=state, sha256=before[1]), url=before[0])
    if is_same:
        assert found == (GoOn() if state is State.PAUSED else Join())
    else:
        assert isinstance(found, Refuse)
        assert (found.error.code, found.error.status) == ("id_in_use", 409)


def test_a_refusal_says_what_to_do_and_no_secret() -> None:
    found = decided(request(ref=SIGNED_ANEW), current=job(state=State.DOWNLOADING), url=SIGNED)
    assert isinstance(found, Refuse)
    assert "sig" not in str(found.error)
    assert "Cancel that one first" in str(found.error)


@pytest.mark.parametrize("state", [*RUNNING, State.PAUSED])
@pytest.mark.parametrize("ref", [URL, ELSEWHERE])
def test_beside_a_job_that_is_being_canceled_everyone_waits(state: State, ref: str) -> None:
    assert decided(request(ref=ref), current=job(state=state), is_canceling=True) == AwaitCancel()


def test_an_unfinished_job_counts_more_than_a_finished_model() -> None:
    asked = request(sha256=DIGEST)
    found = decided(asked, current=job(state=State.DOWNLOADING, sha256=DIGEST), there=model(sha256=DIGEST))
    assert found == Join()


@pytest.mark.parametrize("before", [None, *TERMINAL])
@pytest.mark.parametrize("ref", [URL, ELSEWHERE])
def test_a_finished_unchanged_file_of_the_digest_asked_for_is_had(before: State | None, ref: str) -> None:
    current = None if before is None else job(state=before, name="m.gguf")
    found = decided(request(ref=ref, sha256=DIGEST), current=current, there=model(sha256=DIGEST))
    assert found == Have(model=model(sha256=DIGEST))


@pytest.mark.parametrize(
    ("asked", "is_unchanged"),
    [
        (request(sha256=OTHER_DIGEST), True),
        (request(ref=ELSEWHERE), True),
        (request(sha256=DIGEST), False),
        (request(), False),
    ],
)
def test_any_other_request_for_a_finished_model_fetches_anew(asked: Request, is_unchanged: bool) -> None:
    found = decided(asked, current=job(state=State.COMPLETED), there=model(sha256=DIGEST), is_unchanged=is_unchanged)
    assert found == Accept()


# After a failure: what was asked for then, what is asked now, and whether the part may be taken over.
TAKEN_OVER = [
    ((URL, None), (URL, None), True),
    ((SIGNED, None), (SIGNED_ANEW, None), True),
    ((URL, None), (ELSEWHERE, None), False),
    ((URL, DIGEST), (ELSEWHERE, DIGEST), True),
    ((URL, None), (ELSEWHERE, DIGEST), True),
    ((URL, None), (URL, DIGEST), True),
    ((URL, DIGEST), (ELSEWHERE, OTHER_DIGEST), False),
    ((URL, DIGEST), (ELSEWHERE, None), False),
    ((URL, DIGEST), (URL, DIGEST), True),
    ((URL, DIGEST), (SIGNED_ANEW, None), True),
]


@pytest.mark.parametrize(("before", "now", "is_taken_over"), TAKEN_OVER)
def test_after_a_failure_the_part_is_taken_over_where_its_bytes_may_be_the_same(
    before: tuple[str, str | None], now: tuple[str, str | None], is_taken_over: bool
) -> None:
    failed = job(state=State.FAILED, url=before[0].partition("?")[0], sha256=before[1], name="m.gguf")
    found = decided(request(ref=now[0], sha256=now[1]), current=failed, url=failed.url)
    assert found == Accept(part_name="m.gguf" if is_taken_over else None)


def test_a_failure_before_the_name_was_settled_left_no_part() -> None:
    assert decided(request(), current=job(state=State.FAILED, name=None)) == Accept()


@pytest.mark.parametrize(
    ("before", "now", "part_name"),
    [
        (None, "new.gguf", None),
        ("old.gguf", "new.gguf", None),
        ("same.gguf", "same.gguf", "m.gguf"),
        ("old.gguf", None, "m.gguf"),
    ],
)
def test_a_part_under_another_name_than_the_one_asked_for_is_of_no_use(
    before: str | None, now: str | None, part_name: str | None
) -> None:
    failed = job(state=State.FAILED, filename=before, name="m.gguf")
    assert decided(request(filename=now), current=failed) == Accept(part_name=part_name)


@pytest.mark.parametrize("state", [State.CANCELED, State.COMPLETED])
def test_after_a_cancel_or_a_missing_file_a_job_begins_from_nothing(state: State) -> None:
    assert decided(request(sha256=DIGEST), current=job(state=state, name="m.gguf", sha256=DIGEST)) == Accept()

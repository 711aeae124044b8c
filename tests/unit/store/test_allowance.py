"""What fits is decided from figures alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd.errors import DiskFull, QuotaExceeded, SizeLimit
from arwd.store import allowance
from arwd.store.allowance import STEP, Limits, Room

NONE = Limits()
MIB = 1 << 20

amounts = st.integers(0, 1 << 50)


def room(free: int, reserve: int = 0, promised: int = 0, used: int = 0) -> Room:
    return Room(free=free, reserve=reserve, promised=promised, used=used)


@pytest.mark.parametrize(
    ("size", "written", "expected"),
    [(100, 0, 100), (100, 40, 60), (100, 100, 0), (100, 140, 0), (0, 0, 0), (None, 0, STEP), (None, 10**12, STEP)],
)
def test_what_is_still_to_come(size: int | None, written: int, expected: int) -> None:
    assert allowance.remaining(size, written) == expected


@pytest.mark.parametrize(
    ("needed", "there", "expected"),
    [
        (100, room(100), None),
        (100, room(99), DiskFull),
        (100, room(150, reserve=50), None),
        (100, room(149, reserve=50), DiskFull),
        (100, room(250, reserve=50, promised=100), None),
        (100, room(249, reserve=50, promised=100), DiskFull),
        (0, room(50, reserve=50), None),
        (0, room(49, reserve=50), DiskFull),
        (1, room(0), DiskFull),
    ],
)
def test_a_file_fits_if_what_remains_is_free_beside_the_reserve_and_all_promises(
    needed: int, there: Room, expected: type[Exception] | None
) -> None:
    error = allowance.refusal(1_000, needed, there, NONE)
    assert (None if error is None else type(error)) is expected


@pytest.mark.parametrize(
    ("size", "needed", "there", "limits", "expected"),
    [
        (100, 100, room(10**9), Limits(max_file_size=100), None),
        (101, 101, room(10**9), Limits(max_file_size=100), SizeLimit),
        (101, 1, room(10**9), Limits(max_file_size=100), SizeLimit),
        (101, 101, room(0), Limits(max_file_size=100), SizeLimit),
        (None, STEP, room(10**9), Limits(max_file_size=100), None),
        (100, 100, room(10**9, used=900), Limits(quota=1_000), None),
        (100, 100, room(10**9, used=901), Limits(quota=1_000), QuotaExceeded),
        (100, 100, room(10**9, used=800, promised=100), Limits(quota=1_000), None),
        (100, 100, room(10**9, used=800, promised=101), Limits(quota=1_000), QuotaExceeded),
        (100, 100, room(0, used=901), Limits(quota=1_000), QuotaExceeded),
        (None, STEP, room(10**9, used=1), Limits(quota=STEP), QuotaExceeded),
    ],
)
def test_a_limit_that_waiting_does_not_change_comes_before_the_disk(
    size: int | None, needed: int, there: Room, limits: Limits, expected: type[Exception] | None
) -> None:
    error = allowance.refusal(size, needed, there, limits)
    assert (None if error is None else type(error)) is expected


def test_a_refusal_says_how_much_is_needed_and_how_much_is_there() -> None:
    full = allowance.refusal(100, 80, room(300, reserve=200, promised=70), NONE)
    assert str(full) == (
        "80 bytes more are needed, but of the 300 that are free on the disk 200 are left alone (reserve) and 70 are "
        "promised to other jobs. The job goes on when there is room."
    )
    over = allowance.refusal(100, 80, room(300, used=30, promised=70), Limits(quota=150))
    assert all(figure in str(over) for figure in ("80 bytes", "30", "70", "150"))
    large = allowance.too_large(11, Limits(max_file_size=10))
    assert all(figure in str(large) for figure in ("11 bytes", "10"))


@pytest.mark.parametrize(
    ("needed", "spare", "expected"),
    [(5 * MIB, 5 * MIB, True), (5 * MIB, 5 * MIB - 1, False), (0, MIB, True), (0, MIB - 1, False), (0, 0, False)],
)
def test_a_waiting_job_goes_on_when_what_remains_fits_and_its_records_too(
    needed: int, spare: int, expected: bool
) -> None:
    assert allowance.may_go_on(needed, room(spare)) is expected


@given(needed=amounts, free=amounts, reserve=amounts, promised=amounts)
def test_whoever_may_go_on_is_not_refused(needed: int, free: int, reserve: int, promised: int) -> None:
    there = room(free, reserve, promised)
    if allowance.may_go_on(needed, there):
        assert allowance.refusal(needed, needed, there, NONE) is None


def test_a_known_size_needs_no_closer_look() -> None:
    assert allowance.stride(100, room(0), NONE) is None


@given(spare=st.integers(STEP, 1 << 40), files=st.integers(1, 8))
def test_files_of_unknown_size_look_again_before_they_have_used_up_the_room(spare: int, files: int) -> None:
    stride = allowance.stride(None, room(spare), NONE)
    assert stride is not None
    in_memory = MIB
    others = (files - 1) * STEP
    if spare >= others + STEP:
        assert stride + in_memory <= STEP or stride * files <= spare


def test_a_quota_brings_the_next_look_nearer() -> None:
    far = allowance.stride(None, room(1 << 40), NONE)
    near = allowance.stride(None, room(1 << 40, used=60 * MIB), Limits(quota=100 * MIB))
    assert far is not None
    assert near == 5 * MIB < far

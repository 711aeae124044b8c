"""A structured field follows its grammar, or it says nothing."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arwd.net.fields import limited_for, members


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("a=1", [("a", "1", {})]),
        (" a=1 ,\tb=?0 ", [("a", "1", {}), ("b", "?0", {})]),
        ("a=:AA==:;x=1; y;Z=tok", [("a", ":AA==:", {"x": "1", "y": "?1", "z": "tok"})]),
        ('"api";r=0;t=55', [("", '"api"', {"r": "0", "t": "55"})]),
        (r'"a,b;\"c\\"', [("", r'"a,b;\"c\\"', {})]),
        ("A=1, a=2", [("a", "1", {}), ("a", "2", {})]),
        ("a;x=1;x=2", [("", "a", {"x": "2"})]),
        ("-1.5, text/plain", [("", "-1.5", {}), ("", "text/plain", {})]),
        ("", []),
        (" ", []),
        ("a=1,", []),
        (",a=1", []),
        ("a=1,,b=2", []),
        ("a=1 b=2", []),
        ("a =1", []),
        ("a= 1", []),
        ("a=1 ;x=2", []),
        ("a=:A*:", []),
        ("a=:AA", []),
        ('"open', []),
        (r'"\n"', []),
        ("ü", []),
        ("a=1\n", []),
        ("a=1;", []),
        ("a=(1 2)", []),
        ("9" * 16, []),
    ],
)
def test_members_are_told_apart_and_one_broken_rule_breaks_the_field(
    field: str, found: list[tuple[str, str, dict[str, str]]]
) -> None:
    assert [(member.key, member.value, member.parameters) for member in members(field)] == found


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ('"api";r=0;t=55', 56),
        ('"api"; r=0; t=55', 56),
        ('"api";t=55;r=0', 56),
        ('"api";r=0;t=0', 1),
        ("api;r=0;t=55", 56),
        ('"api";r=0;t=55, "pages";r=0;t=90', 91),
        ('"api";r=0;t=9, "pages";r=7;t=90', 10),
        ('"api";r=7;t=55', None),
        ('"api";r=10;t=55', None),
        ('"api";r=0', None),
        ('"api";r=0, "pages";r=7;t=90', None),
        ('"r=0;t=55"', None),
        ('"api";r=0;t=-5', None),
        ('"api";r=0;t=1.5', None),
        ('"api";r=0;t=1000000', None),
        ('"api";r=0;t=' + "9" * 40, None),
        ('"api";r=0;t=55, ', None),
        ("limit=100, remaining=0, reset=55", None),
        ("0", None),
        ("", None),
    ],
)
def test_only_a_quota_that_is_used_up_says_how_long_to_wait(field: str, seconds: int | None) -> None:
    assert limited_for(field) == seconds


PIECES = st.sampled_from(
    ['"', "\\", ":", "=", ";", ",", " ", "\t", "r", "t", "0", "5", "-", ".", "?1", '"api"', "A", "ü"]
)


@given(st.lists(PIECES, max_size=20).map("".join) | st.text(max_size=30))
@example('"";r=0;t=5')
def test_no_field_breaks_the_reader(field: str) -> None:
    written = ", ".join(
        (f"{member.key}=" if member.key else "")
        + member.value
        + "".join(f";{key}={value}" for key, value in member.parameters.items())
        for member in members(field)
    )
    assert members(written) == members(field)
    seconds = limited_for(field)
    assert seconds is None or 1 <= seconds <= 1_000_000


@pytest.mark.parametrize(
    "piece", ["a;", "a=a", "a;a=a", '"', '"\\"', "a,", "a=1,", ";a", "; ", ":", "a", "9", " ", "a=1; "]
)
def test_no_field_takes_long(piece: str) -> None:
    started = time.process_time()
    members(piece * 4_000)
    members(f"a;{piece * 4_000}")
    assert time.process_time() - started < 1.0

"""What the fields of a head say: one meaning, or none, and never a fault."""

from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arwd.transfer.head import (
    ContentRange,
    Head,
    content_length,
    content_range,
    is_encoded,
    retry_after,
    strong_validator,
    suggested_name,
    unsatisfied_size,
)

OLD = "Wed, 01 Jan 2025 00:00:00 GMT"
MINUTE_LATER = "Wed, 01 Jan 2025 00:01:00 GMT"
SOON = "Wed, 01 Jan 2025 00:00:59 GMT"
NOW = 1_735_689_600.0
"""OLD, as Unix time."""
MOST = 10**18
"""Bytes. No file and no disk is longer."""


def head(headers: Mapping[str, str], now: float = NOW) -> Head:
    return Head(url="https://h.example/m.gguf", status=200, headers=headers, now=now)


@pytest.mark.parametrize(
    ("field", "meaning"),
    [
        ("bytes 0-9/10", (0, 9, 10)),
        ("bytes 4-9/10", (4, 9, 10)),
        ("bytes 4-4/*", (4, 4, None)),
        ("bytes 4-8/10", (4, 8, 10)),
        ("bytes 4-10/10", None),
        ("bytes 9-4/10", None),
        ("bytes */10", None),
        ("bytes 4-9/10, bytes 4-9/10", None),
        ("bytes=4-9/10", None),
        ("bytes 4-9", None),
        ("bytes -4-9/10", None),
        ("bytes 4 - 9 / 10", None),
        ("Bytes 4-9/10", None),
        ("items 4-9/10", None),
        ("bytes ٤-٩/١٠", None),
        (f"bytes 0-9/{10**18}", None),
        ("", None),
    ],
)
def test_a_range_is_said_once_in_bytes_and_without_contradiction(
    field: str, meaning: tuple[int, int, int | None] | None
) -> None:
    given = content_range(head({"content-range": field}))
    assert (None if given is None else (given.first, given.last, given.size)) == meaning


RANGES = st.from_regex(r"(bytes|items)? ?-?[0-9]{0,20}-[0-9]{0,20}/([0-9]{0,20}|\*)", fullmatch=True) | st.text(
    max_size=30
)


@given(RANGES)
@example("bytes 0-0/1")
def test_no_content_range_is_absurd(field: str) -> None:
    given = content_range(head({"content-range": field}))
    if given is not None:
        assert 0 <= given.first <= given.last < MOST
        assert given.size is None or given.last < given.size < MOST
        said = f"bytes {given.first}-{given.last}/{'*' if given.size is None else given.size}"
        assert content_range(head({"content-range": said})) == given
    assert content_range(head({})) is None


def test_a_range_without_a_size_is_one_with_none() -> None:
    assert content_range(head({"content-range": "bytes 0-0/*"})) == ContentRange(first=0, last=0, size=None)


@given(RANGES | st.integers(0, 10**20).map("bytes */{}".format))
def test_no_size_of_an_unsatisfied_range_is_absurd(field: str) -> None:
    size = unsatisfied_size(head({"content-range": field}))
    assert size is None or 0 <= size < MOST


@given(st.integers(-(10**20), 10**20).map(str) | st.text("0123456789+-_., e٣", max_size=24) | st.text(max_size=12))
@example("1_000")
@example(" 10 ")
def test_a_content_length_is_a_number_or_no_length_at_all(field: str) -> None:
    try:
        length = content_length(head({"content-length": field}))
    except ValueError:
        assert not (field.isascii() and field.isdigit() and len(field) <= 18)
    else:
        assert length is not None
        assert 0 <= length < MOST
        assert str(length) == (field.strip().lstrip("0") or "0")


def test_without_a_content_length_none_is_said() -> None:
    assert content_length(head({})) is None


@pytest.mark.parametrize(
    ("field", "date", "seconds"),
    [
        ("0", None, 0.0),
        ("120", None, 120.0),
        (" 120 ", None, 120.0),
        ("1" + "0" * 12, None, 10.0**12),
        (MINUTE_LATER, None, 60.0),
        (MINUTE_LATER, OLD, 60.0),
        (MINUTE_LATER, SOON, 1.0),
        (MINUTE_LATER, "yesterday", 60.0),
        (MINUTE_LATER.removesuffix("GMT") + "-0000", None, 60.0),
        ("Wednesday, 01-Jan-25 00:01:00 GMT", None, 60.0),
        ("Wed Jan  1 00:01:00 2025", None, 60.0),
        (OLD, MINUTE_LATER, 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None, 0.0),
        ("-5", None, None),
        ("1.5", None, None),
        ("1, 5", None, None),
        ("1e3", None, None),
        ("٣", None, None),
        ("soon", None, None),
        ("", None, None),
        ("9" * 19, None, None),
    ],
)
def test_a_wish_to_be_left_alone_comes_in_two_forms(field: str, date: str | None, seconds: float | None) -> None:
    headers = {"retry-after": field} | ({} if date is None else {"date": date})
    assert retry_after(head(headers)) == seconds


def test_without_a_wish_there_is_none() -> None:
    assert retry_after(head({"date": OLD})) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"ratelimit": '"api";r=0;t=55'}, 56.0),
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "5"}, 5.0),
        ({"ratelimit": '"api";r=0;t=55', "retry-after": MINUTE_LATER}, 60.0),
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "soon"}, 56.0),
        ({"ratelimit": '"api";r=7;t=55'}, None),
        ({"ratelimit": "what?"}, None),
    ],
)
def test_a_quota_that_is_used_up_is_a_wish_where_none_is_said(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(head(headers)) == seconds


@pytest.mark.parametrize(
    ("field", "answer"), [("gzip", True), ("identity", False), (" Identity ", False), ("", False), (None, False)]
)
def test_a_body_is_encoded_where_it_says_so(field: str | None, answer: bool) -> None:
    assert is_encoded(head({} if field is None else {"content-encoding": field})) is answer


DATES = st.datetimes().map("{:%a, %d %b %Y %H:%M:%S GMT}".format) | st.from_regex(
    r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,6} [0-9]{1,3}:[0-9]{2}(:[0-9]{2})?( [A-Z+-]{1,4}[0-9]{0,6})?",
    fullmatch=True,
)


@given(st.integers(-(10**20), 10**20).map(str) | DATES | st.text(max_size=30), st.none() | DATES | st.text(max_size=12))
@example("Mon, 01 Jan 0001 00:00:00 +2359", None)
@example("Fri, 31 Dec 9999 23:59:59 -2359", None)
@example("1 Jan 2025 00:00:00 +9999999999", None)
def test_no_wish_is_negative_or_endless(field: str, date: str | None) -> None:
    headers = {"retry-after": field} | ({} if date is None else {"date": date})
    seconds = retry_after(head(headers))
    assert seconds is None or 0.0 <= seconds < MOST


@given(DATES | st.text(max_size=30), DATES | st.text(max_size=30))
def test_no_date_breaks_the_search_for_a_validator(modified: str, date: str) -> None:
    validator = strong_validator(head({"last-modified": modified, "date": date}))
    assert validator in (None, modified)


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({}, None),
        ({"etag": '"v1"'}, '"v1"'),
        ({"etag": '""'}, '""'),
        ({"etag": 'W/"v1"'}, None),
        ({"etag": "v1"}, None),
        ({"etag": '"v1", "v2"'}, None),
        ({"etag": '"v 1"'}, None),
        ({"etag": '"v1\r\nX: y"'}, None),
        ({"last-modified": OLD, "date": MINUTE_LATER}, OLD),
        ({"last-modified": OLD, "date": SOON}, None),
        ({"last-modified": OLD, "date": OLD}, None),
        ({"last-modified": MINUTE_LATER, "date": OLD}, None),
        ({"last-modified": OLD}, None),
        ({"last-modified": "Thu, 01 Jan 1970 00:00:00 GMT", "date": OLD}, None),
        ({"last-modified": "yesterday", "date": MINUTE_LATER}, None),
        ({"last-modified": OLD, "date": "now"}, None),
        ({"etag": 'W/"v1"', "last-modified": OLD, "date": MINUTE_LATER}, OLD),
        ({"etag": '"v1"', "last-modified": OLD, "date": MINUTE_LATER}, '"v1"'),
    ],
)
def test_only_what_is_strong_may_stand_in_if_range(headers: dict[str, str], validator: str | None) -> None:
    assert strong_validator(head(headers)) == validator


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, None),
        ("", None),
        ("attachment", None),
        ("attachment; filename=m.gguf", "m.gguf"),
        ('attachment; filename="m.gguf"', "m.gguf"),
        ('ATTACHMENT; FILENAME="m.gguf"', "m.gguf"),
        ('inline; filename="a b;c.gguf"', "a b;c.gguf"),
        ('attachment; filename="a\\"b.gguf"', 'a"b.gguf'),
        ('attachment; filename=""', None),
        ("attachment; filename*=UTF-8''m%C3%BC.gguf", "mü.gguf"),
        ("attachment; filename*=utf-8'en'%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename*=utf-8''%e2%82%ac%20rates; filename=\"EURO rates\"", "€ rates"),
        ("attachment; filename*=iso-8859-1''%A3.gguf", "£.gguf"),
        ('attachment; name="x"; filename="m.gguf"', "m.gguf"),
    ],
)
def test_the_name_that_the_server_suggests_is_the_extended_one_before_the_plain_one(
    header: str | None, name: str | None
) -> None:
    headers = {} if header is None else {"content-disposition": header}
    assert suggested_name(head(headers)) == name


PIECES = st.sampled_from(
    [
        "attachment",
        "; ",
        "filename",
        "*",
        "=",
        '"',
        "'",
        "utf-8''",
        "%",
        "%zz",
        "%C3",
        "0",
        "*1",
        "m.gguf",
        "\\",
        ",",
        "\r\n ",
        "é",
        "\udcff",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=30))
def test_no_content_disposition_breaks_the_transfer(header: str) -> None:
    name = suggested_name(head({"content-disposition": header}))
    assert name is None or name

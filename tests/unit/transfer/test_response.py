"""What a response is good for, by a table: no byte of a body is taken before this has been decided."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arwd import errors
from arwd.transfer.head import Head
from arwd.transfer.response import (
    PRECIOUS,
    Asked,
    Doubt,
    Refuse,
    Restart,
    Unchanged,
    Verdict,
    Whole,
    Write,
    judge,
    refusal,
)

URL = "https://h.example/m.gguf"
OLD = "Wed, 01 Jan 2025 00:00:00 GMT"


def head(status: int, **headers: str) -> Head:
    return Head(
        url=URL, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, now=0.0
    )


def write(start: int, length: int | None, size: int | None, **more: Any) -> Write:
    known = {"validator": None, "length_known": True}
    return Write(start=start, length=length, size=size, **(known | more))


FRESH = Asked()
RESUMED = Asked(offset=4, validator='"v1"', size=10)
BARE = Asked(offset=4)
CURRENT = Asked(unless='"v1"')
PROMISED = Asked(expected=10)
MUCH = Asked(offset=PRECIOUS, validator='"v1"', size=PRECIOUS + 6)
SURE = Asked(offset=PRECIOUS, validator='"v1"', size=PRECIOUS + 6, is_second_time=True)


@dataclasses.dataclass
class Row:
    asked: Asked
    head: Head
    verdict: Verdict | str
    """A string is the code of a refusal."""


DATED = Asked(offset=4, validator="Wed, 01 Jan 2020 00:00:00 GMT", size=10)


def rest(**headers: str) -> Head:
    return head(206, content_range="bytes 4-9/10", content_length="6", **headers)


ROWS = {
    # 206: what can prove no equality may still prove a difference.
    "rest, of a weak version": Row(RESUMED, rest(etag='W/"v2"'), Restart(code="upstream_changed")),
    "rest, perhaps of this version": Row(RESUMED, rest(etag='W/"v1"'), Restart(code="upstream_changed")),
    "rest, of a version without quotes": Row(RESUMED, rest(etag="v2"), Restart(code="upstream_changed")),
    "rest, changed a moment ago": Row(
        DATED,
        rest(last_modified="Thu, 26 Nov 2026 12:00:00 GMT", date="Thu, 26 Nov 2026 12:00:10 GMT"),
        Restart(code="upstream_changed"),
    ),
    "nothing left, of another version": Row(
        Asked(offset=4, validator='"v1"'), head(416, content_range="bytes */4", etag='"v2"'), Restart(code="bad_range")
    ),
    # 200: the whole file.
    "whole": Row(FRESH, head(200, content_length="10"), write(0, 10, 10)),
    "whole, empty": Row(FRESH, head(200, content_length="0"), write(0, 0, 0)),
    "whole, chunked": Row(FRESH, head(200, transfer_encoding="chunked"), write(0, None, None)),
    "whole, ends by closing": Row(FRESH, head(200), write(0, None, None, length_known=False)),
    "whole, with a strong ETag": Row(
        FRESH, head(200, content_length="10", etag='"v1"'), write(0, 10, 10, validator='"v1"')
    ),
    "whole, identity encoding": Row(
        FRESH, head(200, content_length="10", content_encoding="Identity"), write(0, 10, 10)
    ),
    "range ignored": Row(
        RESUMED,
        head(200, content_length="10", etag='"v1"'),
        write(0, 10, 10, validator='"v1"', restarted="range_ignored"),
    ),
    "range ignored, no validator": Row(
        RESUMED, head(200, content_length="10"), write(0, 10, 10, restarted="range_ignored")
    ),
    "upstream changed, whole": Row(
        RESUMED,
        head(200, content_length="12", etag='"v2"'),
        write(0, 12, 12, validator='"v2"', restarted="upstream_changed"),
    ),
    # 206: the rest.
    "rest": Row(
        RESUMED,
        head(206, content_range="bytes 4-9/10", content_length="6", etag='"v1"'),
        write(4, 6, 10, validator='"v1"'),
    ),
    "rest, validator not repeated": Row(
        RESUMED, head(206, content_range="bytes 4-9/10", content_length="6"), write(4, 6, 10, validator='"v1"')
    ),
    "rest, chunked": Row(BARE, head(206, content_range="bytes 4-9/10", transfer_encoding="chunked"), write(4, 6, 10)),
    "rest, one byte": Row(Asked(offset=9), head(206, content_range="bytes 9-9/10"), write(9, 1, 10)),
    "all, as a range nobody asked for": Row(FRESH, head(206, content_range="bytes 0-9/10"), write(0, 10, 10)),
    "rest of another version": Row(
        RESUMED, head(206, content_range="bytes 4-9/10", etag='"v2"'), Restart(code="upstream_changed")
    ),
    "rest of another size": Row(
        RESUMED, head(206, content_range="bytes 4-11/12", etag='"v1"'), Restart(code="upstream_changed")
    ),
    "another range": Row(RESUMED, head(206, content_range="bytes 3-9/10"), Restart(code="bad_range")),
    "range from the start": Row(RESUMED, head(206, content_range="bytes 0-9/10"), Restart(code="bad_range")),
    "range cut short": Row(RESUMED, head(206, content_range="bytes 4-8/10"), Restart(code="bad_range")),
    "range beyond the size": Row(RESUMED, head(206, content_range="bytes 4-10/10"), Restart(code="bad_range")),
    "range backwards": Row(Asked(offset=4), head(206, content_range="bytes 4-3/4"), Restart(code="bad_range")),
    "range of unknown size": Row(RESUMED, head(206, content_range="bytes 4-9/*"), Restart(code="bad_range")),
    "range without Content-Range": Row(RESUMED, head(206, content_length="6"), Restart(code="bad_range")),
    "range in other units": Row(RESUMED, head(206, content_range="items 4-9/10"), Restart(code="bad_range")),
    "range, and another": Row(
        RESUMED, head(206, content_range="bytes 4-9/10, bytes 0-9/10"), Restart(code="bad_range")
    ),
    "range said twice": Row(RESUMED, head(206, content_range="bytes 4-9/10, bytes 4-9/10"), Restart(code="bad_range")),
    "range and length disagree": Row(
        RESUMED, head(206, content_range="bytes 4-9/10", content_length="7"), Restart(code="bad_range")
    ),
    "range in other digits": Row(RESUMED, head(206, content_range="bytes ٤-٩/١٠"), Restart(code="bad_range")),
    "several ranges": Row(
        RESUMED, head(206, content_type="multipart/byteranges; boundary=x"), Restart(code="bad_range")
    ),
    "range encoded": Row(
        RESUMED, head(206, content_range="bytes 4-9/10", content_encoding="gzip"), Restart(code="bad_range")
    ),
    "unasked range that is not all": Row(FRESH, head(206, content_range="bytes 4-9/10"), "bad_range"),
    "unasked range without Content-Range": Row(FRESH, head(206), "bad_range"),
    "unasked several ranges": Row(FRESH, head(206, content_type="multipart/byteranges"), "invalid_response"),
    # 416: nothing there.
    "all is held": Row(Asked(offset=10, size=10), head(416, content_range="bytes */10"), Whole()),
    "all is held, size not known before": Row(Asked(offset=10), head(416, content_range="bytes */10"), Whole()),
    "shorter than what is held": Row(Asked(offset=10), head(416, content_range="bytes */8"), Restart(code="bad_range")),
    "of another size": Row(Asked(offset=8, size=10), head(416, content_range="bytes */8"), Restart(code="bad_range")),
    "nothing there, no size told": Row(RESUMED, head(416), Restart(code="bad_range")),
    "nothing there and no range asked": Row(FRESH, head(416), "bad_range"),
    # A copy that is held already.
    "current": Row(CURRENT, head(304), Unchanged()),
    "current, and says which": Row(CURRENT, head(304, etag='"v1"'), Unchanged()),
    "current, but another version": Row(CURRENT, head(304, etag='"v2"'), Doubt()),
    "current, but of a version that may differ": Row(CURRENT, head(304, etag='W/"v1"'), Doubt()),
    "not current": Row(CURRENT, head(200, content_length="10", etag='"v2"'), write(0, 10, 10, validator='"v2"')),
    # A size that was promised.
    "as promised": Row(PROMISED, head(200, content_length="10"), write(0, 10, 10)),
    "longer than promised": Row(PROMISED, head(200, content_length="11"), "size_mismatch"),
    "shorter than promised": Row(PROMISED, head(200, content_length="0"), "size_mismatch"),
    "promised, chunked": Row(PROMISED, head(200, transfer_encoding="chunked"), write(0, 10, 10)),
    "promised, ends by closing": Row(PROMISED, head(200), write(0, 10, 10)),
    "rest of what was not promised": Row(
        Asked(offset=4, expected=11), head(206, content_range="bytes 4-9/10"), "size_mismatch"
    ),
    "all is held, and more was promised": Row(
        Asked(offset=10, expected=11), head(416, content_range="bytes */10"), Restart(code="bad_range")
    ),
    # Much is held, and a server of several sends the whole file.
    "much at stake": Row(MUCH, head(200, content_length="10", etag='"v1"'), Doubt()),
    "much at stake, another version": Row(MUCH, head(200, content_length="10", etag='"v2"'), Doubt()),
    "much at stake, the second time": Row(
        SURE, head(200, content_length="10", etag='"v1"'), write(0, 10, 10, validator='"v1"', restarted="range_ignored")
    ),
    "a little less at stake": Row(
        Asked(offset=PRECIOUS - 1), head(200, content_length="10"), write(0, 10, 10, restarted="range_ignored")
    ),
    # Framing that nobody can trust.
    "compressed": Row(FRESH, head(200, content_length="10", content_encoding="gzip"), "invalid_response"),
    "compressed twice": Row(FRESH, head(200, content_encoding="identity, gzip"), "invalid_response"),
    "other transfer coding": Row(FRESH, head(200, transfer_encoding="gzip, chunked"), "invalid_response"),
    "chunked, then another coding": Row(FRESH, head(200, transfer_encoding="chunked, gzip"), "invalid_response"),
    "chunked twice": Row(FRESH, head(200, transfer_encoding="chunked, chunked"), "invalid_response"),
    "identity as a transfer coding": Row(FRESH, head(200, transfer_encoding="identity"), "invalid_response"),
    "both framings": Row(FRESH, head(200, transfer_encoding="chunked", content_length="3"), "invalid_response"),
    "length is beyond all files": Row(FRESH, head(200, content_length=str(2**65)), "invalid_response"),
    "lengths that differ": Row(FRESH, head(200, content_length="10, 11"), "invalid_response"),
    "length with a sign": Row(FRESH, head(200, content_length="+10"), "invalid_response"),
    "length, then something": Row(FRESH, head(200, content_length="6badness"), "invalid_response"),
    "length is no number": Row(FRESH, head(200, content_length="ten"), "invalid_response"),
    "length is negative": Row(FRESH, head(200, content_length="-1"), "invalid_response"),
    "length twice": Row(FRESH, head(200, content_length="10, 10"), "invalid_response"),
    "length in other digits": Row(FRESH, head(200, content_length="１０"), "invalid_response"),
    "multipart": Row(FRESH, head(200, content_type="Multipart/mixed; boundary=x"), "invalid_response"),
    # Refusals.
    "no content": Row(FRESH, head(204), "http_status"),
    "not modified": Row(FRESH, head(304), "http_status"),
    "bad request": Row(FRESH, head(400), "http_status"),
    "unauthorized": Row(FRESH, head(401), "unauthorized"),
    "forbidden": Row(RESUMED, head(403), "unauthorized"),
    "not found": Row(FRESH, head(404), "not_found"),
    "gone": Row(FRESH, head(410), "not_found"),
    "too many requests": Row(FRESH, head(429), "too_many_requests"),
    "server error": Row(FRESH, head(500), "http_status"),
    "not implemented": Row(FRESH, head(501), "http_status"),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_response_is_judged_by_its_head(row: Row) -> None:
    verdict = judge(row.asked, row.head)
    if isinstance(row.verdict, str):
        assert isinstance(verdict, Refuse)
        assert verdict.error.code == row.verdict
    else:
        assert verdict == row.verdict


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_server_that_may_answer_later_is_asked_again(status: int) -> None:
    verdict = judge(FRESH, head(status))
    assert isinstance(verdict, Refuse)
    assert verdict.error.retryable
    assert verdict.error.details() == {"http_status": status}


@pytest.mark.parametrize("status", [201, 204, 304, 400, 401, 403, 404, 405, 410, 451, 501, 505])
def test_a_server_that_will_not_answer_is_not(status: int) -> None:
    verdict = judge(RESUMED, head(status))
    assert isinstance(verdict, Refuse)
    assert not verdict.error.retryable


HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "content-length",
            "content-range",
            "content-encoding",
            "transfer-encoding",
            "content-type",
            "etag",
            "last-modified",
            "date",
        ]
    ),
    st.sampled_from(
        ["", "0", "6", "bytes 4-9/10", "bytes */4", "bytes 0-9/10", "gzip", "chunked", '"v1"', 'W/"v1"', OLD]
    )
    | st.text(max_size=12),
)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_link_that_a_server_led_to_may_have_expired_and_is_asked_for_anew(status: int) -> None:
    there = refusal(Head(url=URL, status=status, headers={}, now=0.0, is_redirected=True))
    assert (type(there), there.code, there.retryable, there.most_attempts) == (
        errors.LinkExpired, "unauthorized", True, 3,
    )  # fmt: skip
    assert not refusal(head(status)).retryable


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_not_there_is_not_there_wherever_it_was_looked_for(status: int) -> None:
    """The link was asked for a moment ago: it is not the link that is old."""
    there = refusal(Head(url=URL, status=status, headers={}, now=0.0, is_redirected=True))
    assert (there.code, there.retryable) == ("not_found", False)


@pytest.mark.parametrize(("status", "code"), [(429, "too_many_requests"), (503, "http_status"), (500, "http_status")])
def test_a_busy_server_says_when_to_come_back(status: int, code: str) -> None:
    error = refusal(head(status, retry_after="300"))
    assert isinstance(error, errors.HttpStatus)
    assert (error.code, error.retry_after, error.retryable) == (code, 300.0, True)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("301", "6 minutes"),
        ("7200", "120 minutes"),
        ("7201", "3 hours"),
        ("200000", "3 days"),
        ("1" + "0" * 12, "days"),
    ],
)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_whoever_wants_to_be_left_alone_for_longer_is_not_waited_for(status: int, wish: str, words: str) -> None:
    error = refusal(head(status, retry_after=wish))
    assert isinstance(error, errors.TooManyRequests)
    assert (error.http_status, error.retry_after) == (status, float(wish))
    assert words in str(error)


@given(
    st.builds(
        Asked,
        offset=st.integers(0, 12),
        validator=st.none() | st.just('"v1"'),
        size=st.none() | st.integers(0, 12),
        expected=st.none() | st.integers(0, 12),
    ),
    st.sampled_from([200, 206, 416, 404, 503]) | st.integers(100, 599),
    HEADERS,
)
def test_bytes_are_only_ever_written_where_they_were_asked_for(
    asked: Asked, status: int, headers: dict[str, str]
) -> None:
    verdict = judge(asked, Head(url=URL, status=status, headers=headers, now=0.0))
    match verdict:
        case Write(start=start, length=length, size=size, restarted=restarted):
            assert start == (asked.offset if status == 206 else 0)
            assert restarted is None or asked.offset
            assert length is None or size == start + length
            assert asked.size is None or status != 206 or size == asked.size
            assert asked.expected is None or size == asked.expected
        case Restart() | Whole():
            assert asked.offset, "what holds nothing cannot be started over, nor be whole"
        case Refuse(error=error):
            assert str(error).startswith(URL)


@pytest.mark.parametrize(("fields", "length"), [(101, 500), (10, 65_537)])
@pytest.mark.parametrize("status", [200, 206])
def test_a_head_that_says_too_much_is_not_heard(status: int, fields: int, length: int) -> None:
    headers = {"content-range": "bytes 4-9/10", "etag": '"v1"'}
    much = Head(url=URL, status=status, headers=headers, now=0.0, fields=fields, length=length)
    verdict = judge(RESUMED, much)
    assert isinstance(verdict, Refuse)
    assert verdict.error.code == "invalid_response"
    assert isinstance(judge(RESUMED, replace(much, fields=100, length=65_536)), Write)

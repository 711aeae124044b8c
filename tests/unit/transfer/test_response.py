"""What a response is good for, by a table: no byte of a body is taken before this has been decided."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd.transfer.response import (
    Asked,
    Head,
    Refuse,
    Restart,
    Verdict,
    Whole,
    Write,
    judge,
    strong_validator,
    suggested_name,
)

URL = "https://h.example/m.gguf"
OLD = "Wed, 01 Jan 2025 00:00:00 GMT"
MINUTE_LATER = "Wed, 01 Jan 2025 00:01:00 GMT"
SOON = "Wed, 01 Jan 2025 00:00:59 GMT"


def head(status: int, **headers: str) -> Head:
    return Head(url=URL, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def write(start: int, length: int | None, size: int | None, **more: Any) -> Write:
    known = {"validator": None, "length_known": True}
    return Write(start=start, length=length, size=size, **(known | more))


FRESH = Asked()
RESUMED = Asked(offset=4, validator='"v1"', size=10)
BARE = Asked(offset=4)


@dataclasses.dataclass
class Row:
    asked: Asked
    head: Head
    verdict: Verdict | str
    """A string is the code of a refusal."""


ROWS = {
    # 200: the whole file.
    "whole": Row(FRESH, head(200, content_length="10"), write(0, 10, 10)),
    "whole, empty": Row(FRESH, head(200, content_length="0"), write(0, 0, 0)),
    "whole, chunked": Row(FRESH, head(200, transfer_encoding="chunked"), write(0, None, None)),
    "whole, both framings: chunked counts": Row(
        FRESH, head(200, transfer_encoding="chunked", content_length="3"), write(0, None, None)
    ),
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
    "range of two minds": Row(
        RESUMED, head(206, content_range="bytes 4-9/10, bytes 4-9/10"), Restart(code="bad_range")
    ),
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
    # Framing that nobody can trust.
    "compressed": Row(FRESH, head(200, content_length="10", content_encoding="gzip"), "invalid_response"),
    "compressed twice": Row(FRESH, head(200, content_encoding="identity, gzip"), "invalid_response"),
    "other transfer coding": Row(FRESH, head(200, transfer_encoding="gzip, chunked"), "invalid_response"),
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


@given(
    st.builds(
        Asked, offset=st.integers(0, 12), validator=st.none() | st.just('"v1"'), size=st.none() | st.integers(0, 12)
    ),
    st.sampled_from([200, 206, 416, 404, 503]) | st.integers(100, 599),
    HEADERS,
)
def test_bytes_are_only_ever_written_where_they_were_asked_for(
    asked: Asked, status: int, headers: dict[str, str]
) -> None:
    verdict = judge(asked, Head(url=URL, status=status, headers=headers))
    match verdict:
        case Write(start=start, length=length, size=size, restarted=restarted):
            assert start == (asked.offset if status == 206 else 0)
            assert restarted is None or asked.offset
            assert length is None or size == start + length
            assert asked.size is None or status != 206 or size == asked.size
        case Restart() | Whole():
            assert asked.offset, "what holds nothing cannot be started over, nor be whole"
        case Refuse(error=error):
            assert str(error).startswith(URL)


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
        ({"last-modified": "yesterday", "date": MINUTE_LATER}, None),
        ({"last-modified": OLD, "date": "now"}, None),
        ({"etag": 'W/"v1"', "last-modified": OLD, "date": MINUTE_LATER}, OLD),
        ({"etag": '"v1"', "last-modified": OLD, "date": MINUTE_LATER}, '"v1"'),
    ],
)
def test_only_what_is_strong_may_stand_in_if_range(headers: dict[str, str], validator: str | None) -> None:
    assert strong_validator(Head(url=URL, status=200, headers=headers)) == validator


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
    assert suggested_name(Head(url=URL, status=200, headers=headers)) == name


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
    name = suggested_name(Head(url=URL, status=200, headers={"content-disposition": header}))
    assert name is None or name

"""PURE: the head of a response, and what its fields say. A field that makes no sense says nothing, and breaks nothing.

Rules: RFC 9110 §8.8 (validators), §10.2.3 (Retry-After), §14 (ranges), RFC 6266 (Content-Disposition).
"""

import datetime
import email.message
import email.utils
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from arwd.net import fields

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_UNSATISFIED_RANGE: Final = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)
_CHARSETS: Final = frozenset({"utf-8", "iso-8859-1", "us-ascii"})
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
# RFC 9110 §8.8.2.2: a date is a strong validator only when a second change within its second is ruled out.
_LAST_MODIFIED_MARGIN: Final = 60


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a response. Header names are lower case, repeated ones are joined with a comma."""

    url: str
    """Who answered, as it may be shown."""
    status: int
    headers: Mapping[str, str]
    now: float
    """When it came, in Unix seconds."""
    is_redirected: bool = False
    """Is it the answer of where the asked server sent us?"""
    fields: int = 0
    """How many there were."""
    length: int = 0
    """Their characters."""


class ContentRange(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of a partial body: the first, the last, and how many the whole file has, if that is told."""

    first: int
    last: int
    size: int | None


def content_range(head: Head) -> ContentRange | None:
    """Which bytes are sent; None if that is not said exactly once, in bytes, and without contradiction."""
    match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
    if match is None:
        return None
    first, last, size = int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])
    if first > last or (size is not None and last >= size):
        return None
    return ContentRange(first=first, last=last, size=size)


def unsatisfied_size(head: Head) -> int | None:
    """The size of the whole file, as a 416 tells it."""
    match = _UNSATISFIED_RANGE.fullmatch(head.headers.get("content-range", ""))
    return None if match is None else int(match[1])


def content_length(head: Head) -> int | None:
    """The bytes of the body, if declared. ValueError if what is declared is no number."""
    given = head.headers.get("content-length")
    if given is None:
        return None
    if not _NUMBER.fullmatch(given.strip()):
        raise ValueError(given)
    return int(given)


def is_chunked(head: Head) -> bool:
    """Does the body say itself where it ends?"""
    return "transfer-encoding" in head.headers


def is_encoded(head: Head) -> bool:
    """Is the body another form of the file, as a compressed one is?"""
    return head.headers.get("content-encoding", "").strip().lower() not in ("", "identity")


def strong_validator(head: Head) -> str | None:
    """What may stand in If-Range: a strong ETag, else a Last-Modified old enough to be strong; None if neither."""
    etag = head.headers.get("etag", "")
    if _STRONG_ETAG.fullmatch(etag):
        return etag
    modified, date = _seconds(head.headers.get("last-modified")), _seconds(head.headers.get("date"))
    # The epoch is what a clock says that was never set.
    if modified and date is not None and date - modified >= _LAST_MODIFIED_MARGIN:
        return head.headers["last-modified"]
    return None


def retry_after(head: Head) -> float | None:
    """The seconds that a server asks us to wait, never negative; a date counts from its own clock, else from ours.

    Where no Retry-After says it, a RateLimit that is used up does, as on the Hub.
    """
    given = head.headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(given):
        return float(given)
    date, sent = _seconds(given), _seconds(head.headers.get("date"))
    if date is not None:
        return max(date - (head.now if sent is None else sent), 0.0)
    limited = fields.limited_for(head.headers.get("ratelimit", ""))
    return None if limited is None else float(limited)


def suggested_name(head: Head) -> str | None:
    """The name in Content-Disposition (RFC 6266): `filename*` before `filename`; None if there is none."""
    raw = head.headers.get("content-disposition")
    if not raw:
        return None
    message = email.message.Message()
    message["content-disposition"] = raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        parameters = message.get_params([], "content-disposition")
    except (TypeError, ValueError):  # continuations that contradict one another
        return None
    names = [value for name, value in parameters if name.lower() == "filename" and _is_readable(value)]
    names.sort(key=lambda value: not isinstance(value, tuple))
    return email.utils.collapse_rfc2231_value(names[0]) or None if names else None


def _is_readable(value: str | tuple[str | None, str | None, str]) -> bool:
    """Is it in a character set of RFC 8187? Python knows others, some of which are no character sets at all."""
    return isinstance(value, str) or (value[0] or "us-ascii").lower() in _CHARSETS


def _seconds(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        parsed = email.utils.parsedate_to_datetime(date)
        # A date of no zone is one of UTC, wherever this machine is.
        return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=datetime.UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None

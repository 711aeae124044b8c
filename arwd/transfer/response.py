"""PURE: what was asked, and the head that came back -> write it here, start over, or refuse.

No byte of a body is taken before `judge` has said where it belongs. Rules: RFC 9110 §14 (ranges), §8.8 (validators).
"""

import email.message
import email.utils
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from arwd import errors

RestartCode = Literal["upstream_changed", "range_ignored", "no_validator", "bad_range"]

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,18}")
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
# RFC 9110 §8.8.2.2: a date is a strong validator only when a second change within its second is ruled out.
_LAST_MODIFIED_MARGIN = 60
_BUSY = frozenset({408, 425, 500, 502, 503, 504})


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request said: from which byte on, of which version, of which size."""

    offset: int = 0
    validator: str | None = None
    size: int | None = None
    unless: str | None = None
    """The version of a finished copy: if the server still has that one, nothing is to be sent. Only from byte 0 on."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a response. Header names are lower case, repeated ones are joined with a comma."""

    url: str
    status: int
    headers: Mapping[str, str]


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """The body belongs at `start`."""

    start: int
    length: int | None
    """Bytes of this body, if declared."""
    size: int | None
    """Bytes of the whole file, if known."""
    validator: str | None
    length_known: bool
    """False: only the closing of the connection ends the body, so its end cannot be told from its loss."""
    restarted: RestartCode | None = None
    """Why bytes held are given up: the server sent the whole file instead of the range."""


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing is left to fetch: every byte is held already."""


class Unchanged(msgspec.Struct, frozen=True, kw_only=True):
    """The server has the very version that `unless` named."""


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes held cannot be continued from this server's answer: ask anew from zero."""

    code: RestartCode


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """This response is not the file."""

    error: errors.TransferError


Verdict = Write | Whole | Unchanged | Restart | Refuse


def judge(asked: Asked, head: Head) -> Verdict:
    """Decide what this response is good for."""
    match head.status:
        case 200:
            return _whole_body(asked, head)
        case 206:
            return _partial_body(asked, head)
        case 304 if asked.unless is not None and strong_validator(head) in (None, asked.unless):
            return Unchanged()
        case 416 if asked.offset:
            return _beyond_the_end(asked, head)
        case _:
            return Refuse(error=refusal(head))


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """The version of which a range was sent exactly as asked for."""

    size: int
    validator: str | None


def piece(first: int, last: int, head: Head) -> Piece | None:
    """Which version these very bytes are of; None if the answer is anything else."""
    match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
    if head.status != 206 or match is None or match[3] == "*" or _fault_in_framing(head) is not None:
        return None
    is_exact = (int(match[1]), int(match[2])) == (first, last) and int(match[3]) > last
    if not is_exact or _declared_length(head) not in (None, last - first + 1):
        return None
    return Piece(size=int(match[3]), validator=strong_validator(head))


def strong_validator(head: Head) -> str | None:
    """What may stand in If-Range: a strong ETag, else a Last-Modified old enough to be strong; None if neither."""
    etag = head.headers.get("etag", "")
    if _STRONG_ETAG.fullmatch(etag):
        return etag
    modified, date = _seconds(head.headers.get("last-modified")), _seconds(head.headers.get("date"))
    if modified is not None and date is not None and date - modified >= _LAST_MODIFIED_MARGIN:
        return head.headers["last-modified"]
    return None


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
    names = [value for name, value in parameters if name.lower() == "filename"]
    names.sort(key=lambda value: not isinstance(value, tuple))
    return email.utils.collapse_rfc2231_value(names[0]) or None if names else None


def _whole_body(asked: Asked, head: Head) -> Verdict:
    if (fault := _fault_in_framing(head)) is not None:
        return Refuse(error=fault)
    length, validator = _declared_length(head), strong_validator(head)
    restarted: RestartCode | None = None
    if asked.offset:
        changed = asked.validator is not None and validator is not None and validator != asked.validator
        restarted = "upstream_changed" if changed else "range_ignored"
    return Write(
        start=0,
        length=length,
        size=length,
        validator=validator,
        length_known=length is not None or _is_chunked(head),
        restarted=restarted,
    )


def _partial_body(asked: Asked, head: Head) -> Verdict:
    if (fault := _fault_in_framing(head)) is not None:
        return Restart(code="bad_range") if asked.offset else Refuse(error=fault)
    match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
    if match is None:
        return _bad_range(asked, head)
    first, last = int(match[1]), int(match[2])
    size = None if match[3] == "*" else int(match[3])
    length = _declared_length(head)
    if first != asked.offset or last < first or (length is not None and length != last - first + 1):
        return _bad_range(asked, head)
    if size is None or last != size - 1:
        # A server may send less than was asked for; without the size there is no telling what is missing.
        return _bad_range(asked, head)
    validator = strong_validator(head)
    if asked.size is not None and size != asked.size:
        return Restart(code="upstream_changed")
    if asked.validator is not None and validator is not None and validator != asked.validator:
        return Restart(code="upstream_changed")
    return Write(
        start=first,
        length=last - first + 1,
        size=size,
        validator=validator or asked.validator,
        length_known=True,
    )


def _beyond_the_end(asked: Asked, head: Head) -> Verdict:
    match = _UNSATISFIED_RANGE.fullmatch(head.headers.get("content-range", ""))
    if match is not None and int(match[1]) == asked.offset and asked.size in (None, asked.offset):
        return Whole()
    return Restart(code="bad_range")


def _bad_range(asked: Asked, head: Head) -> Verdict:
    if asked.offset:
        return Restart(code="bad_range")
    given = head.headers.get("content-range", "none")
    return Refuse(error=errors.BadRange(f"{head.url} answered with the wrong Content-Range ({given[:80]})"))


def _fault_in_framing(head: Head) -> errors.TransferError | None:
    encoding = head.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        return errors.InvalidResponse(f"{head.url} sent Content-Encoding {encoding[:40]}, which nobody asked for")
    if head.headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
        return errors.InvalidResponse(f"{head.url} sent a Transfer-Encoding other than chunked")
    length = head.headers.get("content-length")
    if length is not None and not _LENGTH.fullmatch(length.strip()):
        return errors.InvalidResponse(f"{head.url} sent a Content-Length that is not a number")
    if head.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        return errors.InvalidResponse(f"{head.url} sent a multipart body")
    return None


def _declared_length(head: Head) -> int | None:
    if _is_chunked(head):  # RFC 9112 §6.3: Transfer-Encoding overrides Content-Length
        return None
    length = head.headers.get("content-length")
    return None if length is None else int(length)


def _is_chunked(head: Head) -> bool:
    return "transfer-encoding" in head.headers


def refusal(head: Head) -> errors.TransferError:
    """Why a status is not the file."""
    sentence = f"{head.url} answered {head.status}"
    match head.status:
        case 401 | 403:
            return errors.OriginUnauthorized(f"{sentence}: it wants a token, or refuses the one it has", head.status)
        case 404 | 410:
            return errors.OriginNotFound(f"{sentence}: there is no such file", head.status)
        case 416:
            return errors.BadRange(f"{sentence} to a request without a range")
        case 429:
            return errors.TooManyRequests(f"{sentence}: too many requests", head.status)
        case status if status in _BUSY:
            return errors.ServerBusy(sentence, head.status)
        case _:
            return errors.HttpStatus(sentence, head.status)


def _seconds(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None

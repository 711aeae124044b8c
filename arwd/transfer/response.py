"""PURE: what was asked, and the head that came back -> write it here, start over, or refuse.

No byte of a body is taken before `judge` has said where it belongs. Rules: RFC 9110 §14 (ranges), 9112 §6 (framing).
"""

from typing import Final, Literal

import msgspec

from arwd import errors
from arwd.transfer.head import (
    Head,
    content_length,
    content_range,
    is_chunked,
    is_encoded,
    retry_after,
    strong_validator,
    unsatisfied_size,
)
from arwd.transfer.retry import LONGEST_WISH

RestartCode = Literal["upstream_changed", "range_ignored", "no_validator", "bad_range"]

PRECIOUS: Final = 1024**3
"""So many bytes are not given up because one server of several behind a name answers with the whole file."""
MOST_FIELDS: Final = 100
LONGEST_HEAD: Final = 65_536
"""Characters. What a head says beyond these is not for us."""
_BUSY: Final = frozenset({408, 425, 500, 502, 503, 504})


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request said: from which byte on, of which version, of which size."""

    offset: int = 0
    validator: str | None = None
    size: int | None = None
    unless: str | None = None
    """The version of a finished copy: if the server still has that one, nothing is to be sent. Only from byte 0 on."""
    expected: int | None = None
    """The size that somebody promised: a file of another one is not the file."""
    anew: RestartCode | None = None
    """Why bytes that are held are not asked to be continued: they give way to this answer, if it is the file."""
    is_second_time: bool = False
    """It was asked once more: `Doubt`."""


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


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """This answer is not to be believed at once: ask once more, without a condition."""


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """This response is not the file."""

    error: errors.TransferError


Verdict = Write | Whole | Unchanged | Restart | Doubt | Refuse


def judge(asked: Asked, head: Head) -> Verdict:
    """Decide what this response is good for."""
    match head.status:
        case 200 | 206 if _is_excessive(head):
            return Refuse(error=errors.InvalidResponse(f"{head.url} sent a head of {head.fields} fields"))
        case 200:
            return _whole_body(asked, head)
        case 206:
            return _partial_body(asked, head)
        case 304 if asked.unless is not None:
            return Unchanged() if _is_of(asked.unless, head) else Doubt()
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
    given = content_range(head)
    if head.status != 206 or given is None or given.size is None or _fault_in_framing(head) is not None:
        return None
    if (given.first, given.last) != (first, last) or content_length(head) not in (None, last - first + 1):
        return None
    return Piece(size=given.size, validator=strong_validator(head))


def _whole_body(asked: Asked, head: Head) -> Verdict:
    if (fault := _fault_in_framing(head)) is not None:
        return Refuse(error=fault)
    size, validator = content_length(head), strong_validator(head)
    if (fault := _fault_in_size(asked, size, head)) is not None:
        return Refuse(error=fault)
    size = asked.expected if size is None else size
    if asked.offset >= PRECIOUS and not asked.is_second_time:
        return Doubt()
    restarted = asked.anew
    if asked.offset:
        changed = asked.validator is not None and validator is not None and validator != asked.validator
        restarted = "upstream_changed" if changed else "range_ignored"
    return Write(
        start=0,
        length=size,
        size=size,
        validator=validator,
        length_known=size is not None or is_chunked(head),
        restarted=restarted,
    )


def _partial_body(asked: Asked, head: Head) -> Verdict:
    if (fault := _fault_in_framing(head)) is not None:
        return Restart(code="bad_range") if asked.offset else Refuse(error=fault)
    given = content_range(head)
    if given is None or given.first != asked.offset:
        return _bad_range(asked, head)
    length, validator = given.last - given.first + 1, strong_validator(head)
    # A server may send less than was asked for; without the size there is no telling what is missing.
    if given.size != given.last + 1 or content_length(head) not in (None, length):
        return _bad_range(asked, head)
    if asked.size is not None and given.size != asked.size:
        return Restart(code="upstream_changed")
    if asked.validator is not None and not _is_of(asked.validator, head):
        return Restart(code="upstream_changed")
    if (fault := _fault_in_size(asked, given.size, head)) is not None:
        return Refuse(error=fault)
    return Write(
        start=given.first,
        length=length,
        size=given.size,
        validator=validator or asked.validator,
        length_known=True,
        restarted=asked.anew,
    )


def _is_of(validator: str, head: Head) -> bool:
    """Does what the head says of its version allow it to be this one? Saying nothing does."""
    said = head.headers.get("etag" if validator.startswith('"') else "last-modified")
    return said is None or said == validator


def _beyond_the_end(asked: Asked, head: Head) -> Verdict:
    sizes = {asked.offset if size is None else size for size in (asked.size, asked.expected)}
    is_version = asked.validator is None or _is_of(asked.validator, head)
    if unsatisfied_size(head) == asked.offset and sizes == {asked.offset} and is_version:
        return Whole()
    return Restart(code="bad_range")


def _bad_range(asked: Asked, head: Head) -> Verdict:
    if asked.offset:
        return Restart(code="bad_range")
    return Refuse(error=errors.BadRange(f"{head.url} answered 206 with a Content-Range that is not what was asked for"))


def _fault_in_size(asked: Asked, size: int | None, head: Head) -> errors.SizeMismatch | None:
    if asked.expected is None or size in (None, asked.expected):
        return None
    return errors.SizeMismatch(f"{head.url} has {size} bytes, and {asked.expected} were promised")


def _is_excessive(head: Head) -> bool:
    return head.fields > MOST_FIELDS or head.length > LONGEST_HEAD


def _fault_in_framing(head: Head) -> errors.TransferError | None:
    if is_encoded(head):
        return errors.InvalidResponse(f"{head.url} sent an encoded body (Content-Encoding), which nobody asked for")
    if head.headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
        return errors.InvalidResponse(f"{head.url} sent a Transfer-Encoding other than chunked")
    try:
        length = content_length(head)
    except ValueError:
        return errors.InvalidResponse(f"{head.url} sent a Content-Length that is not a number")
    if length is not None and is_chunked(head):
        # RFC 9112 §6.3 lets chunks win, and warns: somebody on the way may think otherwise.
        return errors.InvalidResponse(f"{head.url} sent both a Content-Length and a Transfer-Encoding")
    if head.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        return errors.InvalidResponse(f"{head.url} sent a multipart body")
    return None


def refusal(head: Head) -> errors.TransferError:
    """Why a status is not the file."""
    sentence, wish = f"{head.url} answered {head.status}", retry_after(head)
    match head.status:
        case 400 | 401 | 403 if head.is_redirected:  # 400: some clouds' ExpiredToken
            return errors.LinkExpired(f"{sentence}: it refuses the link that led there", head.status)
        case 401 | 403:
            return errors.OriginUnauthorized(f"{sentence}: it wants a token, or refuses the one it has", head.status)
        case 404 | 410:
            return errors.OriginNotFound(f"{sentence}: there is no such file", head.status)
        case 416:
            return errors.BadRange(f"{sentence} to a request without a range")
        case status if wish is not None and wish > LONGEST_WISH and (status == 429 or status in _BUSY):
            return errors.TooManyRequests(
                f"{sentence}: it wants to be left alone; send the request again in {_spoken(wish)}", head.status, wish
            )
        case 429:
            return errors.TooManyRequests(f"{sentence}: too many requests", head.status, wish)
        case status if status in _BUSY:
            return errors.ServerBusy(sentence, head.status, wish)
        case _:
            return errors.HttpStatus(sentence, head.status)


def _spoken(seconds: float) -> str:
    """The time in words, rounded up."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds > 2 * length:
            return f"{-int(-seconds // length)} {unit}"
    return f"{-int(-seconds // 1)} seconds"

"""PURE: structured fields of HTTP, lists and dictionaries alike, and the limit that a server tells in one.

Rules: RFC 9651; draft-ietf-httpapi-ratelimit-headers. A field that does not follow them says nothing, as a whole.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

_KEY: Final = r"[A-Za-z*][A-Za-z0-9_.*-]*"
_VALUE: Final = (
    r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'  # a string
    r"|:[A-Za-z0-9+/=]*:"  # bytes
    r"|-?[0-9]{1,15}(?:\.[0-9]{1,3})?"  # a number
    r"|\?[01]"  # a truth
    r"|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*"  # a token, or the key of a dictionary that stands alone
)
_PARAMETER: Final = re.compile(rf"; *(?P<key>{_KEY})(?:=(?P<value>{_VALUE}))?")
_MEMBER: Final = re.compile(
    rf"(?:(?P<key>{_KEY})=)?(?P<value>{_VALUE})"
    rf"(?P<parameters>(?:; *{_KEY}(?:=(?:{_VALUE}))?)*)"
    r"[ \t]*(?P<end>,[ \t]*|\Z)"
)
_SECONDS: Final = re.compile(r"[0-9]{1,6}")


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member of a structured field. Values are as they were written, with their quotes or colons."""

    key: str
    """In lower case, as not every server writes it; empty in a list."""
    value: str
    parameters: Mapping[str, str]


def members(field: str) -> list[Member]:
    """All of them in their order, a key that comes twice included; none if the field breaks a rule.

    Inner lists, dates and display strings are not told from broken rules: no field that is read here has them.
    """
    found: list[Member] = []
    place, is_more = 0, True
    field = field.strip(" ")
    while is_more:
        match = _MEMBER.match(field, place)
        if match is None:
            return []
        parameters = {one["key"].lower(): one["value"] or "?1" for one in _PARAMETER.finditer(match["parameters"])}
        found.append(Member(key=(match["key"] or "").lower(), value=match["value"], parameters=parameters))
        place, is_more = match.end(), match["end"] != ""
    return found


def limited_for(field: str) -> int | None:
    """The seconds until a RateLimit field lets one ask again; None unless a quota is used up, and says until when."""
    used_up = [member.parameters.get("t", "") for member in members(field) if member.parameters.get("r") == "0"]
    waits = [int(wait) for wait in used_up if _SECONDS.fullmatch(wait)]
    # A second more, since it was rounded. Where several quotas are used up, the last one to begin anew decides.
    return max(waits) + 1 if waits else None

"""What of a URL may be shown. Rule: queries, fragments and userinfo are secrets, also in a URL within a URL."""

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_WORD: Final = re.compile(r"[^\s\"<>]+")
# `https://`, `https%3A%2F%2F` and, encoded once more, `https%253A%252F%252F`. Bounded, so that no text takes long.
_START_TEXT: Final = r"[a-z][a-z0-9+.-]{0,30}(?::|%(?:25){0,4}3a)(?:/|%(?:25){0,4}2f){2}"
_START: Final = re.compile(_START_TEXT, re.IGNORECASE)
_END: Final = re.compile(r"[?#]")
_ENCODED_END: Final = re.compile(r"(?i)%(?:25){0,4}(?:3f|23)")
_USERINFO: Final = re.compile(rf"(?i)({_START_TEXT})(?:(?!%(?:25){{0,4}}2f)[^/])*(?:@|%(?:25){{0,4}}40)")


def redact(text: str) -> str:
    """The text with every URL in it cut down to scheme, host and path."""
    return _WORD.sub(lambda found: _cut(found[0]), text)


def shown(url: str) -> str:
    """The URL as it may be shown and compared: no query, no fragment, no userinfo."""
    parts = urlsplit(url)
    return redact(urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower(), parts.path, "", "")))


def _cut(word: str) -> str:
    """PURE: one word, and what may be shown of the URLs in it."""
    starts = list(_START.finditer(word))
    if not starts:
        return word
    # The path of a plain URL may have an encoded question mark in a file's name; that of an encoded URL begins a query.
    encoded = next((start for start in starts if "%" in start[0]), None)
    ends = [_END.search(word, starts[0].end()), encoded and _ENCODED_END.search(word, encoded.end())]
    return _USERINFO.sub(r"\1", word[: min((end.start() for end in ends if end), default=None)])

"""PURE: names that every platform takes."""

import re
import unicodedata
from typing import Final

MAX_NAME_BYTES: Final = 120
"""Longest file name made here: eCryptfs allows 143 bytes, and `.part.json` and `-2` must still fit."""

_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|COM[0-9¹²³]|LPT[0-9¹²³]) *(?:\.|$)", re.IGNORECASE)
# Separators, what Windows refuses, control characters, and what only fools the eye (bidirectional and zero-width).
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+')


def safe_name(raw: str) -> str:
    """A file name that every platform takes, as close to `raw` as can be; `model` if nothing is left."""
    name = unicodedata.normalize("NFC", _UNSAFE.sub("_", raw)).lstrip(". ").rstrip(". ")
    if not name.strip("_"):
        return "model"
    # Shortening may make a bad name of a good one (`NUL .txt`, `a.part .json`): until nothing changes any more.
    while (fixed := _fixed(name)) != name:
        name = fixed
    return name


def _fixed(name: str) -> str:
    if _RESERVED.match(name):
        name = "_" + name
    if name.casefold().endswith((".part", ".part.json")):
        name += "_"
    return shorten(name)


def shorten(name: str, ending: str = "") -> str:
    """At most MAX_NAME_BYTES bytes: the stem gives way, the suffix stays, `ending` comes between them."""
    stem, suffix = split_suffix(name)
    room = MAX_NAME_BYTES - len((ending + suffix).encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + ending + suffix


def split_suffix(name: str) -> tuple[str, str]:
    """Stem and suffix; a suffix too long to be one belongs to the stem."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem or len(suffix.encode()) > 24:
        return name, ""
    return stem, dot + suffix

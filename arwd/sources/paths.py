"""The names that a source gives its files. PURE. Rule: one that is not safe condemns them all, before any is used."""

import unicodedata
from collections.abc import Iterable
from typing import Final

from arwd.errors import UnsafePaths
from arwd.fs import safe_name

_MOST_BYTES: Final = 1_024
"""Of a whole path: systems take 4,096, of which the state directory needs its share."""
_DEEPEST: Final = 16
"""Folders: models have two or three."""


def checked(paths: Iterable[str], where: str) -> tuple[str, ...]:
    """The paths as they can be written below a directory, in Unicode's composed form. UnsafePaths if one cannot be.

    `where`: what the source is called in the sentence.
    """
    names = []
    for path in paths:
        name = unicodedata.normalize("NFC", path)
        fault = _fault_in(name)
        if fault is not None:
            raise UnsafePaths(f"{where} is refused as a whole: its file {_quoted(path)} {fault}.")
        names.append(name)
    files: dict[str, str] = {}
    for name in names:
        if (key := folded(name)) in files:
            raise UnsafePaths(
                f"{where} is refused as a whole: its files {_quoted(files[key])} and {_quoted(name)} are one file "
                "where case does not count."
            )
        files[key] = name
    for name in names:
        steps = folded(name).split("/")
        above = ["/".join(steps[:count]) for count in range(1, len(steps))]
        if found := next((each for each in above if each in files), None):
            raise UnsafePaths(f"{where} is refused as a whole: its file {_quoted(files[found])} is also a folder.")
    return tuple(names)


def folded(name: str) -> str:
    """What two names have in common that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _fault_in(path: str) -> str | None:
    """What is wrong with it, as the end of a sentence. An encoding that no file system takes is a fault as well."""
    steps = path.split("/")
    if len(path.encode("utf-8", "surrogatepass")) > _MOST_BYTES or len(steps) > _DEEPEST:
        return "is too long or too deep"
    if "" in steps:
        return "is absolute or has an empty step"
    if {".", ".."} & set(steps):
        return "leads elsewhere"
    wrong = next((step for step in steps if safe_name(step) != step), None)
    return None if wrong is None else f"has the step {_quoted(wrong)}, which not every system takes as a name"


def _quoted(path: str) -> str:
    """For people: nothing in it can play tricks on a terminal or fill a page."""
    text = path.encode("unicode_escape").decode("ascii")
    return f"“{text if len(text) <= 100 else text[:100] + '…'}”"

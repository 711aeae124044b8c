"""PURE: the first bytes of a file, what it is called and how it was labelled -> nothing, or why it is not taken.

Formats: GGUF (ggml's gguf.md), safetensors (its README), pickle (`pickletools`), Git-LFS pointers (its spec.md).
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from arwd import errors

ENOUGH: Final = 512
"""Bytes from the start of a file that are looked at."""

_HTML_NAMES: Final = (".html", ".htm", ".xhtml")
_JSON_NAMES: Final = (".json", ".jsonl", ".ndjson", ".json5", ".jsonc", ".geojson", ".ipynb", ".webmanifest")
_PICKLE_NAMES: Final = (".pkl", ".pickle", ".joblib")
_TORCH_NAMES: Final = (".pt", ".pth", ".ckpt")

_BLANK: Final = b" \t\r\n\f"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_HTML: Final = re.compile(rb"<(!doctype\s+html|html)\b", re.IGNORECASE)
_HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/v1"
# Not that of a template: `{{` and `{%`.
_JSON_OBJECT: Final = re.compile(rb"\{\s*\"")
# A key that speaks of an error, with a value that can describe one: in a vocabulary, "error" has a number.
_JSON_ERROR: Final = re.compile(
    rb'"(errors?|fault|detail|message|error_?(code|message|description))"\s*:\s*["\[{t]', re.I
)

_GGUF_MAGICS: Final = (b"GGUF", b"FUGG")
_GGUF_HEADER: Final = 24
_SAFETENSORS_HEADER: Final = range(2, 100_000_001)
"""Bytes that its header may have; the upper bound is the format's own."""

_ZIP: Final = b"PK\x03\x04"
_PICKLE_PROTOCOLS: Final = range(2, 6)
# What can follow the protocol: a frame, or the making of a value. Few other files that begin with 0x80 have it there.
_PICKLE_OPCODES: Final = frozenset(b"()]}BCGIJKLMNSTUVXc\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x95\x96")


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What is demanded of a file's first bytes."""

    name: str
    """The last segment of the path that was asked for."""
    has_digest: bool = False
    """A digest will decide in the end: then its bytes need not look like what its name says."""
    allow_unsafe: bool = False
    """May it be a pickle?"""


def fault(
    rule: Rule, first: bytes, *, url: str, content_type: str, suggested: str | None, size: int | None
) -> errors.TransferError | None:
    """Why a file that begins so is refused: NotAModel or UnsafeFormat; None if it is not.

    `first` is at least ENOUGH bytes, or the whole file. `url` stands in the sentence. `suggested` is the name that the
    server gave: what a name demands, either may demand; what it excuses, both must.
    """
    names = [name.lower() for name in (rule.name, suggested) if name]
    first = first[:ENOUGH]
    kind = content_type.partition(";")[0].strip().lower()
    found = _something_else(first, kind, names)
    if found is None and not rule.has_digest:
        found = _another_format(first, size, names)
    if found is not None:
        return errors.NotAModel(f"{url} {found}")
    if not rule.allow_unsafe and _is_pickle(first, size, names):
        return errors.UnsafeFormat(
            f"{url} is a pickle, which can run code when it is loaded; "
            "look for the same model as safetensors or GGUF, or set allow_unsafe_formats if you trust it"
        )
    return None


def _something_else(first: bytes, kind: str, names: list[str]) -> str | None:
    text = first.removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)
    if (kind in _HTML_TYPES or _HTML.match(text)) and not _are_all(names, _HTML_NAMES):
        return "sent an HTML page in place of the file; open it in a browser to see what it says, it may want a login"
    if first.startswith(_LFS_POINTER):
        return "sent a Git-LFS pointer in place of the file; on a model hub, /resolve/ in the path gets the file itself"
    is_json = kind == "application/json" or kind.endswith("+json") or _JSON_OBJECT.match(text)
    if is_json and _JSON_ERROR.search(text) and not _are_all(names, _JSON_NAMES):
        return "sent an error as JSON in place of the file; open it in a browser to see what it says"
    return None


def _another_format(first: bytes, size: int | None, names: list[str]) -> str | None:
    if _is_any(names, (".gguf",)):
        if not first.startswith(_GGUF_MAGICS):
            return "is no GGUF file, as its name says: it does not begin like one; is the address right?"
        if size is not None and size < _GGUF_HEADER:
            return f"is no whole GGUF file: it has {size} bytes, and the header alone has {_GGUF_HEADER}"
    if _is_any(names, (".safetensors",)) and not _is_safetensors(first, size):
        return "is no safetensors file, as its name says: its header is not one, or is longer than the file"
    return None


def _is_safetensors(first: bytes, size: int | None) -> bool:
    header = int.from_bytes(first[:8], "little")
    return first[8:9] == b"{" and header in _SAFETENSORS_HEADER and (size is None or 8 + header <= size)


def _is_pickle(first: bytes, size: int | None, names: list[str]) -> bool:
    if _is_any(names, _PICKLE_NAMES):
        return True
    if first.startswith(_ZIP):
        return b"/data.pkl" in first or _is_any(names, _TORCH_NAMES)
    if len(first) < 3 or first[0] != 0x80 or first[1] not in _PICKLE_PROTOCOLS or _is_safetensors(first, size):
        return False
    return first[2] in _PICKLE_OPCODES or _is_any(names, _TORCH_NAMES)


def _is_any(names: Iterable[str], suffixes: tuple[str, ...]) -> bool:
    return any(name.endswith(suffixes) for name in names)


def _are_all(names: Iterable[str], suffixes: tuple[str, ...]) -> bool:
    """Do all that have a suffix have one of these? None has one: no."""
    with_suffix = [name for name in names if "." in name]
    return bool(with_suffix) and all(name.endswith(suffixes) for name in with_suffix)

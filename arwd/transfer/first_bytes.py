"""PURE: the first bytes of a file, what it is called and how it was labelled -> nothing, or why it is not taken.

Formats: GGUF (ggml's gguf.md), safetensors (its README), pickle (`pickletools`), Git-LFS pointers (its spec.md).
"""

import pickletools
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from arwd import errors

ENOUGH: Final = 512
"""Bytes from the start of a file that are looked at."""

_HTML_NAMES: Final = (".html", ".htm", ".xhtml", ".md", ".markdown", ".svg")
_JSON_NAMES: Final = (".json", ".jsonl", ".ndjson", ".json5", ".jsonc", ".geojson", ".ipynb", ".webmanifest")
_TEXT_NAMES: Final = (".txt", ".md", ".yaml", ".yml", ".jinja", ".j2", ".tmpl", ".csv", ".py", ".toml", ".vocab")
_PICKLE_NAMES: Final = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt", ".jit", ".ptl", ".torchscript")
_ARCHIVE_NAMES: Final = (".zip", ".npz", ".whl", ".docx", ".mlpackage", ".keras")
_PACKED: Final = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".z")

_BLANK: Final = b" \t\r\n\f"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# Behind comments and an XML declaration, which may come first.
_HTML: Final = re.compile(
    rb"(?:(?:<!--.*?-->|<\?xml.*?\?>)\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/v1"
# A key that speaks of an error, with a value that can describe one: in a vocabulary, "error" has a number.
_JSON_ERROR: Final = re.compile(
    rb'"(errors?|fault|detail|message|error_?(code|message|description))"\s*:\s*["\[{t]', re.I
)
# Not that of a template: `{{` and `{%`.
_JSON_OBJECT: Final = re.compile(rb"\{\s*\"")

_GGUF_MAGICS: Final = (b"GGUF", b"FUGG")
_GGUF_HEADER: Final = 24
_SAFETENSORS_HEADER: Final = range(2, 100_000_001)
"""Bytes that its header may have; the upper bound is the format's own."""

_ZIP: Final = b"PK\x03\x04"
# What PyTorch puts first into an archive, below a folder: the pickle itself, or tensors and notes that come before it.
_TORCH_ENTRY: Final = re.compile(
    rb"[^/]+/(\w+\.pkl|data/\d+|code/.+|\.?(format_version|storage_alignment|version|byteorder))"
)
_PICKLE_PROTOCOLS: Final = range(6)
_PICKLE_OPCODES: Final = frozenset(ord(opcode.code) for opcode in pickletools.opcodes)
"""What can follow the protocol. Few other files that begin with 0x80 have one there."""
# The oldest protocols have no mark of their own: a name that is looked up, or the beginning of a list or dictionary.
_OLD_PICKLE: Final = re.compile(
    rb"[(\]}]*c[A-Za-z_][\w.]*\r?\n[A-Za-z_][\w.]*\r?\n|\(i[A-Za-z_][\w.]*\n\w+\n|\([dlt](p\d+\r?\n|q.)", re.DOTALL
)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What is demanded of a file's first bytes."""

    names: tuple[str, ...]
    """What the file is called by those who ask for it: the last segment of the path, and the caller's own name."""
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
    names = _lowered(rule, suggested)
    first = first[:ENOUGH]
    found = _something_else(first, content_type, names)
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


def mislabelled(rule: Rule, *, url: str, content_type: str, suggested: str | None) -> errors.NotAModel | None:
    """Why the rest of a file is refused that is labelled as something else; None if it is not."""
    found = _something_else(b"", content_type, _lowered(rule, suggested))
    return None if found is None else errors.NotAModel(f"{url} {found}")


def _lowered(rule: Rule, suggested: str | None) -> list[str]:
    return [name.lower() for name in (*rule.names, suggested) if name]


def _something_else(first: bytes, content_type: str, names: list[str]) -> str | None:
    kind = content_type.partition(";")[0].strip().lower()
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        first = first.decode("utf-16", "replace").encode()
    text = first.removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)
    if (kind in _HTML_TYPES or _HTML.match(text)) and not _are_all(names, _HTML_NAMES):
        return "sent an HTML page in place of the file; open it in a browser to see what it says, it may want a login"
    if first.startswith(_LFS_POINTER):
        return "sent a Git-LFS pointer in place of the file; on a model hub, /resolve/ in the path gets the file itself"
    is_said = kind == "application/json" or kind.endswith("+json")
    is_error = (is_said or _JSON_OBJECT.match(text)) and _JSON_ERROR.search(text)
    if is_error and not _are_all(names, _JSON_NAMES if is_said else _JSON_NAMES + _TEXT_NAMES):
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
    # Safetensors may begin as a pickle does; whoever loads it by its name takes it for what it says.
    if _is_safetensors(first, size) and (first[0] != 0x80 or _is_any(names, (".safetensors",))):
        return False
    if _is_any([_unpacked(name) for name in names], _PICKLE_NAMES) or _OLD_PICKLE.match(first):
        return True
    if first.startswith(_ZIP):
        entry = first[30 : 30 + int.from_bytes(first[26:28], "little")]
        is_torch = _TORCH_ENTRY.fullmatch(entry) is not None and not _is_any(names, _ARCHIVE_NAMES)
        return b"/data.pkl" in first or is_torch
    return len(first) > 2 and first[0] == 0x80 and first[1] in _PICKLE_PROTOCOLS and first[2] in _PICKLE_OPCODES


def _unpacked(name: str) -> str:
    """The name of what is inside, where it is compressed."""
    return name[: name.rindex(".")] if name.endswith(_PACKED) else name


def _is_any(names: Iterable[str], suffixes: tuple[str, ...]) -> bool:
    return any(name.endswith(suffixes) for name in names)


def _are_all(names: Iterable[str], suffixes: tuple[str, ...]) -> bool:
    """Do all that have a suffix have one of these? None has one: no."""
    with_suffix = [name for name in names if "." in name]
    return bool(with_suffix) and all(name.endswith(suffixes) for name in with_suffix)

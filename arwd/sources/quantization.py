"""Which of a repository's GGUF files are one model. PURE. Rule: a quantization is a whole word of the file's name.

The rules are llama.cpp's (common/download.cpp): Q4_K_M unless another is asked for, then Q8_0, then the first there is.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from arwd.errors import AmbiguousRef, ModelNotFound

DEFAULTS: Final = ("Q4_K_M", "Q8_0")
"""Taken in this order when none is asked for."""

_GGUF: Final = re.compile(r"(?i)\.gguf\Z")
_SHARD: Final = re.compile(r"(?i)(?P<prefix>.+)-(?P<index>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf\Z")
_KINDS: Final = (
    r"I?Q[1-9](?:_(?:0|1|4|8|K|S|M|L|P|XS|XXS|XL|XXL|NL|KS|KSS|KT|R4|R8))*"
    r"|TQ[12]_0|BF16|F16|F32|FP16|FP32|MXFP4(?:_MOE)?|NVFP4"
)
# `UD-` is part of the name: such a file is another than the one without it.
_NAME: Final = re.compile(rf"(?i)(?<![A-Z0-9])(?:UD-)?(?:{_KINDS})(?=\.|-[0-9]{{5}}-of-|\Z)")
_BITS: Final = re.compile(r"[0-9]+")
# What helps a model, or helped to make it: found by name alone, as llama.cpp does.
_ASSISTANT: Final = re.compile(r"(?i:\A(?:mtp|eagle3|dflash|dspark)-)|(?<![a-z0-9])(?:mtp|eagle3|dflash|dspark)-")


class Chosen(NamedTuple):
    """The files of one quantization, in the order of the shards, a projector last."""

    paths: tuple[str, ...]
    quantization: str | None


class _Group(NamedTuple):
    """One file, or the shards of one."""

    prefix: str
    parts: int
    paths: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return len(self.paths) == self.parts


def holds_models(paths: Iterable[str]) -> bool:
    """Is any of these a model in the format GGUF?"""
    return any(_is_model(path) for path in paths)


def name_of(path: str) -> str | None:
    """The quantization that this file's name names, in upper case; else that of its folder; None if neither does."""
    folder, _, name = path.rpartition("/")
    found = _NAME.findall(_GGUF.sub("", name))
    if not found:
        found = [folder.rpartition("/")[2]] if _NAME.fullmatch(folder.rpartition("/")[2]) else []
    return found[-1].upper() if found else None


def offered(paths: Iterable[str]) -> tuple[str, ...]:
    """The quantizations that could be asked for, in the order of the files; without those that are incomplete."""
    names = (name_of(group.paths[0]) for group in _groups(paths) if group.is_whole)
    return tuple(dict.fromkeys(name for name in names if name is not None))


def choose(paths: Sequence[str], wanted: str | None, where: str) -> Chosen:
    """The files for this quantization, or for the default. `where`: what the repository is called in a sentence.

    ModelNotFound names what there is instead; AmbiguousRef the models that it could be.
    """
    groups = _groups(paths)
    if not groups:
        raise ModelNotFound(f"{where} holds no GGUF file.")
    if wanted is None:
        for default in DEFAULTS:
            if found := _called(groups, default):
                return _only(found, default, paths, where)
        first = name_of(groups[0].paths[0])
        return _only([group for group in groups if name_of(group.paths[0]) == first], first, paths, where)
    found = _called(groups, wanted)
    if not found:
        names = offered(paths)
        has = f"it has {', '.join(names)}." if names else "its files name none: link one of them."
        raise ModelNotFound(f"{where} has no quantization {wanted}; {has}")
    return _only(found, wanted, paths, where)


def _only(found: Sequence[_Group], wanted: str | None, paths: Sequence[str], where: str) -> Chosen:
    """The one group; a repository of several models does not say which of them is meant."""
    if len(found) > 1:
        candidates = ", ".join(group.paths[0] for group in found)
        of = "" if wanted is None else f" of {wanted}"
        raise AmbiguousRef(f"{where} holds several models{of}: {candidates}. Link the file that you mean.")
    group = found[0]
    if not group.is_whole:
        raise ModelNotFound(
            f"{where} holds {len(group.paths)} of the {group.parts} parts of {group.prefix}: whoever publishes it must "
            "add the others; choose another quantization meanwhile."
        )
    projector = _projector(group.paths[0], paths)
    return Chosen((*group.paths, *([] if projector is None else [projector])), name_of(group.paths[0]))


def _called(groups: Iterable[_Group], wanted: str) -> list[_Group]:
    # Between a name and the end stands a dot, or the number of the shard. What has a name of its own has no other.
    word = re.compile(rf"(?i)(?:\A|[-._])(?<!UD-){re.escape(wanted)}(?:\.|-[0-9]{{5}}-of-)")
    found = []
    for group in groups:
        path = group.paths[0]
        own = name_of(path)
        if own == wanted.upper() or (own is None and word.search(path.rpartition("/")[2])):
            found.append(group)
    return found


def _groups(paths: Iterable[str]) -> list[_Group]:
    """The models, each with its shards in order, in the order of the first."""
    found: dict[tuple[str, int], dict[int, str]] = {}
    for path in paths:
        if not _is_model(path):
            continue
        shard = _SHARD.fullmatch(path)
        key = (shard["prefix"], int(shard["count"])) if shard else (path, 1)
        found.setdefault(key, {})[int(shard["index"]) if shard else 1] = path
    return [
        _Group(prefix, count, tuple(shards[index] for index in sorted(shards) if 1 <= index <= count))
        for (prefix, count), shards in found.items()
        if any(1 <= index <= count for index in shards)
    ]


def _is_model(path: str) -> bool:
    name = path.rpartition("/")[2]
    is_other = "mmproj" in name.lower() or "imatrix" in name.lower() or _ASSISTANT.search(name)
    return bool(_GGUF.search(name)) and not is_other


def _projector(model: str, paths: Iterable[str]) -> str | None:
    """The `mmproj` that goes with this model: deepest shared folder, then the same name, then the nearest in bits."""
    found = [path for path in paths if _GGUF.search(path) and "mmproj" in path.rpartition("/")[2].lower()]
    if not found:
        return None
    folders, bits = model.split("/")[:-1], _bits(name_of(model))

    def distance(path: str) -> tuple[int, bool, int]:
        shared = 0
        for one, other in zip(folders, path.split("/")[:-1], strict=False):
            if one != other:
                break
            shared += 1
        return -shared, name_of(path) != name_of(model), abs(_bits(name_of(path)) - bits)

    return min(found, key=distance)


def _bits(name: str | None) -> int:
    """How many bits a quantization has; half precision if nobody says."""
    found = _BITS.search(name or "")
    return int(found[0]) if found else 16

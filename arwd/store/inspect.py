"""What is known of a finished model from the heads of its files. Rule: they are read with bounds, and never trusted.

Nothing is raised but OSError: what makes no sense is not known, or it is no model that arwd can read.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from arwd.model import MAX_WHOLE
from arwd.store import gguf, safetensors
from arwd.store.ggml import FILE_TYPES, GUESSED
from arwd.store.reader import Budget
from arwd.store.tensors import Tally

MOST_READ: Final = 64 * 1024 * 1024
"""Bytes that are read of one model, over all its files."""
MOST_FILES: Final = 4_096
"""Files of a directory that are looked at."""
MOST_CHARACTERS: Final = 200
"""Of a name that is shown."""

_SHARD: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)", re.DOTALL)
# What lies beside a model and is none: llama.cpp's list.
_BESIDE: Final = re.compile(r"mmproj|imatrix|(^|/)(mtp|eagle3|dflash|dspark)-", re.IGNORECASE)
_QUANTIZATION: Final = re.compile(
    r"(?<![a-z0-9])((?:UD-)?(?:I?Q\d_\w+|TQ\d_0|[BF]?F(?:16|32|64)|MXFP4(?:_MOE)?|NVFP4))(?![a-z0-9])", re.IGNORECASE
)
_ENCODERS: Final = frozenset({"gemma-embedding", "t5encoder", "mpnet"})
"""Architectures that embed texts without being called after BERT."""
_SCALES: Final = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


class Quantization(msgspec.Struct, frozen=True, kw_only=True):
    """How the weights are packed."""

    name: str
    """As people call it: `Q4_K_M`, `BF16`."""
    bits_per_weight: float | None = None
    """The mean over all of them."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a model says of itself."""

    format: Literal["gguf", "safetensors"]
    type: Literal["llm", "embedding"] = "llm"
    architecture: str | None = None
    quantization: Quantization | None = None
    parameters: int | None = None
    """How many, counted from its tensors."""
    params_string: str | None = None
    """The same for people: `7B`, `4x7B`, as its maker says, or else rounded."""
    context_length: int | None = None
    """Tokens."""
    display_name: str | None = None


def inspect(paths: Iterable[Path]) -> Head | None:
    """The head of the model that these files, or those in these directories, are; None if arwd can read none.

    Blocks, for a tenth of a second where a vocabulary is in it, and seconds where somebody wants it to; OSError.
    """
    files = list(itertools.islice(itertools.chain.from_iterable(map(_files, paths)), MOST_FILES))
    budget = Budget(MOST_READ)
    return _gguf(_weights(files, ".gguf"), budget) or _safetensors(_weights(files, ".safetensors"), files, budget)


def _gguf(shards: Sequence[Path], budget: Budget) -> Head | None:
    keys: dict[str, gguf.Key] = {}
    tally = Tally()
    if not shards or not gguf.read(shards[0], budget, keys, tally):
        return None
    for shard in shards[1:]:
        if not gguf.read(shard, budget, keys, tally):
            tally.miss()
    architecture = _shown(keys.get("general.architecture"))
    pools = _whole(keys.get(f"{architecture}.pooling_type")) is not None  # 0 is none
    return Head(
        format="gguf",
        type="embedding" if pools or _embeds(architecture) else "llm",
        architecture=architecture,
        quantization=_quantization(_file_type(keys) or tally.commonest or _said(shards[0]), tally.bits_per_value),
        parameters=tally.values,
        params_string=_shown(keys.get("general.size_label")) or _rounded(tally.values),
        context_length=_whole(keys.get(f"{architecture}.context_length")),
        display_name=_shown(keys.get("general.name")),
    )


def _safetensors(shards: Sequence[Path], files: Sequence[Path], budget: Budget) -> Head | None:
    tally = Tally()
    if not shards or not safetensors.read(shards[0], budget, tally):
        return None
    for shard in shards[1:]:
        if not safetensors.read(shard, budget, tally):
            tally.miss()
    beside = {path.name: path for path in files if path.parent == shards[0].parent}
    config = safetensors.Config()
    if "config.json" in beside:
        config = safetensors.read_config(beside["config.json"], budget)
    # Packed by a quantizer, one value stands for several: then their number is not known.
    parameters = None if config.method else tally.values
    bits = tally.bits_per_value if config.method is None else config.bits
    architecture = _shown(config.architecture)
    return Head(
        format="safetensors",
        # sentence-transformers puts this file beside a model that embeds.
        type="embedding" if _embeds(architecture) or "modules.json" in beside else "llm",
        architecture=architecture,
        quantization=_quantization(config.method or tally.commonest or _said(shards[0]), bits),
        parameters=parameters,
        params_string=_rounded(parameters),
        context_length=_whole(config.context_length),
    )


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or those below the directory, nearest first."""
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


def _weights(files: Iterable[Path], suffix: str) -> Sequence[Path]:
    """Those that are the model, in the order of their shards: of several models, the largest."""
    of_kind = [path for path in files if path.suffix.lower() == suffix]
    of_kind = [path for path in of_kind if not _BESIDE.search(path.name)] or of_kind
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in of_kind:
        shard = _SHARD.fullmatch(path.name)
        groups.setdefault((path.parent, f"{shard[1]} {shard[3]}" if shard else path.name), []).append(path)
    sizes = {key: sum(path.stat(follow_symlinks=False).st_size for path in group) for key, group in groups.items()}
    return sorted(groups[max(sizes, key=lambda key: sizes[key])]) if groups else ()


def _file_type(keys: dict[str, gguf.Key]) -> str | None:
    number = keys.get("general.file_type")
    return FILE_TYPES.get(number & ~GUESSED) if type(number) is int else None


def _said(path: Path) -> str | None:
    """The quantization that the name of the file ends with."""
    found = _QUANTIZATION.findall(path.stem)
    return found[-1].upper() if found else None


def _quantization(name: str | None, bits: float | None) -> Quantization | None:
    name = _shown(name)
    return None if name is None else Quantization(name=name, bits_per_weight=bits)


def _embeds(architecture: str | None) -> bool:
    return architecture is not None and ("bert" in architecture.lower() or architecture.lower() in _ENCODERS)


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 < value <= MAX_WHOLE else None


def _shown(value: object) -> str | None:
    """The text without what cannot be shown; None if nothing is left."""
    if not isinstance(value, str):
        return None
    return "".join(filter(str.isprintable, value))[:MOST_CHARACTERS].strip() or None


def _rounded(count: int | None) -> str | None:
    """A number of parameters as people say it: 6,738,415,616 is `6.7B`."""
    for scale, letter in _SCALES:
        if count is not None and count >= scale * 0.9995:  # 999,999 is 1M, not 1000K
            amount = count / scale
            return f"{amount:.0f}{letter}" if amount >= 9.95 else f"{amount:.1f}".removesuffix(".0") + letter
    return None if count is None else str(count)

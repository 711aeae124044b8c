"""The head of a safetensors file, and the `config.json` beside it. Facts: the format's README, transformers' names.

Rule: nothing in them is believed that could not be so; what makes no sense counts as absent.
"""

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from arwd.store.reader import Budget, Ended, Reader
from arwd.store.tensors import Tally

MOST_HEADER: Final = 8 * 1024 * 1024
"""Bytes of a header that is read: about 70,000 tensors in one file. It takes ten times that while it is decoded."""
MOST_CONFIG: Final = 1024 * 1024
"""Bytes of a `config.json`."""

_BITS: Final = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip
"""The types of weights, in bits. Whole numbers are places and masks, or weights packed by a quantizer."""

_CONTEXT: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "n_ctx",
)
_METHODS: Final = ("quantization_config", "quantization")
_PARTS: Final = ("text_config", "llm_config", "language_config")
"""Where a model for more than text says what it is for text."""

_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Tensor(msgspec.Struct):
    dtype: str = ""
    # `__metadata__` is in the same object, and has texts.
    shape: list[_Size] | str = []


_header = msgspec.json.Decoder(dict[str, _Tensor])


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What `config.json` says of the model."""

    architecture: str | None = None
    context_length: int | None = None
    method: str | None = None
    """How its weights were quantized, as `GPTQ`."""
    bits: int | None = None
    """Of one weight, where it was."""


def read(path: Path, budget: Budget, tally: Tally) -> bool:
    """Count the tensors of the file. Is it one at all? Blocks; OSError."""
    with Reader(path, budget) as reader:
        if reader.size < 8:
            return False
        try:
            length = int.from_bytes(reader.take(8), "little")
            if not 2 <= length <= reader.size - 8:
                return False
            tensors = _header.decode(reader.take(length)) if length <= MOST_HEADER else None
        except Ended:
            tensors = None  # too much was read already
        except (msgspec.DecodeError, ValueError, RecursionError):
            return False
    if tensors is None:
        tally.miss()
        return True
    for name, tensor in tensors.items():
        if name != "__metadata__" and isinstance(tensor.shape, list) and tensor.dtype in _BITS:
            tally.add(tensor.dtype, tensor.shape, _BITS[tensor.dtype])
    return True


def read_config(path: Path, budget: Budget) -> Config:
    """What it says; nothing if it cannot be read as such a file. Blocks; OSError."""
    with Reader(path, budget) as reader:
        if reader.size > MOST_CONFIG:
            return Config()
        try:
            known = msgspec.json.decode(reader.take(reader.size))
        except (Ended, msgspec.DecodeError, ValueError, RecursionError):
            return Config()
    return _config(known) if isinstance(known, dict) else Config()


def _config(known: dict[str, Any]) -> Config:
    parts = [known, *(known[name] for name in _PARTS if isinstance(known.get(name), dict))]
    kinds = known.get("architectures")
    names = [known.get("model_type"), *(kinds[:1] if isinstance(kinds, list) else ())]
    lengths = [part.get(name) for part in parts for name in _CONTEXT]
    methods = [part[name] for part in parts for name in _METHODS if isinstance(part.get(name), dict)]
    method = methods[0] if methods else {}
    name, bits = method.get("quant_method"), method.get("bits")
    bits = bits if type(bits) is int and 1 <= bits <= 16 else None
    return Config(
        architecture=next((name for name in names if isinstance(name, str) and name), None),
        context_length=next((length for length in lengths if type(length) is int), None),
        method=name.upper() if isinstance(name, str) and name else f"{bits}BIT" if bits else None,
        bits=bits,
    )

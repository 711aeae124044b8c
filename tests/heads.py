"""Heads of model files, as the programs that make models write them; what follows a head is left out or zeros."""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

TYPES = {bool: (7, "?"), int: (4, "I"), float: (6, "f")}


class Array(NamedTuple):
    """An array in a GGUF: the number of its type, and its elements (texts as bytes)."""

    kind: int
    values: Sequence[Any]


class Tensor(NamedTuple):
    """A tensor of a GGUF: its name, its dimensions, the number of its type."""

    name: str
    shape: Sequence[int]
    kind: int = 0


def gguf(keys: Mapping[str, Any], tensors: Sequence[Tensor] = (), *, version: int = 3, order: str = "<") -> bytes:
    """The head of a GGUF. Version 1 counts in 32 bits; big-endian files have everything so but the magic."""
    length = "I" if version == 1 else "Q"

    def number(letter: str, value: Any) -> bytes:
        return struct.pack(order + letter, value)

    def text(value: bytes) -> bytes:
        return number(length, len(value)) + value

    def typed(value: Any) -> bytes:
        if isinstance(value, str):
            return number("I", 8) + text(value.encode())
        if isinstance(value, Array):
            packed = [text(each) if value.kind == 8 else number("f", each) for each in value.values]
            return number("I", 9) + number("I", value.kind) + number(length, len(packed)) + b"".join(packed)
        kind, letter = TYPES[type(value)]
        return number("I", kind) + number(letter, value)

    parts = [b"GGUF", number("I", version), number(length, len(tensors)), number(length, len(keys))]
    parts += [text(name.encode()) + typed(value) for name, value in keys.items()]
    for tensor in tensors:
        parts += [text(tensor.name.encode()), number("I", len(tensor.shape))]
        parts += [number(length, size) for size in tensor.shape]
        parts += [number("I", tensor.kind), number("Q", 0)]
    return b"".join(parts)


LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny Llama",
    "general.size_label": "4x7B",
    "general.file_type": 15,
    "llama.rope.freq_base": 10000.0,
    "llama.context_length": 4096,
    "tokenizer.ggml.tokens": Array(8, [b"<s>", b"", "\u2581the".encode()]),
    "tokenizer.ggml.scores": Array(6, [0.0, -1.0, -2.0]),
    "tokenizer.ggml.add_bos_token": True,
}
"""Keys as llama.cpp's converter writes them."""

TENSORS = (Tensor("token_embd.weight", (256, 32), 12), Tensor("output.weight", (256, 32), 14), Tensor("norm", (256,)))
"""8,192 values of Q4_K, as many of Q6_K, 256 of F32."""


def safetensors(tensors: Mapping[str, tuple[str, Sequence[int]]], *, metadata: Any = None) -> bytes:
    """The head of a safetensors file: name → type and shape."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    for name, (kind, shape) in tensors.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [0, 0]}
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded

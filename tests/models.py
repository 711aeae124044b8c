"""Bytes that begin as a model does. What follows the header nobody looks at."""

import json
import random
import struct
from pathlib import Path

GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
"""The header of a GGUF of version 3 without tensors and without keys."""


def gguf(body: bytes) -> bytes:
    """As many bytes, with the header in place of the first of them."""
    return GGUF + body[len(GGUF) :]


def tensors(size: int, salt: int = 0) -> bytes:
    """A whole safetensors file, no two of which are equal."""
    head = json.dumps({"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(head)) + head + random.Random(size + salt).randbytes(size)


SEVERAL = {
    "config.json": b'{"architectures": ["X"]}',
    "empty.txt": b"",
    "tokenizer/vocab.json": b"{}",
    "model-00001-of-00002.safetensors": tensors(2_000_000),
    "model-00002-of-00002.safetensors": tensors(1_500_000),
}


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}

"""Bytes that begin as a model does. What follows the header nobody looks at."""

GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
"""The header of a GGUF of version 3 without tensors and without keys."""


def gguf(body: bytes) -> bytes:
    """As many bytes, with the header in place of the first of them."""
    return GGUF + body[len(GGUF) :]

"""The head of a GGUF file: its keys and its tensors. Facts: ggml's docs/gguf.md, and its git history for versions 1, 2.

Rule: a count or a length in it is a claim. Each is bounded before anything is done with it, and arrays are skipped.
"""

import struct
from pathlib import Path
from typing import Final

from arwd.store.ggml import TENSOR_TYPES
from arwd.store.reader import Budget, Ended, Reader
from arwd.store.tensors import MOST_DIMENSIONS, Tally

Key = str | int | float | bool

MOST_KEYS: Final = 4_096
"""A model has about forty."""
MOST_TENSORS: Final = 262_144
"""Of all shards together; the largest models have a few thousand."""
MOST_TEXTS: Final = 2_097_152
"""Of one array; the largest vocabularies have a quarter of a million, and twice as many merges."""
MOST_TEXT: Final = 1_024
"""Bytes of a text that is kept."""
_MAGICS: Final = (b"GGUF", b"FUGG")
_VERSIONS: Final = (1, 2, 3)
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Type of a value → its `struct` format."""


def read(path: Path, budget: Budget, keys: dict[str, Key], tally: Tally) -> bool:
    """Put into `keys` and `tally` what the file's head says. Is it one at all? Blocks; OSError.

    Keys that are there already are not replaced: those of the first shard hold.
    """
    with Reader(path, budget) as reader:
        try:
            head = _Head.begin(reader)
        except Ended:
            head = None
        if head is None:
            return False
        try:
            head.read_keys(keys)
            head.read_tensors(tally)
        except Ended:
            tally.miss()
        return True


class _Head:
    """One head behind its magic and version. Every method raises Ended where it makes no sense any more."""

    def __init__(self, reader: Reader, version: int, order: str) -> None:
        self._reader = reader
        self._formats = {kind: struct.Struct(order + letter) for kind, letter in _SCALARS.items()}
        self._type = self._formats[4]
        # Version 1 counts with 32 bits.
        self._length = self._formats[4 if version == 1 else 10]
        self._tensors = self._number(self._length)
        self._keys = self._number(self._length)

    @classmethod
    def begin(cls, reader: Reader) -> "_Head | None":
        """The head of this file, or nothing if it is of another kind or version."""
        magic, version = reader.take(4), reader.take(4)
        for order, number in (("<", int.from_bytes(version, "little")), (">", int.from_bytes(version, "big"))):
            if magic in _MAGICS and number in _VERSIONS:
                return cls(reader, number, order)
        return None

    def read_keys(self, keys: dict[str, Key]) -> None:
        if self._keys > MOST_KEYS:
            raise Ended
        for _ in range(self._keys):
            name = self._text()
            kind = self._number(self._type)
            if kind == _ARRAY:
                self._skip_array()
                continue
            value = self._text() if kind == _STRING else self._scalar(kind)
            if name is not None and value is not None:
                keys.setdefault(name, value)

    def read_tensors(self, tally: Tally) -> None:
        if tally.tensors + self._tensors > MOST_TENSORS:
            raise Ended
        for _ in range(self._tensors):
            self._reader.skip(self._number(self._length))
            dimensions = self._number(self._type)
            if dimensions > MOST_DIMENSIONS:
                raise Ended
            shape = [self._number(self._length) for _ in range(dimensions)]
            kind = TENSOR_TYPES.get(self._number(self._type))
            self._reader.take(8)  # where its values are
            bits = None if kind is None else kind.bytes * 8 / kind.values
            tally.add(None if kind is None else kind.name, shape, bits)

    def _number(self, form: struct.Struct) -> int:
        number: int = form.unpack(self._reader.take(form.size))[0]
        return number

    def _scalar(self, kind: int) -> Key:
        form = self._formats.get(kind)
        if form is None:
            raise Ended  # its length cannot be known
        value: Key = form.unpack(self._reader.take(form.size))[0]
        return value

    def _text(self) -> str | None:
        length = self._number(self._length)
        if length > MOST_TEXT:
            self._reader.skip(length)
            return None
        return self._reader.take(length).decode(errors="replace")

    def _skip_array(self) -> None:
        kind, count = self._number(self._type), self._number(self._length)
        if kind == _STRING and count <= MOST_TEXTS:
            self._reader.skip_strings(count, self._length)
        elif kind in self._formats:
            self._reader.skip(self._formats[kind].size * count)
        else:
            raise Ended  # too many, or an array of arrays: the format has a word for it, and no reader takes it

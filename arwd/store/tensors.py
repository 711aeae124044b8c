"""How many values the tensors of a model have, of which type, and how many bits each takes."""

import collections
import math
from collections.abc import Sequence
from typing import Final

from arwd.model import MAX_WHOLE

MOST_DIMENSIONS: Final = 8
"""ggml has four; no model has more than these."""


class Tally:
    """What was counted so far. Whatever cannot be makes the whole unknown, never wrong."""

    def __init__(self) -> None:
        self._values: collections.Counter[str] = collections.Counter()
        self._bits = 0.0
        self.tensors = 0
        """How many were added."""
        self._is_whole = True
        self._has_bits = True

    def add(self, kind: str | None, shape: Sequence[int], bits: float | None) -> None:
        """One more tensor: its type by name, if it has one, and the bits of one value, if that is known."""
        self.tensors += 1
        if len(shape) > MOST_DIMENSIONS or min(shape, default=0) < 0:
            self._is_whole = False
            return
        count = math.prod(shape)
        if kind is not None:
            self._values[kind] += count
        if bits is None or kind is None:
            self._has_bits = False
        else:
            self._bits += count * bits
        # Those of an unknown type count as well.
        if kind is None:
            self._values[""] += count

    def miss(self) -> None:
        """There are more, which could not be read."""
        self._is_whole = False

    @property
    def values(self) -> int | None:
        """How many there are; None while that cannot be known, or cannot be."""
        total = self._values.total()
        return total if self._is_whole and 0 < total <= MAX_WHOLE else None

    @property
    def commonest(self) -> str | None:
        """The type that most values have, as far as was read."""
        known = [(count, kind) for kind, count in self._values.items() if kind and count]
        return max(known)[1] if known else None

    @property
    def bits_per_value(self) -> float | None:
        """The mean, to two decimals."""
        values = self.values
        return round(self._bits / values, 2) if values and self._has_bits else None

"""A file's share of what is promised to its whole model: what was promised once is not asked for again."""

from arwd.store.space import Space, Written


class Share:
    """The room of one file of several, for its part."""

    def __init__(self, space: Space, key: str, size: int | None) -> None:
        """`size`: what was promised to the model for this file; None: nothing, as nobody knew."""
        self._space = space
        self._key = key
        self._size = size

    async def promise(self, _: str, *, size: int | None, written: Written) -> int | None:
        """As `Space.promise`, for this file."""
        if size is not None and size == self._size:
            self._space.admit(size)
            return None
        return await self._space.promise(self._key, size=size, written=written)

    async def look_again(self, _: str) -> int | None:
        """As `Space.look_again`."""
        return await self._space.look_again(self._key)

    def withdraw(self, _: str) -> None:
        """Nothing more of this file comes."""
        self._space.withdraw(self._key)

    def admit(self, length: int) -> None:
        """As `Space.admit`."""
        self._space.admit(length)

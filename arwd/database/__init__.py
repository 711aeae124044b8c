"""One SQLite file, one thread that writes. Rule: what is enqueued first is committed first.

`write` takes its place in the queue before it returns, so a caller that draws a number and enqueues in one step
without an await has put its number in commit order. The writer drains the queue into one transaction and gives
each unit a savepoint of its own: a unit that fails takes nobody with it, one fsync serves them all.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from arwd.database import health, opening, schema
from arwd.errors import DiskFull, StorageError

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Change = Callable[[sqlite3.Cursor], None]
"""One room's part of a transaction. Rooms export functions that return one; `jobs` composes them."""

After = Callable[[], None]
"""What is to be done once a unit is durable and before anybody hears of it. May block."""

_Unit = tuple[tuple[Change, ...], After | None, asyncio.Future[None]]
_Outcome = tuple[asyncio.Future[None], StorageError | None]
_BATCH = 256
"""Units in one transaction at most: bounds how long the first of them waits for its commit."""


class Database:
    """The open database. Reads run in one thread of their own, writes in another; the loop never waits for a disk."""

    def __init__(self, path: Path, *, make_room: Callable[[], bool] = lambda: False) -> None:
        """A damaged file is set aside and made anew. `make_room` is called on a full disk: was any made? StorageError.

        It is called in the writer's thread.
        """
        self._path = path
        self._make_room = make_room
        self._units: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        with _translate_errors(path, "cannot open"):
            self._writer = opening.open_whole(path, make_room)
            self._reader = schema.connect(path)
            self._reader.execute("PRAGMA query_only = ON")
        self._thread = threading.Thread(target=self._write_forever, name="database-writer", daemon=True)
        self._thread.start()
        self._reading = concurrent.futures.ThreadPoolExecutor(1, "database-reader")

    def write(self, *changes: Change, after: After | None = None) -> asyncio.Future[None]:
        """Enqueue one unit and return at once; the future ends when it is durable, or with StorageError.

        `after` runs in between, in the writer's thread. Cancelling the future does not take the unit back.
        """
        done = asyncio.get_running_loop().create_future()
        self._units.put((changes, after, done))
        return done

    async def read(self, query: Callable[[sqlite3.Cursor], Result]) -> Result:
        """Run a query in the reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, self.read_now, query)

    def read_now(self, query: Callable[[sqlite3.Cursor], Result]) -> Result:
        """Run a query in this thread: for the boot, when there is no loop to hold up."""
        with _translate_errors(self._path, "cannot read"):
            return query(self._reader.cursor())

    def close(self) -> None:
        """Commit what is queued, then close. Blocks."""
        self._units.put(None)
        self._thread.join()
        self._reading.shutdown()
        self._reader.close()
        opening.close(self._writer)

    def _write_forever(self) -> None:
        while True:
            unit = self._units.get()
            if unit is None:
                return
            batch = [unit]
            is_last = False
            while len(batch) < _BATCH and not self._units.empty():
                following = self._units.get()
                if following is None:
                    is_last = True
                    break
                batch.append(following)
            self._commit(batch)
            if is_last:
                return

    def _commit(self, batch: list[_Unit]) -> None:
        try:
            try:
                outcomes = self._try(batch)
            except sqlite3.OperationalError as error:
                if not health.may_be_full(error) or not self._make_room():
                    raise
                outcomes = self._try(batch)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            outcomes = [(done, self._failure(error)) for _, _, done in batch]
        for (_, after, _), (_, failure) in zip(batch, outcomes, strict=True):
            if after is not None and failure is None:
                _tidy(after)
        loop = batch[0][2].get_loop()
        # The loop is gone when a stop was cut short; the commit stands, nobody is left to be told.
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, outcomes)

    def _try(self, batch: list[_Unit]) -> list[_Outcome]:
        cursor = self._writer.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            outcomes = [(done, self._apply(cursor, changes)) for changes, _, done in batch]
            cursor.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                cursor.execute("ROLLBACK")
            raise
        return outcomes

    def _apply(self, cursor: sqlite3.Cursor, changes: tuple[Change, ...]) -> StorageError | None:
        cursor.execute("SAVEPOINT unit")
        failure = None
        try:
            for change in changes:
                change(cursor)
        except Exception as error:
            # Any: a bug in one room must not end the thread that all need.
            if health.may_be_full(error):
                raise  # nobody else in this transaction has room either, and SQLite may have ended it by itself
            cursor.execute("ROLLBACK TO unit")
            failure = self._failure(error)
        cursor.execute("RELEASE unit")
        return failure

    def _failure(self, error: Exception) -> StorageError:
        family = DiskFull if health.is_full(error) else StorageError
        failure = family(f"{self._path.name}: {error}")
        failure.__cause__ = error
        return failure


def _tidy(after: After) -> None:
    try:
        after()
    except OSError as error:
        # What is left is found at the next start.
        log.warning("Something was left lying about: %s", error, extra={"event": "tidy_failed"})
    except Exception:
        log.exception("Something was left lying about", extra={"event": "tidy_failed"})


def _settle(outcomes: list[_Outcome]) -> None:
    for done, failure in outcomes:
        if done.cancelled():
            continue
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)


@contextlib.contextmanager
def _translate_errors(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the second: damage that even the complaint repeats
        raise StorageError(f"{what} {path}: {error}") from error

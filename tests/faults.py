"""What goes wrong inside a daemon, as data: a point of the road at which the process is killed, or a refusing disk.

python -m tests.faults '{"kill_at": "renamed"}' serve --state-dir DIRECTORY
"""

import ctypes
import errno
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from arwd import cli, database, fs
from arwd.database import schema
from arwd.jobs import vigil, work
from arwd.store import control, placing
from arwd.store.writer import PartWriter

_PR_SET_PTRACER = 0x59616D61

Plant = Callable[[Callable[[], None]], None]
"""Plants a point: from now on what it is given is called whenever the daemon comes by."""


def kill() -> NoReturn:
    """Not even the C library hears of it."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
    raise AssertionError("nobody outlives SIGKILL")


def _after(place: Any, name: str, *, when: Callable[..., bool] = lambda *_, **__: True) -> Plant:
    """The point behind a function's last step."""

    def plant(passed: Callable[[], None]) -> None:
        function = getattr(place, name)

        def then(*arguments: Any, **more: Any) -> Any:
            result = function(*arguments, **more)
            if when(*arguments, **more):
                passed()
            return result

        setattr(place, name, then)

    return plant


def _mid_slab(passed: Callable[[], None]) -> None:
    write = os.pwritev

    def half(descriptor: int, chunks: list[bytes], offset: int) -> int:
        data = b"".join(chunks)
        written = write(descriptor, [data[: len(data) // 2]], offset)
        passed()
        return written

    os.pwritev = half  # type: ignore[assignment]


def _digested(passed: Callable[[], None]) -> None:
    digest = PartWriter.digest

    async def then(self: PartWriter) -> str:
        found = await digest(self)
        passed()
        return found

    PartWriter.digest = then  # type: ignore[method-assign]


class _LastUnit:
    """Is the transaction at work, or the one just committed, the one that makes a model known?"""

    def __init__(self) -> None:
        self.is_it = False
        record = work.record_model

        def marking(model: Any) -> Any:
            change = record(model)

            def marked(cursor: Any) -> None:
                change(cursor)
                self.is_it = True

            return marked

        work.record_model = marking

    def plant(self, place: Any, name: str, passed: Callable[[], None], *, is_before: bool) -> None:
        function = getattr(place, name)

        def then(*arguments: Any, **more: Any) -> Any:
            if self.is_it and is_before:
                passed()
            result = function(*arguments, **more)
            if self.is_it and not is_before:
                passed()
            return result

        setattr(place, name, then)


def _in_the_commit(passed: Callable[[], None]) -> None:
    last, connect = _LastUnit(), schema.connect

    def traced(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(begins)
        return connection

    def begins(statement: str) -> None:
        if statement == "COMMIT" and last.is_it:
            time.sleep(0.05)  # whoever was told too early has heard it by then
            passed()

    schema.connect = traced


def _committed(passed: Callable[[], None]) -> None:
    _LastUnit().plant(database, "_tidy", passed, is_before=True)


def _half_tidied(passed: Callable[[], None]) -> None:
    # The list is written, the control file and the secret are still there.
    _LastUnit().plant(fs, "write_atomic", passed, is_before=False)


def _tidied(passed: Callable[[], None]) -> None:
    _LastUnit().plant(database, "_tidy", passed, is_before=False)


def _revealed(passed: Callable[[], None]) -> None:
    _LastUnit().plant(database, "_settle", passed, is_before=False)


POINTS: Mapping[str, Plant] = {
    "control-file": _after(control, "write"),
    "mid-slab": _mid_slab,
    "digested": _digested,
    "checked": _after(control, "write", when=lambda _, known: known.checked is not None),
    "renamed": _after(fs, "rename_without_replacing"),
    "replaced": _after(os, "replace", when=lambda source, _: str(source).endswith(".part")),
    "placed": _after(placing, "place"),
    "linked": _after(fs, "link"),
    "handed-over": _after(control, "hand_over"),
    "exchanged": _after(fs, "exchange"),
    "half-removed": _after(Path, "unlink", when=lambda path, **_: path.name == "config.json"),
    "removed": _after(fs, "remove_files"),
    "in-the-commit": _in_the_commit,
    "committed": _committed,
    "half-tidied": _half_tidied,
    "tidied": _tidied,
    "revealed": _revealed,
}
SINCE_CHECKED = ("checked", "renamed", "placed", "in-the-commit", "committed", "half-tidied", "tidied", "revealed")
"""Those behind which no byte is missing, and the control file says so."""


def _fill_up(flag: Path) -> None:
    """While the flag is there, the disk takes no more bytes of models and control files."""

    def refusing(place: Any, name: str) -> None:
        function = getattr(place, name)

        def write(*arguments: Any, **more: Any) -> Any:
            if flag.exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **more)

        setattr(place, name, write)

    refusing(os, "pwritev")
    refusing(fs, "write_atomic")


def _wait_for_a_tracer() -> None:
    # Yama lets only a parent trace, unless it is told otherwise.
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        time.sleep(0.001)


def plan(
    *,
    kill_at: str | None = None,
    nth: int = 1,
    boot_id: str | None = None,
    full_while: str | None = None,
    is_traced: bool = False,
    clock: int | None = None,
) -> None:
    """Prepare this process: it dies when it comes by the point for the nth time; the machine was booted with this id;
    its disk is full while a file is there; it begins only under a tracer;
    its clock stands at so many nanoseconds. It looks for room more often than others do.
    """
    vigil.EVERY = 0.1
    if clock is not None:
        time.time_ns = lambda: clock
    if is_traced:
        _wait_for_a_tracer()
    if boot_id is not None:
        control.boot_id = lambda: boot_id
    if full_while is not None:
        _fill_up(Path(full_while))
    if kill_at is not None:
        left = nth

        def passed() -> None:
            nonlocal left
            left -= 1
            if not left:
                kill()

        POINTS[kill_at](passed)


def run(command: list[str], **planned: Any) -> int:
    """The command `arwd`, with what is to go wrong in it."""
    plan(**planned)
    return cli.main(command)


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:], **json.loads(sys.argv[1])))

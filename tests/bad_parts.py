"""Unfinished downloads that a life left, harm done to what vouches for them, and what the next life makes of it."""

import hashlib
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from arwd.store import control
from tests import running
from tests.models import gguf
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running
from tests.sse import Message

NAME = "m.gguf"
DATA = gguf(random.Random(3).randbytes(40_007))
SHA256 = hashlib.sha256(DATA).hexdigest()
HELD = 20_001
"""Bytes that the part holds."""
SECTOR = 512
BITS = 7
"""How many bits of a byte may change: the eighth makes of a control file what is no text (unit/store/test_control)."""

How = Literal["paused", "stopped", "checked", "placed"]
"""Paused by its user; stopped in the middle; cut off once it was checked; and once it had its final name, too."""
FILES: tuple[tuple[How, str], ...] = (
    ("paused", f"{NAME}.part.json"),
    ("paused", f"{NAME}.part"),
    ("stopped", f"{NAME}.part.json"),
    ("stopped", f"{NAME}.part"),
    ("checked", f"{NAME}.part.json"),
    ("checked", f"{NAME}.part"),
    ("placed", f"{NAME}.part.json"),
    ("placed", NAME),
)
"""Each way to leave a download, and each file that can come to harm."""


@dataclass(frozen=True)
class Left:
    """A state directory whose only job is unfinished. It is copied, never used."""

    path: Path
    how: How
    head: int
    """The newest id that was used."""

    @property
    def held(self) -> int:
        """Bytes that need not come again."""
        return len(DATA) if self.how in ("checked", "placed") else HELD

    def copy(self, to: Path) -> Path:
        """One to be harmed."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.path, to)
        if self.how in ("checked", "placed"):
            _vouch(to / "models", NAME if self.how == "placed" else f"{NAME}.part")
        return to

    def size(self, file: str) -> int:
        return (self.path / "models" / file).stat().st_size


async def left(state: Path, how: How, origin: Origin) -> Left:
    """Live until there are HELD bytes, and leave the rest."""
    origin.script(Stall(HELD), Status(404))
    async with running.daemon(state) as daemon, daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME))
        await stream.until(lambda message: message.payload.get("downloaded") == HELD)
        if how == "paused":
            await daemon.call("POST", "/models/download/pause", {"id": "m"})
    part = state / "models" / f"{NAME}.part"
    if how in ("checked", "placed"):
        part.write_bytes(DATA)
    if how == "placed":
        part.rename(state / "models" / NAME)
    if how in ("checked", "placed"):
        # The copies have inodes of their own; this one is for the length of the control file.
        _vouch(state / "models", NAME if how == "placed" else f"{NAME}.part")
    return Left(state, how, daemon.daemon.bus.head)


def _vouch(models: Path, file: str) -> None:
    """The control file says of this file that it was checked."""
    path = models / f"{NAME}.part.json"
    known = control.read(path)
    assert known is not None
    checked = control.checked((models / file).stat(), SHA256, length_known=True)
    prefix = control.Prefix(bytes=len(DATA), sha256=SHA256)
    control.write(path, replace(known, synced=len(DATA), prefix=prefix, checked=checked))


Harm = Callable[[Path], None]


def cut(length: int) -> Harm:
    """Nothing is left beyond."""
    return lambda path: os.truncate(path, length)


def flipped(place: int, bit: int) -> Harm:
    """One bit is another."""

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1 << bit
        path.write_bytes(data)

    return flip


async def judged(
    before: Left, file: str, harm: Harm, where: Path, origin: Origin, caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Every promise that the next life breaks on a copy with this harm done to it, as sentences."""
    state = before.copy(where)
    harm(state / "models" / file)
    there = (state / "models" / f"{NAME}.part").stat().st_size if before.how != "placed" else 0
    caplog.clear()
    origin.script(Serve())
    origin.sent = 0
    try:
        async with running.daemon(state) as daemon:
            seen = await _ended(daemon, before)
            _, listed = await daemon.call("GET", "/models")
    except Exception as error:
        return [f"it does not live: {type(error).__name__}: {error}"]
    found = [f"it complains: {record.getMessage()}" for record in caplog.records if record.levelname == "ERROR"]
    found += _faults_of_files(state, before, seen, listed)
    return found + _faults_of_words(before, file, there, seen, origin.sent, caplog)


async def _ended(daemon: Running, before: Left) -> list[Message]:
    """All that this life says of the job."""
    if before.how == "paused":
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
    async with daemon.events(f"after={before.head}&id=m&until=done") as stream:
        return (await stream.rest())[1:]


def _faults_of_files(state: Path, before: Left, seen: list[Message], listed: list[dict[str, Any]]) -> list[str]:
    last = seen[-1].payload
    if last.get("status") != "complete":
        return [f"it ends with {last}"]
    found = []
    if (last["sha256"], last["bytes"]) != (SHA256, len(DATA)):
        found.append(f"it says of the file {last}")
    if [model["path"] for model in listed] != [str(state / "models" / last["file"])]:
        found.append(f"it lists {listed}")
    if (state / "models" / last["file"]).read_bytes() != DATA:
        found.append("its bytes are wrong")
    # What had its final name, and nobody vouches for any more, may be anybody's: it is let be.
    let_be = {NAME, f"{NAME}.part.json"} if before.how == "placed" else set()
    left_over = {path.name for path in (state / "models").iterdir()} - {last["file"]} - let_be
    return found + [f"{name} is left" for name in left_over]


def _faults_of_words(
    before: Left, file: str, there: int, seen: list[Message], sent: int, caplog: pytest.LogCaptureFixture
) -> list[str]:
    payloads = [message.payload for message in seen]
    found = []
    if sum(payload.get("status") == "complete" for payload in payloads) != 1:
        found.append("it does not say once that it is complete")
    restarts = [payload for payload in payloads if payload.get("status") == "restarted"]
    events = {getattr(record, "event", "") for record in caplog.records}
    kept = len(DATA) - sent
    # A field that means what its absence means may come to harm in silence.
    if file.endswith(".json") and kept < before.held and "control_file_damaged" not in events:
        found.append("it says nothing of the control file")
    resumed = [payload["offset"] for payload in payloads if payload.get("status") == "resumed"]
    is_told = [restart["code"] for restart in restarts] == ["part_invalid"] or there in resumed
    if kept < before.held and there and not is_told:
        found.append(f"of {there} bytes {kept} are kept, and it says {restarts} and {resumed}")
    found += [f"it gave up {restart['discarded']} of {there}" for restart in restarts if restart["discarded"] < there]
    return found

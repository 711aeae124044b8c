"""The unfinished file of one job: `<name>.part`, its control file, and the writer that fills it.

Rule: the control file is durable before the first byte of the body, so bytes without a known origin never exist.
"""

import os
from pathlib import Path
from typing import Literal

import msgspec

from arwd import fs
from arwd.store import names
from arwd.store.layout import Layout
from arwd.store.names import Names
from arwd.store.writer import PartWriter


class ControlFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a part. `layout: prefix` means: its bytes are contiguous from the start of the file."""

    id: str
    url: str
    """Redacted: without query."""
    boot_id: str
    layout: Literal["prefix"] = "prefix"
    synced: int = 0
    """Bytes known to be on disk: what is trusted after another boot."""
    size: int | None = None
    validator: str | None = None
    sha256: str | None = None


class Part:
    """One part, from the settling of its name until it is placed or discarded. Satisfies the transfer's sink."""

    def __init__(
        self,
        layout: Layout,
        reserved: Names,
        *,
        model_id: str,
        url: str,
        name: str | None = None,
        filename: str | None = None,
        own_name: str | None = None,
        sha256: str | None = None,
    ) -> None:
        """`name` is settled already (the part may exist); `own_name` is the finished file that this one replaces."""
        self._layout = layout
        self._names = reserved
        self._model_id = model_id
        self._url = url
        self._filename = filename
        self._own_name = own_name
        self._sha256 = sha256
        self._writer: PartWriter | None = None
        self._held = 0
        self.name = name
        self.validator: str | None = None
        self.size: int | None = None
        self.length_known = True

    @property
    def held(self) -> int:
        """Bytes from the start of the file that are kept."""
        return self._held if self._writer is None else self._writer.accepted

    @property
    def control_file(self) -> Path:
        """Where it is said what the part is; only once the name is settled."""
        assert self.name is not None
        return self._layout.control_file(self.name)

    @property
    def full(self) -> bool:
        """Is the disk behind?"""
        return self._writer is not None and self._writer.full

    async def take_up(self) -> None:
        """Look for what an earlier transfer left under this name."""
        if self.name is not None:
            self._names.hold(self.name, self._model_id)
            control, self._held = await fs.in_thread(_look, self._layout, self.name, self._model_id)
            self.size = None if control is None else control.size
            # Another address may serve the same file; its validator says nothing of the one we kept.
            is_same_url = control is not None and control.url == self._url
            self.validator = control.validator if control is not None and is_same_url else None

    async def begin(
        self, *, start: int, size: int | None, validator: str | None, length_known: bool, suggested: str | None
    ) -> None:
        """Make ready to take bytes from `start` on; what is held beyond is dropped. StorageError."""
        if self._writer is not None and self._writer.accepted != start:
            await self.close()
        if self.name is None:
            wanted = names.preferred(filename=self._filename, suggested=suggested, url=self._url)
            self.name = self._names.settle(wanted, self._model_id, own=self._own_name)
        is_news = (size, validator) != (self.size, self.validator) or self._writer is None
        self.size, self.validator, self.length_known = size, validator, length_known
        with fs.translate_errors(f"cannot prepare {self.name}.part"):
            if is_news:
                await fs.in_thread(self._save, min(start, self._held))
            if self._writer is None:
                descriptor = await fs.in_thread(_open, self._layout.part(self.name), start, undo=os.close)
                self._writer = PartWriter(descriptor, start)

    def put(self, chunk: bytes) -> None:
        """Take the next bytes; only after `begin`."""
        assert self._writer is not None
        self._writer.put(chunk)

    async def room(self) -> None:
        """Return when no longer full."""
        assert self._writer is not None
        await self._writer.room()

    async def settle(self) -> None:
        """Return when every byte taken is written."""
        if self._writer is not None:
            await self._writer.settle()

    async def digest(self) -> str:
        """SHA-256 of what is on disk; the transfer must have ended."""
        if self._writer is None:
            assert self.name is not None
            with fs.translate_errors(f"cannot read {self.name}.part"):
                descriptor = await fs.in_thread(_open, self._layout.part(self.name), self._held, undo=os.close)
            self._writer = PartWriter(descriptor, self._held)
        return await self._writer.digest()

    async def close(self) -> None:
        """Keep what is there, durably, and let go of it."""
        if self._writer is not None:
            await self._writer.close()
            self._held = self._writer.written
            self._writer = None

    async def sync(self) -> None:
        """Make a closed part durable and let its control file say so."""
        if self.name is not None and self._held:
            with fs.translate_errors(f"cannot sync {self.name}.part"):
                await fs.in_thread(fs.fsync_file, self._layout.part(self.name))
                await fs.in_thread(self._save, self._held)

    async def clear(self) -> None:
        """Drop every byte, keep the name."""
        await self.close()
        self._held, self.validator, self.size = 0, None, None
        if self.name is not None:
            with fs.translate_errors(f"cannot remove {self.name}.part"):
                await fs.in_thread(_unlink, self._layout.part(self.name), self._layout.control_file(self.name))

    async def discard(self) -> None:
        """Drop every byte and the name."""
        await self.clear()
        self.release()

    def release(self) -> None:
        """The name is no longer reserved: the file is in place, or gone."""
        if self.name is not None:
            self._names.release(self.name)

    def _save(self, synced: int) -> None:
        assert self.name is not None
        control = ControlFile(
            id=self._model_id,
            url=self._url,
            boot_id=_boot_id(),
            synced=synced,
            size=self.size,
            validator=self.validator,
            sha256=self._sha256,
        )
        fs.write_atomic(self._layout.control_file(self.name), msgspec.json.encode(control))


def _look(layout: Layout, name: str, model_id: str) -> tuple[ControlFile | None, int]:
    """The control file and how many bytes of the part may be trusted."""
    try:
        control = msgspec.json.decode(layout.control_file(name).read_bytes(), type=ControlFile)
        there = layout.part(name).stat(follow_symlinks=False).st_size
    except (OSError, msgspec.DecodeError):
        return None, 0
    if control.id != model_id:
        return None, 0
    # After another boot the size may be ahead of the bytes: a power cut leaves a tail of zeros.
    is_same_boot = control.boot_id == _boot_id() != ""
    trusted = there if is_same_boot else min(there, control.synced)
    if control.size is not None and trusted > control.size:
        trusted = 0
    return control, trusted


def _open(path: Path, length: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(descriptor, length)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _unlink(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""  # unreadable in some sandboxes: then every start counts as a new boot

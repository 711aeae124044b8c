"""The unfinished file of one job: `<name>.part`, its control file, and the writer that fills it.

Rule: the control file is durable before the first byte of the body, so bytes without a known origin never exist.
"""

import os
from pathlib import Path
from typing import Literal

import msgspec

from arwd import fs
from arwd.errors import PartChanged
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
        self._synced = 0
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
        """Look for what an earlier transfer left under this name. What is not ours is left alone."""
        if self.name is None:
            return
        control = None
        if self._names.hold(self.name, self._model_id):
            control, self._held = await fs.in_thread(_look, self._layout, self.name, self._model_id)
        if control is None:
            self.release()
            self.name, self._held, self.validator, self.size = None, 0, None, None
            return
        self.size, self._synced = control.size, min(control.synced, self._held)
        # Another address may serve the same file; its validator says nothing of the one we kept.
        self.validator = control.validator if control.url == self._url else None

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
        path = self._layout.part(self.name)
        with fs.translate_errors(f"cannot prepare {self.name}.part"):
            if self._held > start and self._writer is None:
                # Before the control file says of which version the bytes are: never old bytes beside a new validator.
                await fs.in_thread(_cut, path, start)
                self._held = start
            if is_news:
                self._synced = min(start, self._synced)
                await fs.in_thread(self._save)
            if self._writer is None:
                descriptor = await fs.in_thread(_open, path, start, undo=os.close)
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
        """Write what was taken and let go of the file; `sync` makes it durable."""
        if self._writer is not None:
            await self._writer.close()
            self._held = self._writer.written
            self._writer = None

    async def sync(self) -> None:
        """Make a closed part durable and let its control file say so."""
        if self.name is not None and self._held:
            with fs.translate_errors(f"cannot sync {self.name}.part"):
                await fs.in_thread(fs.fsync_file, self._layout.part(self.name))
                self._synced = self._held
                await fs.in_thread(self._save)

    async def clear(self) -> None:
        """Drop every byte, keep the name. StorageError."""
        await self.close()
        self._held, self._synced, self.validator, self.size = 0, 0, None, None
        if self.name is not None:
            with fs.translate_errors(f"cannot remove {self.name}.part"):
                await fs.in_thread(discard, self._layout, self.name, self._model_id)

    async def discard(self) -> None:
        """Drop every byte and the name. StorageError."""
        await self.clear()
        self.release()
        self.name = None

    def release(self) -> None:
        """The name is no longer reserved: what lies on disk speaks for itself."""
        if self.name is not None:
            self._names.release(self.name, self._model_id)

    def _save(self) -> None:
        assert self.name is not None
        control = ControlFile(
            id=self._model_id,
            url=self._url,
            boot_id=_boot_id(),
            synced=self._synced,
            size=self.size,
            validator=self.validator,
            sha256=self._sha256,
        )
        fs.write_atomic(self._layout.control_file(self.name), msgspec.json.encode(control))


def discard(layout: Layout, name: str, model_id: str) -> None:
    """Delete a part and its control file, if they are this model's. Blocks; OSError."""
    if _control(layout, name, model_id) is not None:
        # The part first: bytes without a control file would be nobody's.
        layout.part(name).unlink(missing_ok=True)
        layout.control_file(name).unlink(missing_ok=True)


def _control(layout: Layout, name: str, model_id: str) -> ControlFile | None:
    try:
        control = msgspec.json.decode(layout.control_file(name).read_bytes(), type=ControlFile)
    except (OSError, msgspec.DecodeError):
        return None
    return control if control.id == model_id else None


def _look(layout: Layout, name: str, model_id: str) -> tuple[ControlFile | None, int]:
    """The control file, if it is this model's, and how many bytes of the part may be trusted."""
    control = _control(layout, name, model_id)
    if control is None:
        return None, 0
    try:
        there = layout.part(name).stat(follow_symlinks=False).st_size
    except OSError:
        there = 0
    # After another boot the size may be ahead of the bytes: a power cut leaves a tail of zeros.
    is_same_boot = control.boot_id == _boot_id() != ""
    trusted = there if is_same_boot else min(there, control.synced)
    return control, 0 if control.size is not None and trusted > control.size else trusted


def _cut(path: Path, length: int) -> None:
    os.close(_open(path, length))


def _open(path: Path, length: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        there = os.fstat(descriptor).st_size
        if there >= length:
            os.ftruncate(descriptor, length)
    except OSError:
        os.close(descriptor)
        raise
    if there < length:
        os.close(descriptor)
        raise PartChanged(f"{path.name} is shorter than it was left")
    return descriptor


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""  # unreadable in some sandboxes: then every start counts as a new boot

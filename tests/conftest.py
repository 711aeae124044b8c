"""Fixtures that every kind of test shares."""

import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import haste, hub, running
from tests import nursery as nurseries
from tests import origin as origins
from tests.hub import Hub, Repo
from tests.models import SEVERAL, gguf
from tests.nursery import Nursery
from tests.origin import Origin
from tests.running import Running

COMPONENTS = {
    "nginx": ("/usr/sbin/nginx", "make system-deps"),
    "chromium": ("/usr/bin/chromium", "make system-deps"),
    "strace": ("strace", "make system-deps"),
    "mkfs.ext4": ("/usr/sbin/mkfs.ext4", "make system-deps"),
    "curl": ("curl", "make system-deps"),
    "openssl": ("openssl", "make system-deps"),
    "systemd-analyze": ("systemd-analyze", "make system-deps"),
    "mount": ("mount" if os.geteuid() == 0 else "/nonexistent", "sudo make test"),
    "weights": (str(Path(__file__).parent.parent / ".weights" / "silero_vad"), "make weights"),
}


def pytest_configure() -> None:
    # What this machine's user has set must not steer the tests.
    for name in list(os.environ):
        if name.startswith(("ARWD_", "ARW_")) and not name.startswith("ARWD_TEST_"):
            del os.environ[name]
    haste.hurry()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for component in marker.args:
            where, remedy = COMPONENTS[component]
            if shutil.which(where) or Path(where).is_dir():
                continue
            sentence = f"{component} is not installed here; `{remedy}` installs it"
            if os.environ.get("ARWD_TEST_STRICT") == "1":
                pytest.fail(sentence)
            pytest.skip(sentence)


@pytest.fixture
def data() -> bytes:
    """A model's bytes: more than a slab, not a whole number of them."""
    return gguf(bytes(range(256)) * 4_000 + b"the end")


@pytest.fixture
async def origin(data: bytes) -> AsyncIterator[Origin]:
    async with origins.running(data) as served:
        yield served


@pytest.fixture
def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
async def mirror(data: bytes) -> AsyncIterator[Origin]:
    """Another server with the same file."""
    async with origins.running(data) as served:
        yield served


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    async with running.daemon(tmp_path / "state") as started:
        yield started


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with nurseries.opened() as opened:
        yield opened


@pytest.fixture
async def served() -> AsyncIterator[Hub]:
    """A Hub with one repository, of a model of several files."""
    async with hub.running({"org/m": Repo(SEVERAL)}) as started:
        yield started


@pytest.fixture
async def supplied(tmp_path: Path, served: Hub) -> AsyncIterator[Running]:
    """A daemon that asks it."""
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as started:
        yield started

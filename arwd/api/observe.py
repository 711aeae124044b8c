"""Whoever watches arwd itself: health, readiness, version, metrics, probe."""

import os
import platform
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from arwd import __version__, errors, events
from arwd.api.endpoints import Endpoint, encode, reading
from arwd.bus.local import LocalBus
from arwd.jobs.manager import Manager
from arwd.states import State
from arwd.store.layout import Layout


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """It lives."""

    ok: bool


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What runs here."""

    name: str
    version: str
    python: str


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Where arwd keeps its things and what it runs with; secrets are masked."""

    state_dir: str
    cache_dir: str
    logs_dir: str
    version: str
    pid: int
    started_at: str
    settings: dict[str, Any]


class Observe:
    """The routes for watchers."""

    def __init__(
        self,
        manager: Manager,
        bus: LocalBus,
        layout: Layout,
        settings: dict[str, Any],
        is_ready: Callable[[], bool],
    ) -> None:
        self._manager = manager
        self._bus = bus
        self._layout = layout
        self._settings = settings
        self._is_ready = is_ready
        self._started_at = events.now()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every route, with what the documents say of it."""
        return (
            reading("/healthz", self.healthz, "Does it live?", Health),
            Endpoint(
                method="GET",
                path="/readyz",
                handle=self.readyz,
                summary="Does it take work?",
                answer=Health,
                refusals=(errors.Stopping,),
            ),
            reading("/version", self.version, "What runs here", Version),
            reading("/probe", self.probe, "Directories and settings", Probe),
            Endpoint(
                method="GET",
                path="/metrics",
                handle=self.metrics,
                summary="Prometheus metrics",
                media_type="text/plain",
            ),
        )

    async def healthz(self, request: Request) -> Response:
        """Without any I/O: that this is answered is the answer."""
        return encode(Health(ok=True))

    async def readyz(self, request: Request) -> Response:
        """503 while stopping."""
        if not self._is_ready():
            raise errors.Stopping("arwd is stopping.")
        return encode(Health(ok=True))

    async def version(self, request: Request) -> Response:
        """Name and version."""
        return encode(Version(name="arwd", version=__version__, python=platform.python_version()))

    async def probe(self, request: Request) -> Response:
        """Directories and settings."""
        root = str(self._layout.state_dir)
        return encode(
            Probe(
                state_dir=root,
                cache_dir=root,
                logs_dir=root,
                version=__version__,
                pid=os.getpid(),
                started_at=self._started_at,
                settings=self._settings,
            )
        )

    async def metrics(self, request: Request) -> Response:
        """The text exposition format, version 0.0.4."""
        by_state = dict.fromkeys(State, 0)
        moved = 0
        for job, worker in self._manager.roster:
            by_state[job.state] += 1
            moved += 0 if worker is None else worker.progress.bytes_per_second
        lines = [
            *_metric("arwd_info", "gauge", "What runs here.", {f'{{version="{__version__}"}}': 1}),
            *_metric("arwd_jobs", "gauge", "Kept jobs by state.", {f'{{state="{s}"}}': n for s, n in by_state.items()}),
            *_metric(
                "arwd_job_slots", "gauge", "Jobs that may download at once.", {"": self._manager.scheduler.max_jobs}
            ),
            *_metric("arwd_receiving_bytes_per_second", "gauge", "The rate of all transfers.", {"": moved}),
            *_metric("arwd_event_streams", "gauge", "Open event streams.", {"": self._bus.subscribers}),
            *_metric("arwd_events_total", "counter", "Events published since the start.", {"": self._bus.published}),
        ]
        return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _metric(name: str, kind: str, meaning: str, values: dict[str, int]) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"] + [
        f"{name}{key} {value}" for key, value in values.items()
    ]

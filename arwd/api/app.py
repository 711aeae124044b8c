"""The application: the dialects' endpoints as routes, each below `/admin` too; errors as responses; the gate."""

import itertools
import logging
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from arwd import errors
from arwd.api import auth, openapi, problem
from arwd.api.auth import Keeper
from arwd.api.endpoints import Endpoint, Methods
from arwd.api.gate import Gate

log = logging.getLogger(__name__)


def build(
    endpoints: Iterable[Endpoint], *, keeper: Keeper, options: auth.Options, bind_hosts: tuple[str, ...]
) -> Starlette:
    """The ASGI application that answers these endpoints."""
    table = tuple(endpoints)
    table += _documents(table)
    by_path = sorted(table, key=attrgetter("path"))
    routes = []
    for path, group in itertools.groupby(by_path, key=attrgetter("path")):
        answers = Methods(tuple(group))
        routes += [Route(below + path.rstrip("/") or "/", answers, methods=answers.methods) for below in ("", "/admin")]
    # Literal paths before patterns: `/models/jobs` is not the model named jobs.
    routes.sort(key=lambda route: "{" in route.path)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Gate, keeper=keeper, options=options, bind_hosts=bind_hosts)],
        exception_handlers={errors.ArwdError: _refused, HTTPException: _no_route},
    )
    app.router.redirect_slashes = False
    return app


def _documents(table: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    described: dict[str, bytes] = {}

    async def openapi_document(request: Request) -> Response:
        """What this API is, for programs."""
        return Response(described["openapi"], media_type="application/json")

    async def asyncapi_document(request: Request) -> Response:
        """What the event stream is, for programs."""
        return Response(described["asyncapi"], media_type="application/json")

    documents = (
        Endpoint(
            method="GET",
            path="/openapi.json",
            handle=openapi_document,
            summary="This document",
            answer=dict[str, Any],
        ),
        Endpoint(
            method="GET",
            path="/asyncapi.json",
            handle=asyncapi_document,
            summary="The event stream's document",
            answer=dict[str, Any],
        ),
    )
    described["openapi"] = msgspec.json.encode(openapi.openapi(table + documents))
    described["asyncapi"] = msgspec.json.encode(openapi.asyncapi())
    return documents


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ArwdError)
    if error.status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error, extra={"event": "request_failed"})
    return problem.response(error, request.scope["path"])


async def _no_route(request: Request, error: Exception) -> Response:
    allowed = (error.headers or {}).get("Allow") if isinstance(error, HTTPException) else None
    refusal: errors.RequestError = errors.NotFound(
        "There is nothing at this address. /openapi.json lists what there is."
    )
    if allowed:
        refusal = errors.MethodNotAllowed(", ".join(sorted(allowed.split(", "))))
    return problem.response(refusal, request.scope["path"])

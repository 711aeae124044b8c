"""Errors on the wire, in the form of the dialect whose path was asked. Rule: what is not ours to tell is never told."""

from collections.abc import Callable
from typing import Final

import msgspec
from starlette.responses import Response

from arwd import errors
from arwd.api import lmstudio_wire

# Own table: the phrases in `http.HTTPStatus` differ between versions of Python.
TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every refusal, but below a dialect's own path."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """How a dialect writes an error."""

    media_type: str
    body: type[msgspec.Struct]
    make: Callable[[errors.ArwdError], msgspec.Struct]


def _problem(error: errors.ArwdError) -> Problem:
    return Problem(title=TITLES[error.status], status=error.status, detail=str(error), code=error.code)


RFC_9457: Final = Form(media_type="application/problem+json", body=Problem, make=_problem)
FORMS: Final = {
    "/api/v1/": Form(media_type="application/json", body=lmstudio_wire.RefusalBody, make=lmstudio_wire.to_refusal),
}
"""Prefix of a path → the form of the errors below it; everywhere else it is RFC 9457's."""


def form_of(path: str) -> Form:
    """The form of errors at this path, which may be below `/admin`."""
    path = path.removeprefix("/admin")
    return next((form for prefix, form in FORMS.items() if path.startswith(prefix)), RFC_9457)


def response(error: errors.ArwdError, path: str) -> Response:
    """The refusal that this error is, where that path was asked."""
    form = form_of(path)
    headers = error.headers() if isinstance(error, errors.RequestError) else {}
    return Response(msgspec.json.encode(form.make(error)), error.status, headers, form.media_type)

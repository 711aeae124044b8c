"""Errors on the wire: RFC 9457 `application/problem+json`. Rule: what is not ours to tell is never told."""

from typing import Final

import msgspec
from starlette.responses import Response

from arwd import errors

MEDIA_TYPE: Final = "application/problem+json"

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
    """The body of every refusal."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str


def response(error: errors.ArwdError) -> Response:
    """The refusal that this error is."""
    body = Problem(title=TITLES[error.status], status=error.status, detail=str(error), code=error.code)
    headers = error.headers() if isinstance(error, errors.RequestError) else {}
    return Response(msgspec.json.encode(body), error.status, headers, MEDIA_TYPE)

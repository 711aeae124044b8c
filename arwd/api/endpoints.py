"""One table for the routes and for the documents about them: what is not in it does not answer."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from arwd import errors

MAX_BODY: Final = 1024 * 1024
"""Bytes of a request body."""
BODY_DEADLINE: Final = 10.0
"""Seconds until a request body must be here."""

log = logging.getLogger(__name__)

BAD_BODY: Final = (errors.InvalidField, errors.MissingField, errors.InvalidJson, errors.UnsupportedMediaType)
"""What every endpoint with a body of more than one field refuses."""
BAD_REF: Final = (
    errors.InvalidUrlScheme,
    errors.CredentialsInUrl,
    errors.ModelNotFound,
    errors.ModelForbidden,
    errors.AmbiguousRef,
    errors.SourceUnreachable,
    errors.TooManyRequests,
    errors.HttpStatus,
)
"""What one that asks a source can be refused with. Anything else that goes wrong on the way there is a 502 too."""

Body = TypeVar("Body")
Handler = Callable[[Request], Awaitable[Response]]
_FIELD = re.compile(r"`\$\.?([^`]*)`")
_MISSING = re.compile(r"required field `([^`]+)`")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path, and what a reader of the documents must know of it."""

    method: str
    path: str
    handle: Handler
    summary: str
    answer: Any = None
    """The type of the 200 body; None if it is not JSON."""
    body: Any = None
    """The type of the request body; None if there is none."""
    media_type: str = "application/json"
    status: int = 200
    parameters: tuple[tuple[str, str], ...] = ()
    """Query parameters: name and meaning."""
    refusals: tuple[type[errors.ArwdError], ...] = ()
    """What it can refuse with, beyond what every endpoint can."""


class Methods:
    """An ASGI application: the endpoints of one path, chosen by method."""

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._by_method = {endpoint.method: endpoint for endpoint in endpoints}
        if "GET" in self._by_method:
            self._by_method["HEAD"] = self._by_method["GET"]
        self.methods = sorted(self._by_method)
        """What it answers; the router must let nothing else through."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. ArwdError is left to the application."""
        endpoint = self._by_method[scope["method"]]
        try:
            response = await endpoint.handle(Request(scope, receive))
        except errors.ArwdError:
            raise
        except Exception as error:
            log.exception("%s %s broke", scope["method"], scope["path"], extra={"event": "request_broke"})
            raise errors.ArwdError("A fault in arwd itself; its log says more.") from error
        await response(scope, receive, send)


def reading(path: str, handle: Handler, summary: str, answer: Any) -> Endpoint:
    """The endpoint of a GET that answers JSON."""
    return Endpoint(method="GET", path=path, handle=handle, summary=summary, answer=answer)


async def decode(request: Request, kind: type[Body]) -> Body:
    """The JSON body as `kind`. RequestError names the field that is missing or wrong; null counts as absent."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise errors.UnsupportedMediaType("Send the body as JSON, with the header Content-Type: application/json.")
    raw = await _body(request)
    try:
        raw.decode()  # msgspec does not look into fields that nobody reads
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.InvalidJson(f"The body is not valid JSON: {error}.") from error


def encode(value: Any, status: int = 200) -> Response:
    """The value as a JSON response."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _body(request: Request) -> bytes:
    too_large = errors.TooLarge(f"The body may have {MAX_BODY} bytes at most.")
    declared = request.headers.get("content-length", "")
    # As many digits as Python turns into a number; `isdigit` alone would take ² for one.
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > MAX_BODY):
        raise too_large
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MAX_BODY:
                    raise too_large
    except TimeoutError as error:
        raise errors.RequestTimeout(f"The body did not arrive within {BODY_DEADLINE:g} s.") from error
    except ClientDisconnect as error:
        raise errors.InvalidJson("The body ended early.") from error
    return bytes(raw)


def _field_error(sentence: str) -> errors.RequestError:
    missing, where = _MISSING.search(sentence), _FIELD.search(sentence)
    parent = where[1] if where else ""
    if missing is not None:
        name = f"{parent}.{missing[1]}" if parent else missing[1]
        return errors.MissingField(f"The field {name} is missing.", field=name)
    if not parent:
        return errors.InvalidJson(f"The body must be one JSON object: {sentence}.")
    if "got `null`" in sentence:
        return errors.MissingField(f"The field {parent} is missing: it is null.", field=parent)
    wrong = sentence.partition(" - at ")[0].replace("`", "").replace("str", "string").replace("int", "whole number")
    return errors.InvalidField(f"The field {parent} is wrong: {wrong.replace(' | null', '')}.", field=parent)

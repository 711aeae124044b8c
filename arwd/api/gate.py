"""The gate that every request passes: request id, Host, page, token; and the headers every response carries.

One pure ASGI middleware: its `send` never suspends by itself, so the hub may step an event stream through it.
"""

import re
import secrets
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arwd import errors
from arwd.api import auth, problem
from arwd.api.auth import Keeper

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PREFLIGHT_HEADERS: Final = "Authorization, Content-Type, Last-Event-ID, X-ARW-Admin, X-Request-Id"


class Gate:
    """Lets requests through to the application, or answers them itself."""

    def __init__(self, app: ASGIApp, *, keeper: Keeper, options: auth.Options, bind_hosts: tuple[str, ...]) -> None:
        self._app = app
        self._keeper = keeper
        self._options = options
        self._bind_hosts = bind_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request, in this order: Host, preflight, page, token."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id
        extra = [("X-Request-Id", request_id), ("Vary", "Origin"), ("X-Content-Type-Options", "nosniff")]

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                response_headers = MutableHeaders(scope=message)
                for name, value in extra:
                    response_headers.append(name, value)
            await send(message)

        try:
            own_origins = self._check_host(scope, headers)
            extra += self._cors(headers, own_origins)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await self._preflight(headers, own_origins)(scope, receive, stamped)
                return
            self._check_page(scope, headers, own_origins)
            self._check_token(scope, headers, own_origins)
        except errors.RequestError as error:
            await problem.response(error, scope["path"])(scope, receive, stamped)
            return
        await self._app(scope, receive, stamped)

    def _check_host(self, scope: Scope, headers: Headers) -> tuple[str, ...]:
        given = headers.getlist("host")
        if len(given) != 1 or auth.split_host(given[0]) is None:
            raise _malformed_host()
        port = scope["server"][1] if scope.get("server") else None
        allowed = self._options.allowed_hosts
        if not auth.allows_host(given[0], own_port=port or 0, bind_hosts=self._bind_hosts, allowed=allowed):
            raise errors.HostDenied(
                "This is not a name of this arwd. If it should be one, add it to the setting allowed_hosts."
            )
        # Where a proxy speaks TLS for us, our page's origin is https under the same name.
        return tuple(f"{scheme}://{given[0].lower()}" for scheme in ("https", scope["scheme"]))

    def _cors(self, headers: Headers, own_origins: tuple[str, ...]) -> list[tuple[str, str]]:
        origin = headers.get("origin")
        if origin is None or not self._may_read(origin, own_origins):
            return []
        return [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Expose-Headers", "X-Request-Id"),
        ]

    def _may_read(self, origin: str, own_origins: tuple[str, ...]) -> bool:
        allowed = self._options.allowed_origins
        return auth.allows_reading(origin, own_origins=own_origins, allowed=allowed, has_token=self._keeper.has_token)

    def _preflight(self, headers: Headers, own_origins: tuple[str, ...]) -> Response:
        origin, method = headers.get("origin", ""), headers["access-control-request-method"]
        may_change = auth.allows_page(
            {"origin": origin}, own_origins=own_origins, allowed=self._options.allowed_origins
        )
        if not may_change and not (method in auth.SAFE_METHODS and self._may_read(origin, own_origins)):
            raise _denied_origin()
        methods = "GET, HEAD, POST, PATCH, DELETE" if may_change else "GET, HEAD"
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": methods,
                "Access-Control-Allow-Headers": _PREFLIGHT_HEADERS,
                "Access-Control-Max-Age": "600",
            },
        )

    def _check_page(self, scope: Scope, headers: Headers, own_origins: tuple[str, ...]) -> None:
        if scope["method"] in auth.SAFE_METHODS:
            return
        if not auth.allows_page(headers, own_origins=own_origins, allowed=self._options.allowed_origins):
            raise _denied_origin()

    def _check_token(self, scope: Scope, headers: Headers, own_origins: tuple[str, ...]) -> None:
        if not self._keeper.has_token or auth.is_public(scope["path"]):
            return
        session = session_of(headers)
        has_session = session is not None and self._keeper.knows_session(session)
        # A cookie is sent by the browser, not by the page: to change something it needs a page of ours.
        if has_session and (scope["method"] in auth.SAFE_METHODS or headers.get("origin") in own_origins):
            return
        token = presented_token(headers)
        if token is None and has_session:
            raise errors.Unauthorized("A session may change something only from arwd's own page.")
        if token is None:
            raise errors.Unauthorized("This arwd wants a token: send it as Authorization: Bearer <token>.")
        check_token(self._keeper, address_of(scope), token)


def check_token(keeper: Keeper, address: str, token: bytes) -> None:
    """Unauthorized unless this is the token; TooManyFailures when the address was wrong too often."""
    seconds = keeper.locked_for(address)
    if seconds:
        raise errors.TooManyFailures(seconds)
    if not keeper.is_right(token):
        keeper.note_failure(address)
        raise errors.Unauthorized("The token is wrong.")


def presented_token(headers: Headers) -> bytes | None:
    """The token in the headers, never one in a URL."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip().encode("latin-1")
    admin = headers.get("x-arw-admin")
    return None if admin is None else admin.encode("latin-1")


def session_of(headers: Headers) -> str | None:
    """The session's name in the cookies."""
    return cookie_parser(headers.get("cookie", "")).get(auth.COOKIE)


def address_of(scope: Scope) -> str:
    """The peer's address."""
    return scope["client"][0] if scope.get("client") else ""


def _malformed_host() -> errors.RequestError:
    return errors.InvalidParameter("The request needs exactly one Host header, with a host name in it.")


def _denied_origin() -> errors.RequestError:
    return errors.OriginDenied(
        "A page of another origin may not do this. If it should, add its origin to the setting allowed_origins."
    )

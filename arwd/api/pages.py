"""The page at `/`, what it is made of, and the login that opens a session for it."""

from importlib import resources
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from arwd import errors
from arwd.api import auth
from arwd.api.auth import Keeper
from arwd.api.endpoints import Endpoint, decode
from arwd.api.gate import address_of, check_token, session_of

_TYPES: Final = {
    "index.html": "text/html",
    "app.js": "text/javascript",
    "style.css": "text/css",
    "favicon.svg": "image/svg+xml",
}
_POLICY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """The token, once, for a session."""

    token: str


class Pages:
    """The routes for people with a browser."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        folder = resources.files("arwd.api") / "static"
        self._files = {name: (folder / name).read_bytes() for name in _TYPES}

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every route, with what the documents say of it."""
        return (
            Endpoint(method="GET", path="/", handle=self.index, summary="The page", media_type="text/html"),
            Endpoint(
                method="GET",
                path="/static/{name}",
                handle=self.static,
                summary="What the page is made of",
                media_type="text/html",
                refusals=(errors.NotFound,),
            ),
            Endpoint(
                method="GET", path="/favicon.ico", handle=self.icon, summary="The icon", media_type="image/svg+xml"
            ),
            Endpoint(
                method="POST",
                path="/login",
                handle=self.login,
                summary="Open a session",
                body=Login,
                status=204,
                refusals=(errors.InvalidJson, errors.UnsupportedMediaType, errors.TooManyFailures),
            ),
            Endpoint(method="POST", path="/logout", handle=self.logout, summary="End the session", status=204),
        )

    async def index(self, request: Request) -> Response:
        """The page."""
        return self._file("index.html")

    async def icon(self, request: Request) -> Response:
        """The icon."""
        return self._file("favicon.svg")

    async def static(self, request: Request) -> Response:
        """One of the page's files."""
        name = request.path_params["name"]
        if name not in self._files:
            raise errors.NotFound("There is no such file.")
        return self._file(name)

    async def login(self, request: Request) -> Response:
        """Trade the token for a cookie that says nothing of it."""
        given = await decode(request, Login)
        response = Response(status_code=204)
        if self._keeper.has_token:
            check_token(self._keeper, address_of(request.scope), given.token.encode())
            response.set_cookie(
                auth.COOKIE,
                self._keeper.open_session(),
                max_age=auth.SESSION_SECONDS,
                path="/",
                secure=request.headers.get("origin", request.url.scheme).startswith("https"),
                httponly=True,
                samesite="strict",
            )
        return response

    async def logout(self, request: Request) -> Response:
        """Forget the session."""
        self._keeper.close_session(session_of(request.headers) or "")
        response = Response(status_code=204)
        response.delete_cookie(auth.COOKIE, path="/", httponly=True, samesite="strict")
        return response

    def _file(self, name: str) -> Response:
        return Response(self._files[name], headers=_POLICY, media_type=_TYPES[name])

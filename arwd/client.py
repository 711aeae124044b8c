"""A client of a running daemon: JSON calls, and its event stream followed across restarts. Standard library only."""

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

_TIMEOUT: Final = 60.0
"""Seconds: four heartbeats without a byte, and the daemon is gone."""
_PATIENCE: Final = 30.0
"""Seconds that a stream waits for a daemon that restarts."""


class NotReachable(Exception):
    """Nobody answers there."""


class Refused(Exception):
    """The daemon said no; the message is its own."""


class Busy(Refused):
    """The daemon said: not now."""


class Unusable(Exception):
    """The address or the token cannot be one."""


class Client:
    """Talks to one daemon."""

    def __init__(self, url: str, token: str | None) -> None:
        """Unusable if the address is malformed or the token cannot stand in a header."""
        try:
            urlsplit(url if "//" in url else f"http://{url}").port  # noqa: B018 (asked for its error)
            (token or "").encode("latin-1")
        except ValueError as error:
            raise Unusable(f"The address {url} or the token cannot be used: {error}") from error
        self._url = url
        self._parts = urlsplit(url if "//" in url else f"http://{url}")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The decoded answer. Refused or NotReachable."""
        headers = dict(self._headers)
        encoded = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            encoded = json.dumps(body).encode()
        with contextlib.closing(self._connection()) as connection:
            try:
                connection.request(method, path, encoded, headers)
                response = connection.getresponse()
                raw = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._not_reachable(error) from error
        answer = _decoded(raw)
        if response.status >= 400:
            raise Refused(_sentence(answer, response.status))
        return answer

    def follow(self, **query: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Kind and payload of every event, over reconnects, until the stream is done. Refused or NotReachable."""
        last_id, patience_ends = "", 0.0
        while True:
            try:
                for event_id, kind, payload in self._stream(query, last_id):
                    last_id, patience_ends = event_id or last_id, 0.0
                    yield kind, payload
                # A clean end is final only where the stream was asked to end by itself: elsewhere, the daemon stops.
                if "until" in query and self._is_over(query, last_id):
                    return
            except (OSError, http.client.HTTPException, Busy) as error:
                patience_ends = patience_ends or time.monotonic() + _PATIENCE
                if not last_id or time.monotonic() > patience_ends:
                    raise error if isinstance(error, Busy) else self._not_reachable(error) from error
            time.sleep(0.2)

    def _is_over(self, query: dict[str, str], last_id: str) -> bool:
        response, connection = self._open(query, last_id)
        connection.close()
        return response.status == 204

    def _stream(self, query: dict[str, str], last_id: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        response, connection = self._open(query, last_id)
        with contextlib.closing(connection):
            event_id, kind, data = "", "message", ""
            for line in _lines(response):
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "id":
                    event_id = value
                elif field == "event":
                    kind = value
                elif field == "data":
                    data += value
                elif not line:
                    if data:
                        yield event_id, kind, json.loads(data)
                    kind, data = "message", ""

    def _open(self, query: dict[str, str], last_id: str) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        # No `Accept: text/event-stream`: a browser is told to come back later, we want to hear that there are too many.
        headers = dict(self._headers)
        if last_id:
            headers["Last-Event-ID"] = last_id
        connection = self._connection()
        try:
            connection.request("GET", f"/events?{urlencode(query)}", headers=headers)
            response = connection.getresponse()
            _check(response)
        except BaseException:
            connection.close()
            raise
        return response, connection

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(self._parts.netloc, timeout=_TIMEOUT)

    def _not_reachable(self, error: Exception) -> NotReachable:
        return NotReachable(f"No arwd answers at {self._url} ({error}). Start one with `arwd serve`.")


def _check(response: http.client.HTTPResponse) -> None:
    if response.status >= 400:
        refusal = Busy if response.status == 503 else Refused
        raise refusal(_sentence(_decoded(response.read()), response.status))


def _lines(response: http.client.HTTPResponse) -> Iterator[str]:
    while raw := response.readline():
        yield raw.decode().rstrip("\r\n")


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw.decode(errors="replace").strip()


def _sentence(answer: Any, status: int) -> str:
    if isinstance(answer, dict) and "detail" in answer:
        return str(answer["detail"])
    return str(answer or f"The daemon answered with status {status}.")

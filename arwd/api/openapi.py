"""The documents that describe this API, made from the routes and the wire types: OpenAPI 3.2 and AsyncAPI 3.0."""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from arwd import __version__, errors, events
from arwd.api.endpoints import Endpoint
from arwd.api.problem import TITLES, form_of

_ALWAYS: Final = (errors.HostDenied, errors.Unauthorized, errors.InvalidParameter)
_CONVERTOR: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_REFERENCE: Final = "#/components/schemas/{name}"

PAYLOADS: Final[dict[str, type[msgspec.Struct]]] = {
    events.PROGRESS: events.DownloadProgress,
    events.DOWNLOAD: events.Download,
    events.CHANGED: events.Changed,
    events.CONNECTED: events.Connected,
    events.START: events.Lifecycle,
    events.STOP: events.Lifecycle,
    events.GAP: events.Gap,
}
"""The payload of every kind of event."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One Server-Sent Event."""

    id: str
    event: str
    data: str


def openapi(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document of these endpoints."""
    endpoints = tuple(endpoints)
    refusals = dict.fromkeys(form_of(endpoint.path).body for endpoint in endpoints)
    kinds: list[Any] = [*refusals, Event, *PAYLOADS.values()]
    kinds += [kind for endpoint in endpoints for kind in (endpoint.body, endpoint.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    schema_of = {_key(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _CONVERTOR.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, schema_of)
    return {
        "openapi": "3.2.0",
        "info": {
            "title": "arwd",
            "version": __version__,
            "description": "Downloads AI models. Every path answers below /admin too.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8090"}],
        "security": [{}, {"token": []}, {"admin": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "admin": {"type": "apiKey", "in": "header", "name": "X-ARW-Admin"},
                "session": {"type": "apiKey", "in": "cookie", "name": "arwd_session"},
            },
        },
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI document of the event stream."""
    names = {kind: kind.replace(".", "") for kind in PAYLOADS}
    template = "#/components/schemas/{name}"
    schemas, components = msgspec.json.schema_components(list(PAYLOADS.values()), ref_template=template)
    payload_of = dict(zip(PAYLOADS, schemas, strict=True))
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "arwd events", "version": __version__, "description": "Server-Sent Events on GET /events."},
        "servers": {"local": {"host": "127.0.0.1:8090", "protocol": "http"}},
        "channels": {
            "events": {
                "address": "/events",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names.values()},
            }
        },
        "operations": {"publish": {"action": "send", "channel": {"$ref": "#/channels/events"}}},
        "components": {
            "schemas": components,
            "messages": {
                name: {"name": kind, "contentType": "application/json", "payload": payload_of[kind]}
                for kind, name in names.items()
            },
        },
    }


def _operation(endpoint: Endpoint, schema_of: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": endpoint.handle.__name__,
        "responses": {str(endpoint.status): _success(endpoint, schema_of), **_refusals(endpoint, schema_of)},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _CONVERTOR.findall(endpoint.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in endpoint.parameters
    ]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content = {"application/json": {"schema": schema_of[_key(endpoint.body)]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _success(endpoint: Endpoint, schema_of: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": endpoint.summary}
    if endpoint.status == 204:
        return described
    if endpoint.media_type == "text/event-stream":
        described["content"] = {endpoint.media_type: {"itemSchema": schema_of[_key(Event)]}}
    elif endpoint.answer is None:
        described["content"] = {endpoint.media_type: {"schema": {"type": "string"}}}
    else:
        described["content"] = {endpoint.media_type: {"schema": schema_of[_key(endpoint.answer)]}}
    return described


def _refusals(endpoint: Endpoint, schema_of: dict[str, Any]) -> dict[str, Any]:
    form = form_of(endpoint.path)
    always = _ALWAYS if endpoint.method == "GET" else (*_ALWAYS, errors.OriginDenied)
    with_body = () if endpoint.body is None else (errors.TooLarge, errors.RequestTimeout)
    codes: dict[int, set[str]] = {}
    for error in (*always, *with_body, *endpoint.refusals):
        codes.setdefault(error.status, set()).add(error.code)
    return {
        str(status): {
            "description": f"{TITLES[status]}: {', '.join(sorted(names))}",
            "content": {form.media_type: {"schema": schema_of[_key(form.body)]}},
        }
        for status, names in sorted(codes.items())
    }


def _key(kind: Any) -> str:
    return str(kind)

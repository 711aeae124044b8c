"""The documents say what the routes do, and say it in valid OpenAPI 3.2 and AsyncAPI 3.0."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import openapi_spec_validator
import pytest
from starlette.requests import Request
from starlette.responses import Response

from arwd import errors, events
from arwd.api import arw_wire
from arwd.api.arw import Arw
from arwd.api.arw_lists import ArwLists
from arwd.api.endpoints import Endpoint
from arwd.api.events import EventStreams
from arwd.api.lmstudio import LmStudio
from arwd.api.openapi import asyncapi, openapi


async def logout(request: Request) -> Response:
    return Response(status_code=204)


async def metrics(request: Request) -> Response:
    return Response("numbers")


# The real tables of routes, and one of each kind that they lack; nobody calls what stands behind them.
ENDPOINTS = (
    *Arw.endpoints(Arw.__new__(Arw)),
    *ArwLists.endpoints(ArwLists.__new__(ArwLists)),
    *EventStreams.endpoints(EventStreams.__new__(EventStreams)),
    Endpoint(method="POST", path="/logout", handle=logout, summary="Close the session", status=204),
    Endpoint(method="GET", path="/metrics", handle=metrics, summary="Numbers", media_type="text/plain"),
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(msgspec.json.encode(openapi(ENDPOINTS)))  # type: ignore[no-any-return]


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.2.0"
    openapi_spec_validator.validate(document, cls=openapi_spec_validator.OpenAPIV32SpecValidator)


def test_a_document_that_is_not_valid_would_be_noticed(document: dict[str, Any]) -> None:
    broken = {**document, "info": {"title": "no version"}}
    with pytest.raises(Exception, match="version"):
        openapi_spec_validator.validate(broken, cls=openapi_spec_validator.OpenAPIV32SpecValidator)


def test_every_route_is_described_once(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(e.method, re.sub(r"\{(\w+):\w+\}", r"{\1}", e.path)) for e in ENDPOINTS}
    assert len(described) == len(ENDPOINTS)


def test_every_operation_has_a_summary_and_a_name_of_its_own(document: dict[str, Any]) -> None:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert all(operation["summary"] for operation in operations)
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for found in (document, asyncapi()):
        targets = set(references(found))
        assert targets
        assert all(resolved(found, target) for target in targets)


def test_every_parameter_in_a_path_is_described(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            described = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert described == set(re.findall(r"\{(\w+)\}", path))


def test_every_refusal_is_a_problem_and_names_its_codes(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            assert {"400", "401", "421"} <= set(refusals), path
            assert ("403" in refusals) == (method not in ("get", "head")), path
            for answer in refusals.values():
                assert list(answer["content"]) == ["application/problem+json"]


def test_a_download_says_what_goes_in_and_what_comes_out(document: dict[str, Any]) -> None:
    operation = document["paths"]["/models/download"]["post"]
    body = resolved(document, operation["requestBody"]["content"]["application/json"]["schema"]["$ref"])
    assert body["required"] == []  # it is `id` and `url`, or `ref` alone
    assert set(body["properties"]) == set(arw_wire.DownloadRequest.__struct_fields__)
    answer = resolved(document, operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"])
    assert set(answer["properties"]) == {"ok", "data"}
    assert errors.IdInUse.code in operation["responses"]["409"]["description"]


def test_the_stream_is_described_by_its_items_and_its_parameters(document: dict[str, Any]) -> None:
    operation = document["paths"]["/events"]["get"]
    assert "itemSchema" in operation["responses"]["200"]["content"]["text/event-stream"]
    assert {p["name"] for p in operation["parameters"]} >= {"prefix", "id", "after", "replay", "data", "named", "until"}


def test_an_answer_without_a_body_describes_none(document: dict[str, Any]) -> None:
    assert "content" not in document["paths"]["/logout"]["post"]["responses"]["204"]
    assert document["paths"]["/metrics"]["get"]["responses"]["200"]["content"] == {
        "text/plain": {"schema": {"type": "string"}}
    }


def test_the_stream_s_document_has_a_message_for_every_kind() -> None:
    document = asyncapi()
    assert document["asyncapi"].startswith("3.")
    messages = document["components"]["messages"]
    assert {message["name"] for message in messages.values()} == set(events.KINDS)
    assert set(document["channels"]["events"]["messages"]) == set(messages)
    json.dumps(document)


def test_the_payload_of_progress_is_described_as_in_the_contract() -> None:
    schema = asyncapi()["components"]["schemas"]["DownloadProgress"]
    assert schema["required"] == ["id"]
    assert schema["properties"]["downloaded"]["type"] == "integer"
    assert set(schema["properties"]) == set(events.DownloadProgress.__struct_fields__)


def test_what_is_below_a_dialect_s_path_refuses_in_its_form() -> None:
    dialect = LmStudio.endpoints(LmStudio.__new__(LmStudio))
    document = json.loads(msgspec.json.encode(openapi((*ENDPOINTS, *dialect))))
    openapi_spec_validator.validate(document, cls=openapi_spec_validator.OpenAPIV32SpecValidator)
    for path, media_type, name in (
        ("/api/v1/models/download", "application/json", "RefusalBody"),
        ("/models", "application/problem+json", "Problem"),
    ):
        refusals = [
            answer["content"]
            for operation in document["paths"][path].values()
            for status, answer in operation["responses"].items()
            if status >= "400"
        ]
        wanted = {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}}
        assert refusals
        assert all(content == wanted for content in refusals)
        assert name in document["components"]["schemas"]

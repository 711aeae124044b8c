"""An error is written in the form of the dialect whose path was asked."""

import json

import pytest

from arwd import errors
from arwd.api import problem
from arwd.api.problem import FORMS, RFC_9457, form_of
from tests.running import Running
from tests.unit.test_errors import ALL, made

LMSTUDIO = FORMS["/api/v1/"]


@pytest.mark.parametrize("path", ["/api/v1/models", "/api/v1/", "/admin/api/v1/models/download/status/job_1"])
def test_below_a_dialect_s_path_errors_have_its_form(path: str) -> None:
    assert form_of(path) is LMSTUDIO


@pytest.mark.parametrize("path", ["", "/", "/admin", "/models", "/api/v1", "/api/v10/x", "/x/api/v1/models", "/api/"])
def test_everywhere_else_errors_are_problem_details(path: str) -> None:
    assert form_of(path) is RFC_9457


@pytest.mark.parametrize("path", ["/models", "/api/v1/models"])
def test_status_and_headers_do_not_depend_on_the_form(path: str) -> None:
    response = problem.response(errors.MethodNotAllowed("GET, HEAD"), path)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    assert response.headers["content-type"] == form_of(path).media_type


def test_a_problem_says_all_that_there_is_to_say() -> None:
    body = bytes(problem.response(errors.MissingField("The field id is missing.", field="id"), "/models").body)
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "The field id is missing.",
        "code": "missing_field",
    }


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_type_of_lm_studio_s(kind: type[errors.ArwdError]) -> None:
    error = made(kind)
    body = json.loads(bytes(problem.response(error, "/api/v1/models").body))
    assert body.keys() == {"error"}
    told = body["error"]
    assert told.pop("message") == str(error)
    if error.code in ("model_not_found", "job_not_found"):
        assert told == {"type": error.code}
        assert error.status == 404
    elif error.status >= 500:
        code = "hub_unreachable" if error.status == 502 else error.code
        assert told == {"type": "internal_error", "code": code}
    else:
        assert told == {"type": "invalid_request", "code": error.code}


def test_a_missing_field_is_told_as_in_lm_studio_s_own_example() -> None:
    body = bytes(problem.response(errors.MissingField("The field model is missing.", field="model"), "/api/v1/x").body)
    assert json.loads(body)["error"] == {
        "type": "invalid_request",
        "message": '"model" is required',
        "code": "missing_required_parameter",
        "param": "model",
    }


def test_a_wrong_field_is_named_too() -> None:
    body = bytes(problem.response(errors.InvalidField("No.", field="quantization"), "/api/v1/x").body)
    expected = {"type": "invalid_request", "message": "No.", "code": "invalid_field", "param": "quantization"}
    assert json.loads(body) == {"error": expected}


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/admin/api/v1/nothing"])
async def test_a_running_daemon_refuses_in_the_form_of_the_path(daemon: Running, path: str) -> None:
    status, body = await daemon.call("GET", path)
    assert status == 404
    assert body["error"]["type"] == "invalid_request"
    assert body["error"]["code"] == "not_found"
    status, body = await daemon.call("GET", "/nothing")
    assert (status, body["code"]) == (404, "not_found")


async def test_the_gate_refuses_in_the_form_of_the_path_as_well(daemon: Running) -> None:
    status, body = await daemon.call("POST", "/api/v1/models/download", {}, headers={"Origin": "https://evil.example"})
    assert (status, body["error"]["code"]) == (403, "origin_denied")

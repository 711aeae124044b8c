"""What a refusal of the Hub comes to: as much is told apart as it tells apart, and each sentence says what to do."""

import pytest
from multidict import CIMultiDict

from arwd import errors
from arwd.sources.hub_links import HubRef
from arwd.sources.hub_refusals import refusal

REF = HubRef(repository="org/repo", revision="v1", path="a.gguf")
HUB = "https://hub.example"


@pytest.mark.parametrize(
    ("status", "headers", "kind", "sentence"),
    [
        (401, {"x-error-code": "GatedRepo"}, errors.ModelForbidden, "accept its licence"),
        (403, {"X-Error-Code": "GatedRepo"}, errors.ModelForbidden, "https://hub.example/org/repo is gated"),
        (401, {"X-Error-Code": "RepoNotFound"}, errors.ModelNotFound, "missing or private"),
        (401, {}, errors.ModelNotFound, "missing or private"),
        (404, {"X-Error-Code": "RepoNotFound"}, errors.ModelNotFound, "There is no https://hub.example/org/repo"),
        (404, {}, errors.ModelNotFound, "Check the spelling"),
        (410, {}, errors.ModelNotFound, "Check the spelling"),
        (404, {"X-Error-Code": "RevisionNotFound"}, errors.ModelNotFound, "no branch, tag or commit v1"),
        (404, {"X-Error-Code": "EntryNotFound"}, errors.ModelNotFound, "no file a.gguf at v1"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, errors.ModelForbidden, "the token"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, errors.ModelForbidden, "is disabled"),
        (403, {}, errors.ModelForbidden, "The token may not read"),
        (429, {"RateLimit": '"api";r=0;t=9', "Retry-After": "5"}, errors.TooManyRequests, "in 10 s"),
        (429, {"Retry-After": "5"}, errors.TooManyRequests, "in 5 s"),
        (429, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, errors.TooManyRequests, "again later"),
        (429, {"ratelimit": '"api";r=0;t=' + "9" * 40}, errors.TooManyRequests, "again later"),
        (429, {}, errors.TooManyRequests, "HF_TOKEN"),
        (500, {}, errors.SourceUnreachable, "out of order"),
        (504, {"X-Error-Code": "GatedRepo"}, errors.SourceUnreachable, "status 504"),
        (400, {}, errors.HttpStatus, "status 400"),
        (206, {}, errors.HttpStatus, "status 206"),
    ],
)
def test_a_refusal_and_what_it_means(
    status: int, headers: dict[str, str], kind: type[errors.ArwdError], sentence: str
) -> None:
    error = refusal(status, CIMultiDict(headers), REF, HUB)
    assert type(error) is kind
    assert sentence in str(error)


def test_nothing_that_the_server_says_is_repeated() -> None:
    for status in (400, 401, 403, 404, 429, 500):
        assert "tell-tale" not in str(refusal(status, CIMultiDict({"X-Error-Message": "tell-tale"}), REF, HUB))

"""Every error is drawn in the tree, has a code of its own in its family, and knows what it answers."""

import itertools
import re

import pytest

from arwd import errors
from arwd.api.problem import TITLES
from arwd.errors import ArwdError, RequestError, TransferError

CONTRACT_CODES = {
    "invalid_json", "missing_field", "invalid_field", "invalid_url_scheme", "credentials_in_url", "invalid_sha256",
    "invalid_parameter", "unsupported_media_type", "too_large", "not_found", "method_not_allowed", "unauthorized",
    "host_denied", "origin_denied", "id_in_use", "too_many_streams", "internal",
    "model_not_found",
}  # fmt: skip
TRANSFER_CODES = {
    "unauthorized", "not_found", "too_many_requests", "http_status", "dns", "connect", "tls", "stalled", "reset",
    "truncated", "bad_range", "size_mismatch", "invalid_response", "bad_redirect", "too_many_redirects",
    "blocked_address", "not_a_model", "unsafe_format", "hub_unreachable",
}  # fmt: skip
RETRYABLE = {"too_many_requests", "dns", "connect", "stalled", "reset", "truncated", "hub_unreachable"}


def below(family: type[ArwdError]) -> list[type[ArwdError]]:
    found = [below(child) for child in family.__subclasses__()]
    return [*family.__subclasses__(), *itertools.chain.from_iterable(found)]


def made(kind: type[ArwdError]) -> ArwdError:
    match kind.__name__:
        case "InvalidUrlScheme":
            return kind()
        case "MethodNotAllowed":
            return kind("GET, HEAD")  # type: ignore[call-arg]
        case "TooManyFailures":
            return kind(42)  # type: ignore[call-arg]
        case "Sha256Mismatch":
            return kind(expected="e", actual="a")  # type: ignore[call-arg]
        case _ if issubclass(kind, errors.HttpStatus):
            return kind("a sentence", 418)
        case _:
            return kind("a sentence")


ALL = [ArwdError, *below(ArwdError)]


def test_the_drawn_tree_names_every_class_and_no_other() -> None:
    drawn = set(re.findall(r"\b[A-Z][a-z]\w*", "\n".join(_stems(errors.__doc__ or ""))))
    assert drawn == {kind.__name__ for kind in ALL}


def test_every_class_can_be_imported_from_the_package() -> None:
    assert set(errors.__all__) == {kind.__name__ for kind in ALL}
    assert all(getattr(errors, kind.__name__) is kind for kind in ALL)


def test_every_code_of_the_contract_exists() -> None:
    assert {kind.code for kind in [ArwdError, *below(RequestError)]} >= CONTRACT_CODES
    assert {kind.code for kind in below(TransferError)} == TRANSFER_CODES


@pytest.mark.parametrize("family", [RequestError, TransferError, errors.StorageError])
def test_no_two_branches_of_a_family_share_a_code(family: type[ArwdError]) -> None:
    def home(kind: type[ArwdError]) -> type[ArwdError]:
        """The most general error that has this one's code."""
        return next(each for each in reversed(kind.__mro__[: kind.__mro__.index(family)]) if each.code == kind.code)

    for one, other in itertools.combinations(below(family), 2):
        assert one.code != other.code or home(one) is home(other), (one, other)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_sentence_a_code_and_a_status_with_a_title(kind: type[ArwdError]) -> None:
    error = made(kind)
    assert str(error)
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", error.code)
    assert error.status in TITLES


@pytest.mark.parametrize("kind", below(RequestError))
def test_a_mistake_of_the_client_is_never_answered_as_our_fault_and_never_retried(kind: type[RequestError]) -> None:
    assert kind.status // 100 == 4 or kind.status == 503
    assert not kind.retryable


@pytest.mark.parametrize("kind", [TransferError, *below(TransferError)])
def test_only_passing_faults_of_a_transfer_are_retried(kind: type[TransferError]) -> None:
    passing = (errors.ServerBusy, errors.LinkExpired, errors.Handshake, errors.InvalidResponse)
    lasting = (errors.ProxyRefused, errors.UnsafePaths)
    assert kind.retryable is ((kind.code in RETRYABLE and kind not in lasting) or kind in passing)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (errors.MethodNotAllowed, "Allow", "GET, HEAD"),
        (errors.Unauthorized, "WWW-Authenticate", "Bearer"),
        (errors.TooManyFailures, "Retry-After", "42"),
        (errors.RequestTimeout, "Connection", "close"),
    ],
)
def test_a_refusal_carries_the_header_that_belongs_to_it(kind: type[RequestError], name: str, value: str) -> None:
    error = made(kind)
    assert isinstance(error, RequestError)
    assert error.headers() == {name: value}


@pytest.mark.parametrize("kind", [errors.TooManyStreams, errors.Stopping])
def test_whoever_is_turned_away_for_now_is_told_when_to_come_back(kind: type[RequestError]) -> None:
    assert int(kind("a sentence").headers()["Retry-After"]) > 0


def test_a_refused_request_has_no_headers_unless_it_needs_them() -> None:
    assert errors.InvalidJson("a sentence").headers() == {}


def test_the_seed_s_sentences_are_kept() -> None:
    assert str(errors.InvalidUrlScheme()) == "invalid url scheme"
    assert str(errors.Sha256Mismatch(expected="e", actual="a")) == "checksum mismatch"


def test_details_are_what_the_event_adds() -> None:
    assert errors.Sha256Mismatch(expected="e", actual="a").details() == {"expected": "e", "actual": "a"}
    assert errors.HttpStatus("a sentence", 418).details() == {"http_status": 418}
    assert errors.Stalled("a sentence").details() == {}


@pytest.mark.parametrize(
    ("kind", "status"), [(errors.StartError, 1), (errors.SettingsError, 78), (errors.StateDirectoryInUse, 75)]
)
def test_a_start_that_fails_says_why_by_its_exit_status(kind: type[errors.StartError], status: int) -> None:
    assert kind.exit_status == status


def _stems(tree: str) -> list[str]:
    """The lines of the drawing without what is said about each class."""
    lines = [line for line in tree.splitlines() if re.match(r"ArwdError|[├│└ ]", line)]
    return [re.split(r"(?<=\S) {2,}(?=(?:[a-z]|the))", line)[0] for line in lines]

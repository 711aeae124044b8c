"""Every refusal: the right status, the right code, the field's name; nothing is started and nothing stays behind."""

import asyncio
import gzip
import hashlib
import itertools
import json
import re
import socket
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arwd.api import endpoints
from tests.canary import WORD
from tests.integration.test_security import routes
from tests.origin import Origin, Stall
from tests.running import Running
from tests.wire import JSON, Answer, ask, connected, request

TITLES = {
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
    503: "Service Unavailable",
}
COMMANDS = (
    "/models/download", "/models/download/cancel", "/models/download/pause", "/models/download/resume",
    "/models/delete",
)  # fmt: skip
WITH_BODY = (
    *(("POST", path) for path in COMMANDS), ("POST", "/models/plan"), ("PATCH", "/limits"), ("POST", "/login"),
)  # fmt: skip


@pytest.fixture
def data() -> bytes:
    return b"GGUF" + bytes(2_000)


@pytest.fixture(autouse=True)
def nothing_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs here are wild: whatever they name, only this machine is asked."""
    resolve = asyncio.BaseEventLoop.getaddrinfo

    async def guarded(loop: asyncio.BaseEventLoop, host: Any, port: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", "::1"):
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return await resolve(loop, host, port, **more)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", guarded)


def assert_problem(answer: Answer, status: int, code: str, *named: str) -> None:
    """The exact shape of RFC 9457, and the field's or parameter's name in its sentence."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail", "code"]
    assert problem["type"] == "about:blank"
    assert problem["title"] == TITLES[status]
    assert (problem["status"], problem["code"]) == (status, code), problem
    detail = problem["detail"]
    assert isinstance(detail, str)
    assert detail
    for name in named:
        assert re.search(rf"(?<!\w){re.escape(name)}(?!\w)", detail), f"{name} is not named in {detail!r}"
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", answer.headers["x-request-id"])


async def sent(daemon: Running, method: str, path: str, body: object) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await ask(daemon, method, path, JSON, body=raw)


async def assert_untouched(daemon: Running, origin: Origin) -> None:
    """No job, no model, no file, no connection."""
    assert (await daemon.call("GET", "/models/jobs"))[1]["jobs"] == []
    assert (await daemon.call("GET", "/models"))[1] == []
    assert daemon.files() == []
    assert origin.accepts == 0


# The body as a whole.


async def test_a_body_that_is_not_declared_as_json_is_415(daemon: Running, origin: Origin) -> None:
    body = json.dumps({"id": "m", "url": origin.url()}).encode()
    for method, path in WITH_BODY:
        for media_type in (
            "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json",
            "application/jsonx", "application/problem+json", "application/json, text/plain", "*/*", "", "json",
        ):  # fmt: skip
            answer = await ask(daemon, method, path, f"Content-Type: {media_type}", body=body)
            assert_problem(answer, 415, "unsupported_media_type", "Content-Type")
        assert_problem(await ask(daemon, method, path, body=body), 415, "unsupported_media_type")
        assert_problem(await ask(daemon, method, path), 415, "unsupported_media_type")
    await assert_untouched(daemon, origin)


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON;charset=UTF-8", "application/json ; x=y"])
async def test_json_is_json_with_any_parameter(daemon: Running, media_type: str) -> None:
    answer = await ask(daemon, "POST", "/models/download/cancel", f"Content-Type: {media_type}", body=b'{"id":"x"}')
    assert answer.status == 200


async def test_a_compressed_body_is_refused(daemon: Running, origin: Origin) -> None:
    body = gzip.compress(json.dumps({"id": "m", "url": origin.url()}).encode())
    answer = await ask(daemon, "POST", "/models/download", JSON, "Content-Encoding: gzip", body=body)
    assert answer.status in (400, 415)
    await assert_untouched(daemon, origin)


async def test_a_body_of_more_than_1_mib_is_413_by_its_declaration_alone(daemon: Running, origin: Origin) -> None:
    for method, path in WITH_BODY:
        async with connected(daemon) as wire:
            wire.send(request(daemon, method, path, JSON, f"Content-Length: {endpoints.MAX_BODY + 1}"))
            assert_problem(await wire.answer(), 413, "too_large")
    await assert_untouched(daemon, origin)


async def test_a_chunked_body_of_more_than_1_mib_is_413(daemon: Running, origin: Origin) -> None:
    async with connected(daemon) as wire:
        wire.send(request(daemon, "POST", "/models/download", JSON, "Transfer-Encoding: chunked"))
        for _ in range(17):
            wire.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")
        assert_problem(await wire.answer(), 413, "too_large")
    await assert_untouched(daemon, origin)


async def test_a_body_of_exactly_1_mib_is_taken(daemon: Running) -> None:
    body = b'{"id":"x"}'.ljust(endpoints.MAX_BODY)
    assert (await sent(daemon, "POST", "/models/download/cancel", body)).status == 200


NOT_JSON = (
    b"", b" ", b"{", b"}", b'{"id":"m"', b'{"id":"m",}', b"{'id':'m'}", b"{id:1}", b'{"id":NaN}', b'{"id":"m"}x',
    b'{"id":"m"}{"id":"m"}', b'\xef\xbb\xbf{"id":"m"}', b'{"id":"a\nb"}', b'{"id":"\\x"}', b"\x00", b"id=m",
    b'{"id":"\xff"}', b'{"id":"\xc0\xaf"}', b'{"id":"\xed\xa0\x80"}', b'\xff\xfe{\x00}\x00',
    b'{"id":"\\ud800"}', b'{"id":"\\udc00x"}', b'{"id":"\\ud800\\u0041"}',
    b"[" * 100_000, b'{"a":' * 100_000, b'{"note":' + b"[" * 100_000 + b"]" * 100_000 + b',"id":"m"}',
)  # fmt: skip


async def test_what_is_not_json_is_400_on_every_route_with_a_body(
    daemon: Running, origin: Origin, subtests: pytest.Subtests
) -> None:
    for (method, path), body in itertools.product(WITH_BODY, NOT_JSON):
        name = {"/limits": b'"max_jobs"', "/login": b'"token"', "/models/plan": b'"ref"'}.get(path, b'"id"')
        given_body = body.replace(b'"id"', name)
        if path == "/models/download":
            given_body = given_body.replace(b'{"id"', b'{"url":"http://127.0.0.1:1/m","id"')
        with subtests.test(f"{method} {path} {given_body[:60]!r}"):
            answer = await sent(daemon, method, path, given_body)
            # A field that is wrong before the fault may be what is told: a limit is no string.
            is_field = path == "/limits" and b"invalid_field" in answer.body
            assert_problem(answer, 400, "invalid_field" if is_field else "invalid_json")
    await assert_untouched(daemon, origin)


async def test_a_field_that_nobody_reads_must_still_be_utf_8(daemon: Running, origin: Origin) -> None:
    answer = await sent(daemon, "POST", "/models/download/cancel", b'{"id":"m","note":"\xff"}')
    assert_problem(answer, 400, "invalid_json")


@pytest.mark.parametrize("body", [b"[]", b'[{"id":"m"}]', b'"m"', b"1", b"1.5", b"true", b"null", b"[[]]"])
async def test_json_that_is_no_object_is_400(daemon: Running, origin: Origin, body: bytes) -> None:
    for method, path in WITH_BODY:
        assert_problem(await sent(daemon, method, path, body), 400, "invalid_json", "object")
    await assert_untouched(daemon, origin)


# Fields.

ILL_TYPED: tuple[object, ...] = (1, 1.5, True, False, [], ["m"], {}, {"a": 1})


async def test_a_missing_or_null_field_is_400_and_named(daemon: Running, origin: Origin) -> None:
    url = origin.url()
    for path, body, name in (
        ("/models/download", {}, "id"),
        ("/models/download", {"url": url}, "id"),
        ("/models/download", {"id": None, "url": url}, "id"),
        ("/models/download", {"id": "m"}, "url"),
        ("/models/download", {"id": "m", "url": None}, "url"),
        *((path, body, "id") for path in COMMANDS for body in ({}, {"id": None}, {"ID": "m"}, {"id ": "m"})),
        ("/login", {}, "token"),
        ("/login", {"token": None}, "token"),
    ):
        assert_problem(await sent(daemon, "POST", path, body), 400, "missing_field", name)
    await assert_untouched(daemon, origin)


async def test_an_ill_typed_field_is_400_and_named(daemon: Running, origin: Origin) -> None:
    good = {"id": "m", "url": origin.url(), "provider": "local", "sha256": "0" * 64, "filename": "m.gguf"}
    for value in ILL_TYPED:
        for name in good:
            answer = await sent(daemon, "POST", "/models/download", good | {name: value})
            assert_problem(answer, 400, "invalid_field", name)
        for path in COMMANDS[1:]:
            assert_problem(await sent(daemon, "POST", path, {"id": value}), 400, "invalid_field", "id")
        assert_problem(await sent(daemon, "POST", "/login", {"token": value}), 400, "invalid_field", "token")
    await assert_untouched(daemon, origin)


async def test_null_in_an_optional_field_counts_as_absent(daemon: Running, origin: Origin) -> None:
    receipt = await daemon.download("m", origin.url(), provider=None, sha256=None, filename=None)
    assert receipt["status"] == "queued"
    last = await daemon.settled("m")
    assert (last["provider"], last["trust"]) == ("local", "none")


async def test_unknown_fields_are_ignored(daemon: Running, origin: Origin) -> None:
    await daemon.download("m", origin.url(), Id="other", x={"deep": [None, {"y": 1e300}]}, **{"": 1, "job_id": 7})
    assert (await daemon.settled("m"))["status"] == "complete"


CONTROLS = ("\x00", "\x01", "\t", "\n", "\r", "\x1f", "\x7f", "\x80", "\x85", "\x9f")


async def test_an_id_is_1_to_256_characters_without_controls(daemon: Running, origin: Origin) -> None:
    bad = ["", "x" * 257, "\U0001f600" * 257, "x" * 100_000] + [f"a{control}b" for control in CONTROLS]
    for model_id in bad:
        answer = await sent(daemon, "POST", "/models/download", {"id": model_id, "url": origin.url()})
        assert_problem(answer, 400, "invalid_field", "id")
        for path in COMMANDS[1:]:
            assert_problem(await sent(daemon, "POST", path, {"id": model_id}), 400, "invalid_field", "id")
        if 0 < len(model_id) < 1_000:
            answer = await ask(daemon, "DELETE", "/models/" + quote(model_id, safe=""))
            assert answer.status in (400, 404)
    await assert_untouched(daemon, origin)


@pytest.mark.parametrize(
    "model_id",
    ["x", " ", "x" * 256, "\U0001f600" * 256, "a/b", "../..", "a b", "é", "jobs", "download", "%41", "\u2028"],
)
async def test_any_other_id_is_good_for_a_life(daemon: Running, origin: Origin, model_id: str) -> None:
    await daemon.download(model_id, origin.url())
    async with daemon.session.get(f"{daemon.url}/events", params={"id": model_id, "until": "done"}) as response:
        assert '"status":"complete"' in await response.text()
    assert [model["id"] for model in (await daemon.call("GET", "/models"))[1]] == [model_id]
    answer = await ask(daemon, "DELETE", "/models/" + quote(model_id, safe=""))
    assert answer.json()["data"] == {"id": model_id, "status": "deleted"}
    assert (await daemon.call("GET", "/models"))[1] == []
    assert daemon.files() == []


async def test_a_delete_decodes_its_id_once(daemon: Running, origin: Origin) -> None:
    for model_id in ("org/model", "a%2Fb", "a+b", "a?b#c", "a//b", "/a", "a/"):
        await daemon.download(model_id, origin.url())
        query = {"id": model_id, "until": "done"}
        async with daemon.session.get(f"{daemon.url}/events", params=query) as response:
            assert '"status":"complete"' in await response.text()
        twice = quote(quote(model_id, safe=""), safe="")
        if twice != quote(model_id, safe=""):
            answer = await ask(daemon, "DELETE", f"/models/{twice}")
            assert answer.json()["data"]["status"] == "no-active-job"
        answer = await ask(daemon, "DELETE", f"/models/{quote(model_id, safe='')}")
        assert answer.json()["data"] == {"id": model_id, "status": "deleted"}
    for path in ("/models/org/model", "/admin/models/org/model"):
        await daemon.download("org/model", origin.url())
        await daemon.settled("org/model")
        assert (await ask(daemon, "DELETE", path)).json()["data"] == {"id": "org/model", "status": "deleted"}


async def test_the_commands_for_an_unknown_id_are_200_and_say_so(daemon: Running, origin: Origin) -> None:
    for path in COMMANDS[1:]:
        answer = await sent(daemon, "POST", path, {"id": "nobody"})
        assert (answer.status, answer.json()) == (
            200,
            {"ok": True, "data": {"id": "nobody", "status": "no-active-job"}},
        )
    answer = await ask(daemon, "DELETE", "/models/nobody")
    assert (answer.status, answer.json()) == (200, {"ok": True, "data": {"id": "nobody", "status": "no-active-job"}})
    await assert_untouched(daemon, origin)


# URLs and digests.


async def test_only_http_and_https_urls_are_taken(daemon: Running, origin: Origin) -> None:
    for url in (
        "ftp://127.0.0.1/m", "file:///etc/passwd", "file://127.0.0.1/etc/passwd", "gopher://127.0.0.1/", "data:,x",
        "javascript:alert(1)", "ws://127.0.0.1/", "httpx://127.0.0.1/", "htt://127.0.0.1/", "s3://bucket/key",
        "unix:///run/x", "mailto:a@b", "blob:http://127.0.0.1/x", "view-source:http://127.0.0.1/",
    ):  # fmt: skip
        answer = await sent(daemon, "POST", "/models/download", {"id": "m", "url": url})
        assert_problem(answer, 400, "invalid_url_scheme")
        assert answer.json()["detail"] == "invalid url scheme"
    await assert_untouched(daemon, origin)


async def test_credentials_in_a_url_are_refused_and_not_repeated(daemon: Running, origin: Origin) -> None:
    for userinfo in (f"user:{WORD}", WORD, f":{WORD}", f"{WORD}:", "", ":", f"a%40b:{WORD}", f"a@b:{WORD}"):
        url = f"http://{userinfo}@127.0.0.1:{origin.port}/m"
        answer = await sent(daemon, "POST", "/models/download", {"id": "m", "url": url})
        assert_problem(answer, 400, "credentials_in_url", "url")
    await assert_untouched(daemon, origin)


async def test_a_malformed_url_is_400_and_named(daemon: Running, origin: Origin) -> None:
    for url in (
        "http://", "http:///m", "http://:80/m", "https://?x", "http://[::1/m", "http://127.0.0.1:99999/m",
        f"http://127.0.0.1:x/m?{WORD}", f"http://127.0.0.1:-1/m?{WORD}", f"http://127.0.0.1/a b?{WORD}",
        "http://127.0.0.1/a\nb", " http://127.0.0.1/",
        "http://127.0.0.1/\x00", "http://127.0.0.1/é", "http://exämple/m", "http://[zz]/m", "http://#x",
    ):  # fmt: skip
        answer = await sent(daemon, "POST", "/models/download", {"id": "m", "url": url})
        assert_problem(answer, 400, "invalid_field", "url")
    for url in ("", "m", "/m", "//127.0.0.1/m", "127.0.0.1/m", "http:/127.0.0.1", "http:127.0.0.1", "://", ":"):
        answer = await sent(daemon, "POST", "/models/download", {"id": "m", "url": url})
        assert answer.status == 400, (url, answer)
    await assert_untouched(daemon, origin)


async def test_a_digest_is_64_hexadecimal_digits(daemon: Running, origin: Origin) -> None:
    for digest in (
        "", "0", "0" * 63, "0" * 65, "g" * 64, "0" * 64 + "\n", " " + "0" * 63, "0x" + "0" * 62, "sha256:" + "0" * 64,
        "sha256-" + "0" * 57, "٠" * 64, "０" * 64, "é" * 64, "0" * 100_000,
    ):  # fmt: skip
        answer = await sent(daemon, "POST", "/models/download", {"id": "m", "url": origin.url(), "sha256": digest})
        assert_problem(answer, 400, "invalid_sha256", "sha256")
    await assert_untouched(daemon, origin)


async def test_an_upper_case_digest_is_kept_in_lower_case(daemon: Running, origin: Origin, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    await daemon.download("m", origin.url(), sha256=digest.upper())
    assert (await daemon.settled("m"))["sha256"] == digest
    assert (await daemon.job("m"))["sha256"] == digest
    assert (await daemon.call("GET", "/models"))[1][0]["sha256"] == digest
    assert (await daemon.download("m", origin.url(), sha256=digest))["status"] == "complete"


async def test_an_id_bound_to_another_url_is_409_and_the_job_goes_on(daemon: Running, origin: Origin) -> None:
    origin.script(Stall(100))
    receipt = await daemon.download("m", origin.url("a"))
    for body in ({"id": "m", "url": origin.url("b")}, {"id": "m", "url": origin.url("a"), "sha256": "0" * 64}):
        assert_problem(await sent(daemon, "POST", "/models/download", body), 409, "id_in_use", "m", receipt["job_id"])
    assert (await daemon.job("m"))["job_id"] == receipt["job_id"]


async def test_a_refusal_of_a_busy_id_tells_no_query(daemon: Running, origin: Origin) -> None:
    origin.script(Stall(100))
    await daemon.download("m", origin.url("a"))
    answer = await sent(daemon, "POST", "/models/download", {"id": "m", "url": origin.url("b")})
    assert_problem(answer, 409, "id_in_use")


# Routes and methods.


async def test_an_unknown_path_is_404(daemon: Running) -> None:
    for path in ("/nowhere", "/models/download/", "/models/", "/Models", "//models", "/models/download/x", "/events/",
                 "/admin/nowhere", "/admin/admin", "/admin/admin/models", "/adminmodels", "/static/../arw.py",
                 "/static/%2e%2e/arw.py", "/static/", "/%2e%2e/etc/passwd", "/.", "/?"):  # fmt: skip
        answer = await ask(daemon, "GET", path)
        if path == "/?":
            assert answer.status == 200
        elif answer.status == 405:
            assert_problem(answer, 405, "method_not_allowed", "DELETE")  # an id may be anything
            assert path.startswith("/models/")
        else:
            assert_problem(answer, 404, "not_found")


async def test_another_method_is_405_with_the_methods_that_are_allowed(daemon: Running) -> None:
    for path, allowed in (
        ("/models", {"GET", "HEAD"}),
        ("/models/download", {"POST"}),
        ("/models/download/cancel", {"POST"}),
        ("/models/jobs", {"GET", "HEAD"}),
        ("/models/x", {"DELETE"}),
        ("/limits", {"GET", "HEAD", "PATCH"}),
        ("/events", {"GET", "HEAD"}),
        ("/login", {"POST"}),
        ("/logout", {"POST"}),
        ("/", {"GET", "HEAD"}),
    ):
        for each in (path, "/admin" + path.rstrip("/")):
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
                if method in allowed or (method == "DELETE" and path.startswith("/models/")):
                    continue  # an id may be anything
                answer = await ask(daemon, method, each, body=b"" if method in ("POST", "PUT", "PATCH") else None)
                assert answer.status == 405, f"{method} {each}: {answer}"
                got = {name.strip() for name in answer.headers["allow"].split(",")}
                assert allowed <= got, f"{method} {each}: {got}"
                assert method not in got
                if method != "HEAD":
                    assert_problem(answer, 405, "method_not_allowed", *allowed)


async def test_head_answers_wherever_get_does_with_the_same_headers_and_no_body(daemon: Running) -> None:
    changing = {"date", "x-request-id", "content-length"}
    for method, path in await routes(daemon):
        if method != "GET" or path in ("/events", "/admin/events"):
            continue
        got, head = await ask(daemon, "GET", path), await ask(daemon, "HEAD", path)
        assert head.status == got.status, path
        assert set(head.names) == set(got.names), path
        for name in set(head.names) - changing:
            assert head.headers[name] == got.headers[name], (path, name)


async def test_head_of_the_stream_answers_its_headers_and_is_no_subscriber(daemon: Running) -> None:
    for path in ("/events", "/admin/events", "/events?prefix=Models.&replay=10", "/events?until=done"):
        async with connected(daemon) as wire:
            wire.send(request(daemon, "HEAD", path))
            answer = await wire.answer("HEAD")
            assert answer.status == 200
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache, no-transform"
            assert answer.headers["x-accel-buffering"] == "no"
            assert daemon.daemon.bus.subscribers == 0
            wire.send(request(daemon, "GET", "/healthz"))
            assert (await wire.answer()).json() == {"ok": True}
    assert_problem(await ask(daemon, "GET", "/events?until=x"), 400, "invalid_parameter", "until")
    assert (await ask(daemon, "HEAD", "/events?until=x")).status == 400


async def test_a_request_id_is_echoed_if_it_can_be_one_else_made(daemon: Running) -> None:
    for given_id in ("a", "A.b_c-9", "x" * 128):
        for path in ("/healthz", "/nowhere", "/events"):
            assert (await ask(daemon, "GET", path, f"X-Request-Id: {given_id}")).headers["x-request-id"] == given_id
    made = set()
    for given_id in ("", " ", "x" * 129, "a b", "a/b", "é", "<x>", 'a"b', "a\tb"):
        answer = await ask(daemon, "GET", "/healthz", f"X-Request-Id: {given_id}")
        assert re.fullmatch(r"[A-Za-z0-9._-]{8,128}", answer.headers["x-request-id"])
        made.add(answer.headers["x-request-id"])
    made.add((await ask(daemon, "GET", "/healthz")).headers["x-request-id"])
    assert len(made) == 10


# Limits.


async def test_limits_can_be_read_and_changed(daemon: Running) -> None:
    _, before = await daemon.call("GET", "/limits")
    assert (await daemon.call("PATCH", "/limits", {"max_jobs": 7})) == (200, before | {"max_jobs": 7})
    assert (await daemon.call("PATCH", "/limits", {})) == (200, before | {"max_jobs": 7})
    assert (await daemon.call("PATCH", "/limits", {"max_jobs": None})) == (200, before | {"max_jobs": 7})
    assert (await daemon.call("GET", "/limits"))[1] == before | {"max_jobs": 7}


@pytest.mark.parametrize("name", ["max_jobs"])
async def test_a_limit_out_of_bounds_is_400_and_changes_nothing(daemon: Running, name: str) -> None:
    _, before = await daemon.call("GET", "/limits")
    for value in (-1, 1.5, "5", True, [], {}, 10**30, -(10**30)):
        assert_problem(await sent(daemon, "PATCH", "/limits", {name: value}), 400, "invalid_field", name)
        assert (await daemon.call("GET", "/limits"))[1] == before


async def test_at_least_one_job_and_at_most_a_thousand_may_run(daemon: Running) -> None:
    for value in (0, 1_001):
        assert_problem(await sent(daemon, "PATCH", "/limits", {"max_jobs": value}), 400, "invalid_field", "max_jobs")
    for value in (1, 1_000):
        assert (await daemon.call("PATCH", "/limits", {"max_jobs": value}))[1]["max_jobs"] == value


# The stream's query.


async def test_a_bad_parameter_of_the_stream_is_400_and_named(daemon: Running) -> None:
    for query, name in (
        ("after=", "after"), ("after=x", "after"), ("after=-1", "after"), ("after=1.0", "after"),
        ("after=1e3", "after"),
        ("after=9007199254740992", "after"), ("after=99999999999999999999", "after"), ("after=%D9%A1", "after"),
        ("after=+1", "after"), ("after=0x10", "after"), ("after=1%0A", "after"),
        ("replay=", "replay"), ("replay=-1", "replay"), ("replay=1001", "replay"), ("replay=x", "replay"),
        ("replay=%D9%A1", "replay"), ("data=", "data"), ("data=xml", "data"), ("data=Payload", "data"),
        ("named=", "named"), ("named=0", "named"), ("named=False", "named"), ("until=", "until"),
        ("until=never", "until"),
        ("after=1&replay=x", "replay"), ("replay=1&named=no", "named"),
    ):  # fmt: skip
        answer = await ask(daemon, "GET", f"/events?{query}")
        assert_problem(answer, 400, "invalid_parameter", name)
    assert daemon.daemon.bus.subscribers == 0


async def test_to_wait_for_an_unknown_job_is_404(daemon: Running) -> None:
    for query in ("id=nobody", "job_id=job_0000000000", "id=%00", "job_id="):
        assert_problem(await ask(daemon, "GET", f"/events?{query}&until=done"), 404, "not_found")


async def test_a_malformed_last_event_id_is_an_unknown_one_and_never_an_error(daemon: Running) -> None:
    for value in ("x", "-1", "1.5", "9" * 30, "\xe9", "1 2", "٣".encode().decode("latin-1"), "0x1"):
        answer = await ask(daemon, "GET", "/events", f"Last-Event-ID: {value}")
        assert answer.status == 200, value


# Anything.

WORDS = st.sampled_from(["", "m", "a/b", "../x", "x" * 300, "é", "\u2028", "0" * 64, "local", "Q4_K_M", "true", "done"])
TEXTS = st.text(max_size=20).map(lambda text: " " + text)  # with a space in front, it is no ref of any source
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
REFS = ("url", "ref", "model")
NAMES = ("id", *REFS, "provider", "sha256", "filename", "quantization", "max_jobs", "token", "readMask")
QUERIES = st.dictionaries(
    st.sampled_from(["prefix", "id", "job_id", "after", "replay", "data", "named", "until", "readMask", "token"]),
    st.one_of(WORDS, TEXTS, st.integers().map(str)),
    max_size=3,
)


def bodies(url: str) -> st.SearchStrategy[bytes]:
    """Bodies that are right, nearly right, and not at all. Every URL that could be fetched is the origin's."""
    urls = st.one_of(st.sampled_from([url, url + "?q=1", url + "/../x", url + "%2e%2e"]), TEXTS, VALUES)
    fields = st.dictionaries(st.sampled_from(NAMES), st.one_of(WORDS, VALUES), max_size=4)
    return st.one_of(
        st.builds(lambda more, name, target: more | {name: target}, fields, st.sampled_from(REFS), urls)
        .map(_without_refs)
        .map(_encoded),
        VALUES.map(_encoded),
        st.binary(max_size=100),
        st.builds(lambda raw, cut: raw[:cut], fields.map(_without_refs).map(_encoded), st.integers(0, 60)),
    )


def _without_refs(body: dict[str, Any]) -> dict[str, Any]:
    # Words that a source might know are kept out of the fields in which they would be looked up.
    safe = (" ", "http://127.0.0.1:")
    return body | {name: 1 for name in REFS if name in body and not str(body[name]).startswith(safe)}


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture
async def table(daemon: Running) -> list[tuple[str, str]]:
    """Every route of the daemon under test."""
    return await routes(daemon)


@settings(
    max_examples=250, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(choice=st.data())
async def test_no_body_and_no_query_breaks_any_route(
    daemon: Running, origin: Origin, data: bytes, table: list[tuple[str, str]], choice: st.DataObject
) -> None:
    method, path = choice.draw(st.sampled_from(table))
    query = "&".join(f"{name}={quote(value, errors='surrogatepass')}" for name, value in choice.draw(QUERIES).items())
    media_type = choice.draw(st.sampled_from([JSON, JSON, JSON, "Content-Type: text/plain"]))
    has_body = method not in ("GET", "HEAD", "TRACE") or choice.draw(st.booleans())
    body = choice.draw(bodies(origin.url("fuzz"))) if has_body else None
    answer = await ask(daemon, method, f"{path}?{query}"[:8_000], media_type, body=body)
    where = f"{method} {path}?{query} {body!r}: {answer}"
    assert answer.status < 500 or (answer.status, path.removeprefix("/admin")) == (503, "/events"), where
    if answer.status >= 400 and method != "HEAD" and not path.removeprefix("/admin").startswith(("/v1/", "/api/v1/")):
        assert_problem(answer, answer.status, str(answer.json()["code"]))
    _, listed = await daemon.call("GET", "/models/jobs")
    for job in listed["jobs"]:
        if job["status"] not in ("complete", "error", "canceled"):
            await daemon.call("POST", "/models/delete", {"id": job["id"]})
    _, models = await daemon.call("GET", "/models")
    assert set(daemon.files()) == {model["file"] for model in models}, where
    assert all((daemon.models / name).read_bytes() == data for name in daemon.files()), where

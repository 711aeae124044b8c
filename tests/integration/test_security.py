"""Who may call, from which page, with which token: every rule against every route that the daemon says it has."""

import asyncio
import contextlib
import itertools
import json
import logging
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from arwd.api import auth
from tests import canary, running
from tests.origin import Origin, Stall, Status
from tests.running import Running
from tests.wire import JSON, Answer, Wire, ask, connected, port_of, request

TOKEN = canary.secret("correct-horse")
LISTED = "https://dash.example"
EVIL = "http://evil.example"

PUBLIC = {"/", "/healthz", "/readyz", "/version", "/openapi.json", "/asyncapi.json", "/login", "/favicon.ico"}
"""Paths that answer without a token; `/static/` and the signed blobs below `/blobs/` do as well."""


@pytest.fixture
def data() -> bytes:
    """Many jobs run here: a small model does."""
    return b"GGUF" + bytes(2_000)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Running]:
    """A daemon that wants a token and lists one foreign page."""
    async with running.daemon(tmp_path / "guarded", TOKEN, allowed_origins=[LISTED]) as started:
        yield started


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, daemon: Running) -> None:
        self.now = 1_000.0
        daemon.daemon.keeper._clock = lambda: self.now


async def routes(daemon: Running) -> list[tuple[str, str]]:
    """Every method and path of the daemon's own document, each with its twin below /admin; and paths that are not."""
    _, document = await daemon.call("GET", "/openapi.json")
    found = []
    for path, operations in document["paths"].items():
        concrete = path
        while "{" in concrete:
            concrete = concrete[: concrete.index("{")] + "x" + concrete[concrete.index("}") + 1 :]
        found += [(method.upper(), concrete) for method in operations if method in ("get", "post", "patch", "delete")]
    assert {("GET", "/events"), ("GET", "/openapi.json"), ("POST", "/models/download")} <= set(found)
    found += [("HEAD", path) for method, path in found if method == "GET"]
    found += [("GET", "/nowhere"), ("POST", "/nowhere"), ("PUT", "/models"), ("GET", "/static/nothing"), ("TRACE", "/")]
    return found + [(method, "/admin" + path.rstrip("/")) for method, path in found]


def is_public(path: str) -> bool:
    path = path.removeprefix("/admin") or "/"
    return path in PUBLIC or path.startswith(("/static/", "/blobs/"))


def as_sent(daemon: Running, method: str, path: str, *fields: str, host: str | None = None) -> bytes:
    """A request that this route might take."""
    if method in ("POST", "PATCH"):
        return request(daemon, method, path, JSON, *fields, body=b"{}", host=host)
    return request(daemon, method, path, *fields, host=host)


async def walk(daemon: Running, sent: Iterable[tuple[str, bytes]]) -> list[Answer]:
    """The answers to these requests, in order, on as few connections as the daemon allows."""
    answers: list[Answer] = []
    waiting = list(sent)
    while waiting:
        async with connected(daemon) as wire:
            while waiting:
                method, data = waiting[0]
                wire.send(data)
                answer = await wire.answer(method)
                waiting.pop(0)
                answers.append(answer)
                if "close" in answer.headers.get("connection", "") or "event-stream" in answer.headers.get(
                    "content-type", ""
                ):
                    break
    return answers


def cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.fields if name.startswith("access-control-")}


# T1: DNS rebinding.

FOREIGN = (
    "evil.example", "evil.example:{port}", "localhost.evil.example:{port}", "127.0.0.1.nip.io:{port}",
    "127.0.0.1.evil.example", "localhost.:{port}", "127.1:{port}", "127.0.0.2:{port}", "0.0.0.0:{port}", "0:{port}",
    "2130706433:{port}", "0x7f000001:{port}", "0177.0.0.1:{port}", "[::ffff:127.0.0.1]:{port}", "[::]:{port}",
    "arwd.local:{port}", "arwd.internal:{port}", "192.168.0.1:{port}", "localhost:1", "127.0.0.1:1", "[::1]:1",
    "dash.example:1", "xn--localhost:{port}", "evillocalhost:{port}", "localhost%2eevil:{port}",
)  # fmt: skip
MALFORMED = (
    "", " ", ":{port}", "localhost:", "localhost:x", "localhost:99999", "localhost:-1", "a@localhost:{port}",
    "localhost:{port}/", "localhost:{port}?x", "localhost:{port}#", "localhost\\evil.example", "localhost,evil.example",
    "localhost evil.example", "[::1", "::1", "\xe9vil.example",
)  # fmt: skip
OWN = (
    "localhost", "localhost:{port}", "LOCALHOST:{port}", "LocalHost", "127.0.0.1", "127.0.0.1:{port}", "[::1]",
    "[::1]:{port}", "dash.example:8443", "any-port.example", "any-port.example:9",
)  # fmt: skip


@pytest.fixture
async def named(tmp_path: Path) -> AsyncIterator[Running]:
    """A daemon with further names."""
    hosts = ["dash.example:8443", "any-port.example"]
    async with running.daemon(tmp_path / "state", allowed_hosts=hosts) as started:
        yield started


async def test_no_route_answers_under_a_name_that_is_not_ours(named: Running) -> None:
    table = await routes(named)

    async def refused(host: str) -> None:
        host = host.replace("{port}", str(port_of(named)))
        sent = [(method, as_sent(named, method, path, f"Origin: http://{host}", host=host)) for method, path in table]
        for (method, path), answer in zip(table, await walk(named, sent), strict=True):
            where = f"{method} {path} with Host {host!r}: {answer}"
            assert answer.status in (400, 421), where
            assert cors(answer) == {}, where

    await asyncio.gather(*(refused(host) for host in FOREIGN + MALFORMED))


async def test_a_foreign_name_is_421_in_so_many_words(named: Running, subtests: pytest.Subtests) -> None:
    for host in FOREIGN:
        with subtests.test(host):
            answer = await ask(named, "GET", "/healthz", host=host.replace("{port}", str(port_of(named))))
            assert (answer.status, answer.json()["code"]) == (421, "host_denied")
            assert "allowed_hosts" in str(answer.json()["detail"])


async def test_every_route_answers_under_each_of_our_names(named: Running) -> None:
    table = await routes(named)

    async def answered(host: str) -> None:
        host = host.replace("{port}", str(port_of(named)))
        sent = [(method, as_sent(named, method, path, host=host)) for method, path in table]
        for (method, path), answer in zip(table, await walk(named, sent), strict=True):
            assert answer.status != 421, f"{method} {path} with Host {host!r}: {answer}"
            if answer.status == 400:
                assert b"Host" not in answer.body, f"{method} {path} with Host {host!r}: {answer}"

    await asyncio.gather(*(answered(host) for host in OWN))


async def test_the_host_is_looked_at_before_page_token_and_route(guarded: Running) -> None:
    for path in ("/probe", "/nowhere", "/models/download"):
        answer = await ask(guarded, "POST", path, "Origin: null", "X-ARW-Admin: wrong", host="evil.example", body=b"")
        assert (answer.status, answer.json()["code"]) == (421, "host_denied")
    assert guarded.daemon.keeper._failures == {}


async def test_a_preflight_under_a_foreign_name_is_421(daemon: Running) -> None:
    answer = await ask(
        daemon, "OPTIONS", "/models", f"Origin: {EVIL}", "Access-Control-Request-Method: GET", host="evil.example"
    )
    assert answer.status == 421
    assert cors(answer) == {}


async def test_a_missing_host_or_two_of_them_are_400_on_every_route(daemon: Running) -> None:
    table = await routes(daemon)
    own = f"127.0.0.1:{port_of(daemon)}"
    for hosts in ([], [own, own], [own, "evil.example"], ["evil.example", own]):
        lines = "".join(f"Host: {host}\r\n" for host in hosts)
        sent = [(method, f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()) for method, path in table]
        for (method, path), answer in zip(table, await walk(daemon, sent), strict=True):
            assert (answer.status, cors(answer)) == (400, {}), f"{method} {path} with Hosts {hosts}: {answer}"


async def test_a_second_host_far_behind_the_first_is_400(daemon: Running) -> None:
    padding = [f"X-{number}: y" for number in range(50)]
    assert (await ask(daemon, "GET", "/healthz", *padding, "hOST: evil.example")).status == 400


async def test_a_target_that_names_another_host_than_the_header_is_400(daemon: Running) -> None:
    port = port_of(daemon)
    own = f"127.0.0.1:{port}"
    for target, host in (
        (f"http://evil.example:{port}/healthz", own),
        ("http://evil.example/healthz", own),
        (f"http://{own}/healthz", "evil.example"),
        (f"http://localhost:{port}/healthz", own),
        ("http://127.0.0.1:1/healthz", own),
        (f"http://evil.example@{own}/healthz", "evil.example"),
        ("http:///healthz", own),
    ):
        answer = await ask(daemon, "GET", target, host=host)
        assert (answer.status, cors(answer)) == (400, {}), (target, host)


async def test_a_target_that_names_the_same_host_is_as_good_as_a_path(daemon: Running) -> None:
    for host in (
        f"127.0.0.1:{port_of(daemon)}",
        f"LOCALHOST:{port_of(daemon)}",
        "127.0.0.1",
        f"[::1]:{port_of(daemon)}",
    ):
        answer = await ask(daemon, "GET", f"http://{host}/healthz", host=host)
        assert (answer.status, answer.body) == (200, b'{"ok":true}'), host


async def test_two_equal_foreign_names_in_target_and_header_are_still_foreign(daemon: Running) -> None:
    answer = await ask(daemon, "GET", "http://evil.example/healthz", host="evil.example")
    assert answer.status == 421


# T2: requests that a page forges.


async def test_only_json_from_our_own_page_or_no_page_makes_a_job(daemon: Running, origin: Origin) -> None:
    types = (
        "application/json", "application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x", None, "text/plain;application/json",
    )  # fmt: skip
    origins = (None, daemon.url, EVIL, "null", "http://127.0.0.1:1")
    sites = (None, "same-origin", "same-site", "cross-site", "none")
    allowed, sent, wanted = set(), [], []
    for number, (media_type, page, site) in enumerate(itertools.product(types, origins, sites)):
        may_page = page == daemon.url or (page is None and site in (None, "same-origin", "none"))
        is_json = media_type is not None and media_type.startswith("application/json")
        if may_page and is_json:
            allowed.add(f"m{number}")
        wanted.append(200 if may_page and is_json else 415 if may_page else 403)
        given = (("Content-Type", media_type), ("Origin", page), ("Sec-Fetch-Site", site))
        fields = [f"{name}: {value}" for name, value in given if value is not None]
        body = json.dumps({"id": f"m{number}", "url": origin.url(f"m{number}")}).encode()
        sent.append(("POST", request(daemon, "POST", "/models/download", *fields, body=body)))
    walks = await asyncio.gather(*(walk(daemon, [each]) for each in sent))
    answers = [answer for (answer,) in walks]
    assert [answer.status for answer in answers] == wanted
    assert {answer.json().get("code") for answer in answers} == {None, "origin_denied", "unsupported_media_type"}
    await asyncio.gather(*map(daemon.settled, allowed))
    _, body = await daemon.call("GET", "/models/jobs")
    assert {job["id"] for job in body["jobs"]} == allowed
    assert {seen.path.removeprefix("/") for seen in origin.requests} == allowed


async def test_no_state_changing_route_takes_a_foreign_page(daemon: Running) -> None:
    table = [route for route in await routes(daemon) if route[0] not in ("GET", "HEAD", "TRACE")]
    pages = (
        [f"Origin: {EVIL}"], ["Origin: null"], ["Origin: "], ["Origin: http://127.0.0.1:1"],
        [f"Origin: ftp://127.0.0.1:{port_of(daemon)}"], [f"Origin: http://localhost:{port_of(daemon)}"],
        [f"Origin: {daemon.url}/"], [f"Origin: {daemon.url}.evil.example"], [f"Origin: {daemon.url} {EVIL}"],
        ["Sec-Fetch-Site: cross-site"], ["Sec-Fetch-Site: same-site"], ["Sec-Fetch-Site: "],
        [f"Origin: {EVIL}", "Sec-Fetch-Site: same-origin"], [f"Origin: {EVIL}", "Sec-Fetch-Site: none"],
    )  # fmt: skip

    async def refused(fields: list[str]) -> None:
        sent = [(method, as_sent(daemon, method, path, *fields)) for method, path in table]
        for (method, path), answer in zip(table, await walk(daemon, sent), strict=True):
            assert answer.status == 403, f"{method} {path} with {fields}: {answer}"

    await asyncio.gather(*map(refused, pages))


async def test_a_listed_page_may_change_things_even_across_sites(guarded: Running) -> None:
    answer = await ask(
        guarded, "POST", "/models/download/cancel", JSON, f"Origin: {LISTED}", "Sec-Fetch-Site: cross-site",
        f"Authorization: Bearer {TOKEN}", body=b'{"id":"x"}',
    )  # fmt: skip
    assert answer.status == 200
    assert cors(answer)["access-control-allow-origin"] == LISTED


async def test_reading_never_changes_anything(daemon: Running, origin: Origin) -> None:
    origin.script(Stall(100))
    receipt = await daemon.download("m", origin.url("m"))
    for method, path in await routes(daemon):
        if method in ("GET", "HEAD"):
            query = "?_method=DELETE&method=POST&id=m"
            await walk(daemon, [(method, as_sent(daemon, method, path + query, "X-HTTP-Method-Override: DELETE"))])
    for path in ("/models/m", "/models/download/cancel", "/models/delete", "/logout"):
        status, _ = await daemon.call("GET", path)
        assert status in (404, 405), path
    assert (await daemon.job("m"))["job_id"] == receipt["job_id"]
    assert (await daemon.job("m"))["status"] == "downloading"


# T6: what pages may read.


def reading(origin: str) -> dict[str, str]:
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "X-Request-Id",
    }


LOOPBACK = (
    "http://localhost:3000",
    "http://127.0.0.1:1",
    "http://[::1]:5173",
    "https://localhost:3000",
    "http://127.0.0.2",
)
STRANGERS = (
    EVIL, "null", "", "*", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://evil.example:80",
    "file://", "app://localhost", "http://[", "http://192.168.0.1", "http://10.0.0.1:8090", "https://dash.example.evil",
    "http://dash.example", "https://DASH.example:444", "http://user@evil.example", "http://localhost@evil.example",
    "http://0.0.0.0:3000", "http://localhost,http://evil.example",
)  # fmt: skip


async def test_without_a_token_loopback_pages_may_read_and_strangers_may_not(daemon: Running) -> None:
    for page in (daemon.url, *LOOPBACK):
        answer = await ask(daemon, "GET", "/models", f"Origin: {page}")
        assert (answer.status, cors(answer), answer.headers["vary"]) == (200, reading(page), "Origin")
    for page in (LISTED, *STRANGERS):
        answer = await ask(daemon, "GET", "/models", f"Origin: {page}")
        assert (answer.status, cors(answer), answer.headers["vary"]) == (200, {}, "Origin"), page


async def test_with_a_token_only_our_own_and_listed_pages_may_read(guarded: Running) -> None:
    for page in (guarded.url, LISTED):
        answer = await ask(guarded, "GET", "/models", f"Origin: {page}", f"Authorization: Bearer {TOKEN}")
        assert (answer.status, cors(answer), answer.headers["vary"]) == (200, reading(page), "Origin")
    for page in (*LOOPBACK, *STRANGERS):
        answer = await ask(guarded, "GET", "/models", f"Origin: {page}", f"Authorization: Bearer {TOKEN}")
        assert (answer.status, cors(answer), answer.headers["vary"]) == (200, {}, "Origin"), page


async def test_every_response_of_every_route_varies_by_origin(daemon: Running, guarded: Running) -> None:
    for each in (daemon, guarded):
        table = await routes(each)
        for fields in ((), (f"Origin: {EVIL}",)):
            answers = await walk(each, [(method, as_sent(each, method, path, *fields)) for method, path in table])
            for (method, path), answer in zip(table, answers, strict=True):
                where = f"{method} {path}: {answer}"
                assert "Origin" in [name.strip() for name in answer.headers["vary"].split(",")], where
                assert answer.headers["x-content-type-options"] == "nosniff", where
                assert "server" not in answer.names, where
                assert cors(answer) == {}, where


async def test_the_stream_may_be_read_by_those_who_may_read_the_rest(daemon: Running) -> None:
    assert cors(await ask(daemon, "GET", "/events", "Origin: http://localhost:3000")) == reading(
        "http://localhost:3000"
    )
    assert cors(await ask(daemon, "GET", "/events", f"Origin: {EVIL}")) == {}


async def preflight(daemon: Running, page: str, method: str) -> Answer:
    fields = [f"Origin: {page}", f"Access-Control-Request-Method: {method}"]
    fields += ["Access-Control-Request-Headers: last-event-id", "Access-Control-Request-Private-Network: true"]
    return await ask(daemon, "OPTIONS", "/events", *fields)


async def test_a_preflight_grants_what_the_request_would_be_granted(daemon: Running, guarded: Running) -> None:
    full, read_only = "GET, HEAD, POST, PATCH, DELETE", "GET, HEAD"
    for each, page, method, granted in (
        (daemon, daemon.url, "POST", full),
        (daemon, "http://localhost:3000", "GET", read_only),
        (daemon, "http://localhost:3000", "HEAD", read_only),
        (daemon, "http://localhost:3000", "POST", None),
        (daemon, "http://localhost:3000", "DELETE", None),
        (daemon, EVIL, "GET", None),
        (daemon, "null", "GET", None),
        (guarded, guarded.url, "PATCH", full),
        (guarded, LISTED, "DELETE", full),
        (guarded, "http://localhost:3000", "GET", None),
        (guarded, EVIL, "POST", None),
    ):
        answer = await preflight(each, page, method)
        where = f"{page} {method}: {answer}"
        assert answer.headers["vary"] == "Origin", where
        assert "access-control-allow-private-network" not in answer.names, where
        if granted is None:
            assert answer.status == 403, where
            assert "access-control-allow-methods" not in answer.names, where
            continue
        assert (answer.status, answer.body) == (204, b""), where
        assert answer.headers["access-control-allow-origin"] == page, where
        assert answer.headers["access-control-allow-methods"] == granted, where
        headers = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
        assert headers == {"authorization", "content-type", "last-event-id", "x-arw-admin", "x-request-id"}, where


async def test_options_that_is_no_preflight_is_405(daemon: Running) -> None:
    answer = await ask(daemon, "OPTIONS", "/models")
    assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})


# T7, T8: the token.

RIGHT = ([f"Authorization: Bearer {TOKEN}"], [f"Authorization: bearer  {TOKEN} "], [f"X-ARW-Admin: {TOKEN}"])
WRONG = (
    [],
    ["Authorization: Bearer"],
    ["Authorization: Bearer "],
    ["Authorization: Bearer wrong"],
    [f"Authorization: Bearer {TOKEN[:-1]}"],
    [f"Authorization: Bearer {TOKEN}x"],
    [f"Authorization: Bearer {TOKEN.upper()}"],
    [f"Authorization: Bearer {TOKEN} {TOKEN}"],
    [f"Authorization: Basic {TOKEN}"],
    [f"Authorization: {TOKEN}"],
    ["Authorization: Bearer \xe9\xff\x80"],
    ["Authorization: Bearer " + "x" * 10_000],
    ["X-ARW-Admin:"],
    ["X-ARW-Admin: wrong"],
    ["X-ARW-Admin: \xe9\xff\x80"],
    ["X-ARW-Admin: " + TOKEN * 100],
    [f"X-ARW-Admin: Bearer {TOKEN}"],
    [f"Cookie: arwd_session={TOKEN}"],
    ["Cookie: arwd_session="],
    ["Cookie: arwd_session=\xe9"],
    [f"Cookie: token={TOKEN}; Authorization={TOKEN}"],
    ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1"],
)


async def test_every_route_but_the_public_ones_wants_the_token(guarded: Running) -> None:
    clock, table = Clock(guarded), await routes(guarded)
    for fields in WRONG:
        for method, path in table:
            clock.now += 61  # so that what is counted here is one failure at a time
            (answer,) = await walk(guarded, [(method, as_sent(guarded, method, path, *fields))])
            where = f"{method} {path} with {fields}: {answer}"
            if is_public(path):
                assert answer.status != 401 or path.endswith("/login"), where
            else:
                assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), where


async def test_every_route_takes_the_token_in_either_header(guarded: Running) -> None:
    table = [route for route in await routes(guarded) if not route[1].endswith("/login")]
    for fields in RIGHT:
        answers = await walk(guarded, [(method, as_sent(guarded, method, path, *fields)) for method, path in table])
        for (method, path), answer in zip(table, answers, strict=True):
            assert answer.status not in (401, 403, 429) or "/blobs/" in path, f"{method} {path} with {fields}: {answer}"


async def test_a_token_in_the_url_is_refused_even_when_right(guarded: Running) -> None:
    for method, path in await routes(guarded):
        if is_public(path):
            continue
        for name in ("token", "access_token", "key", "X-ARW-Admin", "ticket", "authorization"):
            answers = await walk(guarded, [(method, as_sent(guarded, method, f"{path}?{name}={TOKEN}"))])
            assert answers[0].status == 401, f"{method} {path}?{name}="


async def test_ten_failures_close_the_door_for_a_minute(guarded: Running) -> None:
    clock = Clock(guarded)
    wrong, right = "X-ARW-Admin: wrong", f"X-ARW-Admin: {TOKEN}"
    for _ in range(10):
        assert (await ask(guarded, "GET", "/models", wrong)).status == 401
        clock.now += 1
    for fields in ((wrong,), (right,), (right, "X-Forwarded-For: 203.0.113.9"), (wrong, "X-Forwarded-For: 127.0.0.9")):
        answer = await ask(guarded, "GET", "/models", *fields)
        assert (answer.status, answer.json()["code"]) == (429, "too_many_requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert (await ask(guarded, "GET", "/healthz")).status == 200
    clock.now += int(answer.headers["retry-after"])
    assert (await ask(guarded, "GET", "/models", right)).status == 200


async def test_a_login_with_a_wrong_token_counts_as_a_failure(guarded: Running) -> None:
    for _ in range(10):
        answer = await ask(guarded, "POST", "/login", JSON, body=b'{"token":"wrong"}')
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "set-cookie" not in answer.names
    answer = await ask(guarded, "POST", "/login", JSON, body=json.dumps({"token": TOKEN}).encode())
    assert answer.status == 429
    assert "set-cookie" not in answer.names


async def test_to_ask_without_a_credential_locks_nobody_out(guarded: Running) -> None:
    for _ in range(20):
        assert (await ask(guarded, "GET", "/models")).status == 401
    assert (await ask(guarded, "GET", "/models", RIGHT[0][0])).status == 200


@pytest.mark.parametrize(
    "token", ["", "\u00e9", "\u2028", "\U0001f600" * 100, "x" * 100_000, "\x00", TOKEN + "\n", " " + TOKEN]
)
async def test_a_login_with_any_other_string_is_401(guarded: Running, token: str) -> None:
    answer = await ask(guarded, "POST", "/login", JSON, body=json.dumps({"token": token}).encode())
    assert answer.status == 401


# The session.


async def login(daemon: Running) -> str:
    """The cookie of a new session, as the browser would send it."""
    body = json.dumps({"token": TOKEN}).encode()
    answer = await ask(daemon, "POST", "/login", JSON, f"Origin: {daemon.url}", body=body)
    assert (answer.status, answer.body) == (204, b"")
    return "Cookie: " + answer.headers["set-cookie"].partition(";")[0]


async def test_a_login_sets_a_random_cookie_that_scripts_and_other_sites_never_see(guarded: Running) -> None:
    values = set()
    for _ in range(3):
        answer = await ask(guarded, "POST", "/login", JSON, body=json.dumps({"token": TOKEN}).encode())
        first, *rest = answer.headers["set-cookie"].split("; ")
        name, _, value = first.partition("=")
        attributes = {part.partition("=")[0].lower(): part.partition("=")[2].lower() for part in rest}
        assert name == "arwd_session"
        assert attributes == {"httponly": "", "samesite": "strict", "path": "/", "max-age": str(12 * 3600)}
        assert len(value) >= 32
        assert TOKEN not in value
        values.add(value)
    assert len(values) == 3


async def test_a_session_reads_every_route(guarded: Running) -> None:
    cookie = await login(guarded)
    table = [route for route in await routes(guarded) if route[0] in ("GET", "HEAD")]
    answers = await walk(guarded, [(method, as_sent(guarded, method, path, cookie)) for method, path in table])
    for (method, path), answer in zip(table, answers, strict=True):
        assert answer.status not in (401, 403) or "/blobs/" in path, f"{method} {path}: {answer}"


async def test_a_session_changes_things_only_from_our_own_page(guarded: Running) -> None:
    cookie = await login(guarded)
    table = [route for route in await routes(guarded) if route[0] not in ("GET", "HEAD", "TRACE")]
    table = [(method, path) for method, path in table if not is_public(path) and not path.endswith("/logout")]
    for fields, wanted in (
        ((), {401}),
        (("Sec-Fetch-Site: same-origin",), {401}),
        ((f"Origin: {LISTED}",), {401}),
        ((f"Origin: {EVIL}",), {403}),
        (("Origin: null",), {403}),
    ):
        answers = await walk(
            guarded, [(method, as_sent(guarded, method, path, cookie, *fields)) for method, path in table]
        )
        for (method, path), answer in zip(table, answers, strict=True):
            assert answer.status in wanted, f"{method} {path} with {fields}: {answer}"
    own = f"Origin: {guarded.url}"
    answers = await walk(guarded, [(method, as_sent(guarded, method, path, cookie, own)) for method, path in table])
    assert not {answer.status for answer in answers} & {401, 403}


async def test_a_right_token_beside_a_cookie_needs_no_page(guarded: Running) -> None:
    cookie = await login(guarded)
    answer = await ask(guarded, "POST", "/models/download/cancel", JSON, cookie, RIGHT[0][0], body=b'{"id":"x"}')
    assert answer.status == 200


async def test_a_logout_ends_the_session_and_takes_the_cookie_back(guarded: Running) -> None:
    cookie = await login(guarded)
    other = await login(guarded)
    answer = await ask(guarded, "POST", "/logout", cookie, f"Origin: {guarded.url}")
    assert answer.status == 204
    taken = answer.headers["set-cookie"].lower()
    assert taken.startswith("arwd_session=")
    assert "max-age=0" in taken
    assert "path=/" in taken
    assert (await ask(guarded, "GET", "/models", cookie)).status == 401
    assert (await ask(guarded, "GET", "/models", other)).status == 200


async def test_a_session_ends_after_twelve_hours(guarded: Running) -> None:
    clock = Clock(guarded)
    cookie = await login(guarded)
    clock.now += auth.SESSION_SECONDS - 1
    assert (await ask(guarded, "GET", "/models", cookie)).status == 200
    clock.now += 2
    assert (await ask(guarded, "GET", "/models", cookie)).status == 401


async def test_without_a_token_a_login_needs_and_makes_no_session(daemon: Running) -> None:
    answer = await ask(daemon, "POST", "/login", JSON, body=b'{"token":"anything"}')
    assert answer.status == 204
    assert "set-cookie" not in answer.names


# T4, T12, T13, T14, T19, T20: what goes in must not come out elsewhere.

NASTY = (
    "../evil", "..\\evil", "../../../../tmp/evil", "/etc/evil", "C:\\evil", "\\\\host\\share\\evil", "..", ".", "...",
    "....//....//evil", "%2e%2e%2fevil", "..%2fevil", "%252e%252e%252fevil", "evil/../../x", "evil\\..\\..\\x",
    ".hidden",
    "CON", "nul.gguf", "LPT1", "aux.", "evil ", "evil.", "~/evil", "~root", "$HOME", "`id`", "$(id)", "evil;id", "|id",
    "-rf", "--help", "*", "?", "evil\u202egguf", "e\u0301vil", "\u00e9vil", "\u2025/evil", "\uff0e\uff0e\uff0fevil",
    "x" * 240, "models.json", "arwd.db", "arwd.lock", "evil.part", "evil.part.json", "sha256-" + "0" * 64,
    "{x}", "<img onerror>",
)  # fmt: skip


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def test_no_name_in_any_field_reaches_beyond_the_models_directory(
    daemon: Running, origin: Origin, data: bytes, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "evil").write_bytes(b"untouched")
    state = Path((await daemon.call("GET", "/probe"))[1]["state_dir"])
    before, working = tree(tmp_path), set(os.listdir(os.getcwd()))
    accepted: set[str] = set()

    async def settled(body: dict[str, str]) -> None:
        status, answer = await daemon.call("POST", "/models/download", body)
        assert status in (200, 400), (body, answer)
        if status == 400:
            return
        accepted.add(body["id"])
        # The id may hold anything: let the client encode it.
        query = {"id": body["id"], "until": "done"}
        async with daemon.session.get(f"{daemon.url}/events", params=query) as response:
            assert '"status":"complete"' in (await response.text()).rstrip().splitlines()[-1], body

    bodies = []
    for number, name in enumerate(NASTY):
        encoded = "".join(f"%{byte:02x}" for byte in name.encode())
        bodies += [
            {"id": name, "url": origin.url("plain")},
            {"id": f"f{number}", "url": origin.url("plain"), "filename": name},
            {"id": f"p{number}", "url": origin.url("plain"), "provider": name},
            {"id": f"u{number}", "url": origin.url(encoded)},
        ]
    for offset in range(0, len(bodies), 40):
        await asyncio.gather(*map(settled, bodies[offset : offset + 40]))
    new = {Path(path) for path in tree(tmp_path) - before}
    inside = state.relative_to(tmp_path)
    models = {path for path in new if path.parent == inside / "models"}
    _, listed = await daemon.call("GET", "/models")
    assert {path.name for path in models} == {model["file"] for model in listed}
    assert {model["id"] for model in listed} == accepted
    assert all((tmp_path / path).read_bytes() == data for path in models)
    for path in new - models:
        assert path.parent == inside, path
        assert path.name.startswith(("models.json", "arwd.")), path
    assert (outside / "evil").read_bytes() == b"untouched"
    assert set(os.listdir(os.getcwd())) == working


async def test_what_does_not_exist_is_refused_in_the_same_words_as_what_may(daemon: Running, origin: Origin) -> None:
    """An oracle for files outside would answer `/etc/passwd` and `/etc/nothing` differently."""
    answers = []
    for name in ("../../../../etc/passwd", "../../../../etc/nothing-here"):
        encoded = name.replace("/", "%2F")
        status, body = await daemon.call("DELETE", f"/models/{encoded}", allow_redirects=False)
        answers.append((status, json.dumps(body).replace(name, "")))
    assert len(set(answers)) == 1


async def test_no_field_can_break_a_frame_or_a_header(daemon: Running, origin: Origin) -> None:
    nasty = 'a\u2028b\u2029c "\\ id: 7 data: x event: y'
    async with daemon.events() as stream:
        await daemon.session.post(
            f"{daemon.url}/models/download",
            json={"id": nasty, "url": origin.url("m"), "provider": "data: x"},
        )
        heard = await stream.until(lambda message: message.payload.get("status") in ("complete", "error"))
        assert {message.payload["id"] for message in heard if "id" in message.payload} == {nasty}
    for value in ("x\ty", "x y", "<b>", "\xe9", "x" * 129, "x;y", "x%0d%0aSet-Cookie: a=b"):
        answer = await ask(daemon, "GET", "/healthz", f"X-Request-Id: {value}")
        assert answer.headers["x-request-id"] != value
        assert "set-cookie" not in answer.names


async def test_without_the_token_nothing_tells_what_runs_here_or_where(guarded: Running) -> None:
    state = str(guarded.daemon.layout.state_dir)
    table = await routes(guarded)
    answers = await walk(guarded, [(method, as_sent(guarded, method, path)) for method, path in table])
    for (method, path), answer in zip(table, answers, strict=True):
        shown = answer.body.decode("latin-1") + str(answer.fields)
        for secret in (TOKEN, state, "Traceback", "uvicorn", "starlette"):
            assert secret not in shown, f"{method} {path} shows {secret!r}"
    assert (await ask(guarded, "GET", "/healthz")).body == b'{"ok":true}'


async def test_the_token_is_shown_nowhere_not_even_to_those_who_have_it(guarded: Running, origin: Origin) -> None:
    clock = Clock(guarded)
    table = [route for route in await routes(guarded) if route[0] == "GET" and not route[1].endswith("/events")]
    answers = await walk(guarded, [(method, as_sent(guarded, method, path, RIGHT[0][0])) for method, path in table])
    assert all(TOKEN.encode() not in answer.body for answer in answers)
    clock.now += 61
    await ask(guarded, "GET", f"/models?token={TOKEN}")
    body = json.dumps({"id": "m", "url": origin.url(f"m?sig={TOKEN}")}).encode()
    assert (await ask(guarded, "POST", "/models/download", JSON, RIGHT[0][0], body=body)).status == 200
    async with guarded.session.get(f"{guarded.url}/events?id=m&until=done", headers={"X-ARW-Admin": TOKEN}) as response:
        told = await response.text()
    assert '"status":"complete"' in told
    assert TOKEN not in told

    def holders() -> list[Path]:
        files = [path for path in guarded.daemon.layout.state_dir.rglob("*") if path.is_file()]
        found = []
        for path in files:
            with contextlib.suppress(FileNotFoundError):
                found += [path] if TOKEN.encode() in path.read_bytes() else []
        return found

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            while holders():  # the job's own URL is forgotten just after its end
                await asyncio.sleep(0.01)
    assert holders() == []


async def test_no_log_line_holds_a_token_or_a_query(
    guarded: Running, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await ask(guarded, "GET", f"/models?token={TOKEN}", f"Authorization: Bearer {TOKEN}x")
    origin.script(Status(404))
    body = json.dumps({"id": "m", "url": origin.url(f"m?sig={TOKEN}")}).encode()
    await ask(guarded, "POST", "/models/download", JSON, RIGHT[0][0], body=body)
    async with guarded.session.get(f"{guarded.url}/events?id=m&until=done", headers={"X-ARW-Admin": TOKEN}) as response:
        assert '"code":"not_found"' in await response.text()
    # pytest hears loggers that nobody else does: the access log is off, and goes nowhere.
    assert not logging.getLogger("uvicorn.access").propagate
    told = [record.getMessage() for record in caplog.records if record.name != "uvicorn.access"]
    assert told
    assert not [line for line in told if TOKEN in line]


async def test_the_page_may_run_nothing_but_its_own_files(daemon: Running) -> None:
    for path in ("/", "/admin"):
        answer = await ask(daemon, "GET", path)
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["form-action"] == "'none'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert b"<script>" not in answer.body
        assert b" style=" not in answer.body
        assert b" onerror=" not in answer.body


async def test_a_stranger_cannot_hold_all_streams(tmp_path: Path) -> None:
    async with (
        running.daemon(tmp_path / "state", max_streams_per_address=3) as daemon,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(3):
            wire: Wire = await stack.enter_async_context(connected(daemon))
            wire.send(request(daemon, "GET", "/events"))
            assert (await wire.answer()).status == 200
        answer = await ask(daemon, "GET", "/events", "X-Forwarded-For: 203.0.113.9")
        assert (answer.status, answer.json()["code"]) == (503, "too_many_streams")
        assert int(answer.headers["retry-after"]) > 0

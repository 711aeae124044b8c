"""Whatever stands in a header: the API answers, or refuses in its own words. It never breaks, and bounds are kept.

What the daemon reads of the headers of others is tested beside the code that reads it.
"""

import asyncio
import json
from urllib.parse import urlsplit

from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message

from arwd import errors
from arwd.api import app, auth, endpoints
from arwd.api.auth import Keeper, allows_host, allows_page, allows_reading, split_host
from arwd.api.endpoints import Endpoint
from arwd.api.query import Query, parse
from arwd.bus.base import Start
from arwd.model import MAX_WHOLE

TOKEN = "the right one"
PORT = 8090
OWN = {"localhost", "127.0.0.1", "::1", "10.1.2.3", "nas.example"}

values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
"""What a header can hold once it has come through an HTTP parser: latin-1, no line ends."""
numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.from_regex(r"[+-]?[ \t]*[0-9_.eExX]{1,30}", fullmatch=True),
    st.sampled_from(
        ["²", "1²", "\xa05", "0" * 16, "0" * 17, "9" * 16, "9" * 5_000, str(MAX_WHOLE), str(MAX_WHOLE + 1)]
    ),
    values,
)


# Last-Event-ID


def asked(last_event_id: str, query: str = "") -> Query:
    headers = [(b"last-event-id", last_event_id.encode("latin-1"))]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": headers}
    return parse(Request(scope))


@given(numbers)
@example("0")
@example("00")
@example(str(MAX_WHOLE))
@example(str(MAX_WHOLE + 1))
def test_the_last_event_id_is_a_place_that_can_be_or_it_is_unknown(header: str) -> None:
    start = asked(header).start
    if not header:
        assert start == Start()
    elif start.is_unknown:
        assert start == Start(is_unknown=True)
        is_number = header.isascii() and header.isdigit() and len(header) <= 16 and int(header) <= MAX_WHOLE
        assert not is_number
    else:
        assert start == Start(after=int(header))
        assert 0 <= int(header) <= MAX_WHOLE


@given(st.integers(0, MAX_WHOLE))
def test_every_id_that_arwd_ever_sends_is_understood(event_id: int) -> None:
    assert asked(str(event_id), "after=1&replay=2").start == Start(after=event_id)


@given(numbers)
def test_a_reader_that_has_an_id_comes_back_whatever_it_is(header: str) -> None:
    assert asked(header).is_reconnect is bool(header)


# Host, Origin and what else says who asks

hosts = st.one_of(
    values,
    st.builds(
        "{}{}{}".format,
        st.sampled_from([*sorted(OWN), "[::1]", "[::ffff:127.0.0.1]", "[", "]", "evil.example", "127.1", "LOCALHOST"]),
        st.sampled_from(
            ["", ":", ":8090", ":0", ":99999", ":-1", ":1:2", ".", "%25lo", "@evil.example", "/x", "?", "\t"]
        ),
        values | st.just(""),
    ),
)


@given(hosts)
def test_a_host_is_a_name_and_a_port_or_nothing(header: str) -> None:
    found = split_host(header)
    if found is not None:
        host, port = found
        assert host
        assert host.partition("%")[0] == host.partition("%")[0].lower()  # behind it is the name of an interface
        assert port is None or 0 <= port <= 65_535
        assert not set(host) & set("@/\\?#, \t")


@given(hosts)
def test_only_names_of_ours_are_ours(header: str) -> None:
    is_ours = allows_host(header, own_port=PORT, bind_hosts=("10.1.2.3", "0.0.0.0"), allowed=("nas.example:8090",))
    if is_ours:
        found = split_host(header)
        assert found is not None
        assert found[0] in OWN
        assert found[1] in (None, PORT)


@given(hosts, hosts)
def test_no_list_of_names_breaks_the_check(header: str, listed: str) -> None:
    allows_host(header, own_port=PORT, bind_hosts=("127.0.0.1",), allowed=(listed,))


origins = st.one_of(values, hosts.map("http://{}".format), hosts.map("https://{}".format), st.just("null"))


@given(origins, st.booleans())
def test_a_page_that_is_not_ours_changes_nothing_and_reads_only_from_this_machine(origin: str, has_token: bool) -> None:
    own = (f"http://localhost:{PORT}",)
    may_change = allows_page({"origin": origin}, own_origins=own, allowed=())
    may_read = allows_reading(origin, own_origins=own, allowed=(), has_token=has_token)
    assert may_change is (origin in own)
    if may_read and origin not in own:
        assert not has_token
        assert auth.is_loopback(urlsplit(origin).hostname or "")


# The whole gate: any headers at once

names = st.sampled_from([
    "host", "origin", "sec-fetch-site", "authorization", "x-arw-admin", "cookie", "last-event-id", "x-request-id",
    "content-type", "access-control-request-method", "access-control-request-headers", "accept", "connection",
    "transfer-encoding", "expect", "range", "if-range", "x-forwarded-for", "forwarded",
])  # fmt: skip
likely = st.sampled_from([
    f"127.0.0.1:{PORT}", "localhost", f"http://127.0.0.1:{PORT}", "https://evil.example", "null", "same-origin",
    "cross-site", f"Bearer {TOKEN}", "Bearer", "bearer  ", f"Basic {TOKEN}", TOKEN, "arwd_session=x", "a=b; c", ";=;",
    "application/json", "application/json;charset=\xff", "GET", "POST", "5", "x" * 200,
])  # fmt: skip
headers = st.lists(st.tuples(names, likely | values), max_size=8)


async def listen(request: Request) -> Response:
    parse(request)
    return PlainTextResponse("heard")


async def change(request: Request) -> Response:
    await endpoints.decode(request, dict)
    return PlainTextResponse("changed")


def built(token: str) -> ASGIApp:
    made = [
        Endpoint(method="GET", path="/events", handle=listen, summary="Listen"),
        Endpoint(method="POST", path="/events", handle=change, summary="Change", body=dict),
    ]
    keeper = Keeper(token, clock=lambda: 0.0)
    return app.build(made, keeper=keeper, options=auth.Options(), bind_hosts=("127.0.0.1",))


def sent(application: ASGIApp, method: str, fields: list[tuple[str, str]], body: bytes = b"{}") -> list[Message]:
    """What is answered to this request."""
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": "/events", "root_path": "",
        "query_string": b"", "server": ("127.0.0.1", PORT), "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields],
    }  # fmt: skip
    answer: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        answer.append(message)

    asyncio.run(application(scope, receive, send))
    return answer


def assert_answered(answer: list[Message]) -> int:
    """One whole answer, no fault of ours in it. Its status."""
    head, *rest = answer
    assert head["type"] == "http.response.start"
    assert b"".join(message.get("body", b"") for message in rest) or head["status"] == 204
    for name, value in head["headers"]:
        assert not set(name + value) & set(b"\r\n\0")
        assert len(value) <= 512
    if head["status"] >= 400:
        said = json.loads(rest[0]["body"])
        assert said["status"] == head["status"]
        assert said["code"] != errors.ArwdError.code
    return head["status"]


@given(st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PUT"]), headers, st.sampled_from(["", TOKEN]))
def test_every_request_is_answered_whatever_its_headers(method: str, fields: list[tuple[str, str]], token: str) -> None:
    fields = fields if any(name == "host" for name, _ in fields) else [("host", "localhost"), *fields]
    assert assert_answered(sent(built(token), method, fields)) < 500


@given(headers)
def test_without_the_token_nothing_is_reached(fields: list[tuple[str, str]]) -> None:
    knows = any(TOKEN in value for _, value in fields)
    status = assert_answered(sent(built(TOKEN), "POST", [("host", "localhost"), *fields]))
    assert knows or status != 200


@given(values)
def test_a_request_id_is_passed_on_only_if_it_is_plain_and_short(given_id: str) -> None:
    head = sent(built(""), "GET", [("host", "localhost"), ("x-request-id", given_id)])[0]
    found = dict(head["headers"])[b"x-request-id"].decode("latin-1")
    assert found.isascii()
    assert 1 <= len(found) <= 128
    assert not set(found) & set(" \t\"'<>;,")


@given(numbers, st.binary(max_size=30))
@example("²", b"{}")
@example("9" * 5_000, b"{}")
def test_a_length_that_is_no_number_breaks_nothing(length: str, body: bytes) -> None:
    fields = [("host", "localhost"), ("content-type", "application/json"), ("content-length", length)]
    assert assert_answered(sent(built(""), "POST", fields, body)) in (200, 400, 413)

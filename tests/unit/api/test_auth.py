"""Who may call what, from which page: the tables, and the keeper of the token by a clock of our own."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd.api import auth
from arwd.api.auth import (
    FAILURE_WINDOW,
    MAX_FAILURES,
    SESSION_SECONDS,
    Keeper,
    allows_host,
    allows_page,
    allows_reading,
    is_loopback,
    is_public,
    is_wildcard,
    split_host,
)

OWN = "http://127.0.0.1:8090"
LISTED = ("https://dash.example",)


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("LocalHost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("::ffff:10.0.0.1", False),
        ("localhost.example", False), ("127.0.0.1.example", False), ("", False), ("2130706433", False),
    ],
)  # fmt: skip
def test_a_loopback_address_reaches_this_machine_only(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


@pytest.mark.parametrize(
    ("host", "is_all"),
    [("0.0.0.0", True), ("::", True), ("[::]", True), ("", True), ("127.0.0.1", False), ("h", False)],
)
def test_a_wildcard_stands_for_all_addresses(host: str, is_all: bool) -> None:
    assert is_wildcard(host) is is_all


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("localhost", ("localhost", None)),
        ("LOCALHOST:8090", ("localhost", 8090)),
        ("[::1]:8090", ("::1", 8090)),
        ("[::1]", ("::1", None)),
        ("h.example:0", ("h.example", 0)),
        ("", None),
        (":8090", None),
        ("localhost:", None),
        ("localhost:x", None),
        ("localhost:-1", None),
        ("localhost:+8090", None),
        ("localhost:65536", None),
        ("localhost:８０９０", None),
        ("::1", None),
        ("[::1", None),
        ("[::1]x:8090", None),
        ("[localhost]:8090", None),
        ("a:b:1", None),
        ("u@localhost", None),
        ("localhost/x", None),
        ("localhost\\x", None),
        ("localhost?x", None),
        ("localhost#x", None),
        ("localhost, other", None),
        (" localhost", None),
        ("localhost\t", None),
    ],
)
def test_a_host_header_is_a_name_and_a_port_or_malformed(header: str, parts: tuple[str, int | None] | None) -> None:
    assert split_host(header) == parts


@given(st.text(max_size=30))
def test_no_host_header_breaks_the_gate(header: str) -> None:
    parts = split_host(header)
    assert parts is None or (parts[0] and (parts[1] is None or 0 <= parts[1] <= 65535))


@pytest.mark.parametrize("header", ["localhost:8090", "127.0.0.1:8090", "[::1]:8090", "LOCALHOST", "127.0.0.1"])
@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0", "192.168.1.5"])
def test_this_machine_s_own_names_are_always_ours(header: str, bind: str) -> None:
    assert allows_host(header, own_port=8090, bind_hosts=(bind,), allowed=())


@pytest.mark.parametrize(
    ("header", "bind", "allowed", "is_ours"),
    [
        ("192.168.1.5:8090", "192.168.1.5", (), True),
        ("192.168.1.6:8090", "192.168.1.5", (), False),
        ("192.168.1.5:8090", "0.0.0.0", (), False),
        ("0.0.0.0:8090", "0.0.0.0", (), False),
        ("[fd00::5]:8090", "fd00::5", (), True),
        ("localhost:8091", "127.0.0.1", (), False),
        ("localhost:80", "127.0.0.1", (), False),
        ("evil.example:8090", "127.0.0.1", (), False),
        ("localhost.evil.example", "127.0.0.1", (), False),
        ("127.0.0.1.evil.example:8090", "127.0.0.1", (), False),
        ("arwd.example", "127.0.0.1", ("arwd.example",), True),
        ("ARWD.example:443", "127.0.0.1", ("Arwd.Example",), True),
        ("arwd.example:443", "127.0.0.1", ("arwd.example:443",), True),
        ("arwd.example", "127.0.0.1", ("arwd.example:443",), False),
        ("arwd.example:444", "127.0.0.1", ("arwd.example:443",), False),
        ("x.arwd.example", "127.0.0.1", ("arwd.example",), False),
        ("", "127.0.0.1", ("",), False),
        ("u@localhost:8090", "127.0.0.1", (), False),
    ],
)
def test_other_names_are_ours_only_where_they_were_set(
    header: str, bind: str, allowed: tuple[str, ...], is_ours: bool
) -> None:
    assert allows_host(header, own_port=8090, bind_hosts=(bind,), allowed=allowed) is is_ours


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": ""}, False),
        ({"origin": OWN}, True),
        ({"origin": OWN, "sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://dash.example", "sec-fetch-site": "cross-site"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://127.0.0.1:8091"}, False),
        ({"origin": "https://127.0.0.1:8090"}, False),
        ({"origin": "https://dash.example.evil.example"}, False),
        ({"origin": "http://dash.example"}, False),
    ],
)
def test_only_our_own_pages_and_the_listed_ones_may_change_anything(headers: dict[str, str], may: bool) -> None:
    assert allows_page(headers, own_origins=(OWN,), allowed=LISTED) is may


@pytest.mark.parametrize(
    ("origin", "without_token", "with_token"),
    [
        (OWN, True, True),
        ("https://dash.example", True, True),
        ("http://localhost:3000", True, False),
        ("https://127.0.0.1", True, False),
        ("http://[::1]:5173", True, False),
        ("http://localhost.evil.example", False, False),
        ("https://evil.example", False, False),
        ("null", False, False),
        ("", False, False),
        ("file://localhost", False, False),
        ("http://[::1", False, False),
    ],
)
def test_pages_of_this_machine_may_read_while_no_token_is_set(
    origin: str, without_token: bool, with_token: bool
) -> None:
    for has_token, may in ((False, without_token), (True, with_token)):
        assert allows_reading(origin, own_origins=(OWN,), allowed=LISTED, has_token=has_token) is may


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/version", "/openapi.json", "/asyncapi.json", "/login", "/static/app.js"]
)
def test_what_needs_no_token_needs_none_below_admin_either(path: str) -> None:
    assert is_public(path)
    assert is_public("/admin" + path)
    assert is_public(("/admin" + path).rstrip("/"))


@pytest.mark.parametrize(
    "path",
    [
        "/models",
        "/events",
        "/probe",
        "/metrics",
        "/models/jobs",
        "/logout",
        "/static",
        "/administrator",
        "/admin/admin/login",
        "/login/",
        "/x/static/",
    ],
)
def test_everything_else_needs_one(path: str) -> None:
    assert not is_public(path)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(clock: Clock) -> Keeper:
    return Keeper("töken", clock)


def test_only_the_token_is_right(keeper: Keeper) -> None:
    assert keeper.has_token
    assert keeper.is_right("töken".encode())
    for wrong in (b"", b"t", "tökeN".encode(), "töken ".encode(), b"\xff\xfe", "töken".encode("latin-1")):
        assert not keeper.is_right(wrong)


def test_without_a_token_none_is_right(clock: Clock) -> None:
    keeper = Keeper("", clock)
    assert not keeper.has_token
    assert not keeper.is_right(b"")


def test_ten_failures_a_minute_lock_an_address_out_and_no_other(keeper: Keeper, clock: Clock) -> None:
    for _ in range(MAX_FAILURES):
        assert keeper.locked_for("1.2.3.4") == 0
        keeper.note_failure("1.2.3.4")
        clock.now += 1
    assert keeper.locked_for("1.2.3.4") == FAILURE_WINDOW - MAX_FAILURES
    assert keeper.locked_for("5.6.7.8") == 0


def test_the_lock_opens_when_the_oldest_failure_is_a_minute_old(keeper: Keeper, clock: Clock) -> None:
    for _ in range(MAX_FAILURES):
        keeper.note_failure("a")
    clock.now += FAILURE_WINDOW - 0.5
    assert keeper.locked_for("a") == 1
    clock.now += 0.5
    assert keeper.locked_for("a") == 0
    assert keeper._failures == {}


def test_failures_that_are_far_apart_lock_nobody_out(keeper: Keeper, clock: Clock) -> None:
    for _ in range(10 * MAX_FAILURES):
        keeper.note_failure("a")
        clock.now += FAILURE_WINDOW / (MAX_FAILURES - 1)
        assert keeper.locked_for("a") == 0


@given(st.lists(st.floats(0, 30), min_size=1, max_size=40))
def test_an_address_is_locked_exactly_while_ten_failures_lie_within_the_last_minute(steps: list[float]) -> None:
    clock, failures = Clock(), []
    keeper = Keeper("t", clock)
    for step in steps:
        clock.now += step
        recent = [at for at in failures if at > clock.now - FAILURE_WINDOW]
        expected = math.ceil(recent[-MAX_FAILURES] + FAILURE_WINDOW - clock.now) if len(recent) >= MAX_FAILURES else 0
        assert keeper.locked_for("a") == expected
        keeper.note_failure("a")
        failures.append(clock.now)


def test_a_session_is_known_for_twelve_hours(keeper: Keeper, clock: Clock) -> None:
    name = keeper.open_session()
    clock.now += SESSION_SECONDS - 1
    assert keeper.knows_session(name)
    clock.now += 1
    assert not keeper.knows_session(name)


def test_a_session_that_was_closed_is_unknown_and_others_are_not(keeper: Keeper) -> None:
    one, other = keeper.open_session(), keeper.open_session()
    keeper.close_session(one)
    keeper.close_session("never opened")
    assert not keeper.knows_session(one)
    assert keeper.knows_session(other)


def test_a_session_s_name_is_random_and_not_the_token(keeper: Keeper) -> None:
    names = {keeper.open_session() for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) >= 43 and "töken" not in name for name in names)
    assert not keeper.knows_session("")


def test_sessions_that_are_over_are_forgotten_when_the_next_opens(keeper: Keeper, clock: Clock) -> None:
    for _ in range(5):
        keeper.open_session()
    clock.now += SESSION_SECONDS
    keeper.open_session()
    assert len(keeper._sessions) == 1


def test_the_token_itself_is_not_kept(keeper: Keeper) -> None:
    assert "töken" not in repr(vars(keeper))


def test_methods_that_change_nothing_are_the_three_safe_ones() -> None:
    assert {"GET", "HEAD", "OPTIONS"} == auth.SAFE_METHODS

"""What of a URL may be shown, what cannot be fetched, and who may be dialled. Nothing is dialled here."""

import asyncio
import os
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import example, given
from hypothesis import strategies as st

from arwd import errors, net
from arwd.net import AddressPolicy, fault_in, redact, shown

SECRET = "s3cr3t"
# Everything RFC 3986 allows in a path or a query, and what fault_in lets pass besides.
URL_TEXT = st.text(st.sampled_from("abcXYZ019-._~!$&'()*+,;=:@/%20\"<>[]{}|\\^`"), max_size=30)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://h/p", "https://h/p"),
        ("https://h/p?token=s3cr3t", "https://h/p"),
        ("https://h/p#s3cr3t", "https://h/p"),
        ("HTTPS://h/p?s3cr3t", "HTTPS://h/p"),
        ("https://u:s3cr3t@h/p?x", "https://h/p"),
        ("https://s3cr3t@h/p", "https://h/p"),
        ("https://u:s3@cr3t@h/p", "https://h/p"),
        ("from http://a/?s3cr3t to https://b/?s3cr3t now", "from http://a/ to https://b/ now"),
        ('{"url":"https://h/p?s3cr3t","n":1}', '{"url":"https://h/p","n":1}'),
        ("no URL? None at all.", "no URL? None at all."),
        ("mail@example.org asked", "mail@example.org asked"),
    ],
)
def test_a_text_is_cut_down_to_what_may_be_shown(text: str, left: str) -> None:
    assert redact(text) == left


@given(URL_TEXT, URL_TEXT, st.sampled_from(["?", "#"]))
@example("it's.gguf", "x=1&token=", "?")
@example("", "a='x'&token=", "?")
def test_no_secret_in_the_query_of_a_url_that_can_be_fetched_survives(path: str, query: str, mark: str) -> None:
    url = f"https://h.example/{path}{mark}{query}{SECRET}"
    if fault_in(url) is None:
        assert SECRET not in redact(url)
        assert SECRET not in redact(f"cannot fetch {url}: refused")
        assert SECRET not in shown(url)


@given(st.text(st.sampled_from("abc:@!$&'()*+,;="), max_size=10))
@example("u:p@ss@")
def test_no_password_survives(prefix: str) -> None:
    assert SECRET not in redact(f"see https://{prefix}{SECRET}@h.example/p for more")
    assert SECRET not in shown(f"https://{prefix}{SECRET}@h.example/p")


@given(st.text(max_size=60))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("HTTPS://H.Example:8443/Path/M.gguf?x=1#y", "https://h.example:8443/Path/M.gguf"),
        ("http://u:p@h/p", "http://h/p"),
        ("http://h", "http://h"),
        ("http://h/a%20b;c=d?q", "http://h/a%20b;c=d"),
        ("http://[::1]:80/p", "http://[::1]:80/p"),
    ],
)
def test_the_url_that_is_shown_has_no_query_and_one_spelling_of_its_host(url: str, left: str) -> None:
    assert shown(url) == left
    assert shown(left) == left


@pytest.mark.parametrize(
    "url", ["http://h", "https://h.example/m.gguf?token=x", "HTTP://127.0.0.1:8/", "http://[::1]/m"]
)
def test_an_http_url_can_be_fetched(url: str) -> None:
    assert fault_in(url) is None


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://h/m", "invalid_url_scheme"),
        ("file:///etc/passwd", "invalid_url_scheme"),
        ("data:,x", "invalid_url_scheme"),
        ("m.gguf", "invalid_url_scheme"),
        ("//h/m", "invalid_url_scheme"),
        ("https://u:p@h/m", "credentials_in_url"),
        ("https://u@h/m", "credentials_in_url"),
        ("https://@h/m", "credentials_in_url"),
        ("https:///m", "invalid_field"),
        ("https://", "invalid_field"),
        ("https://h:99999/m", "invalid_field"),
        ("https://h:x/m", "invalid_field"),
        ("https://[::1/m", "invalid_field"),
        ("https://h/a b", "invalid_field"),
        ("https://h/ü", "invalid_field"),
        ("https://h/\r\nX: y", "invalid_field"),
        (" https://h/m", "invalid_field"),
        ("", "invalid_field"),
    ],
)
def test_what_cannot_be_fetched_is_refused_by_name(url: str, code: str) -> None:
    fault = fault_in(url)
    assert fault is not None
    assert fault.code == code


@given(st.text(max_size=40) | URL_TEXT.map("https://".__add__))
def test_no_text_breaks_the_check_of_a_url(url: str) -> None:
    fault = fault_in(url)
    assert fault is None or fault.status == 400
    if fault is None:
        assert fault_in(shown(url)) is None


ALWAYS_DENIED = [
    "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "168.63.129.16", "100.100.100.200", "192.0.0.192",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
]  # fmt: skip
ALLOWED = ["1.1.1.1", "93.184.215.14", "168.63.129.17", "100.100.100.201", "127.0.0.1", "10.0.0.1", "192.168.1.1"]


def disguises(address: str) -> list[str]:
    """The same IPv4 address as IPv6 can carry it: mapped, NAT64, 6to4."""
    a, b, c, d = map(int, address.split("."))
    tail = f"{a:02x}{b:02x}:{c:02x}{d:02x}"
    return [f"::ffff:{address}", f"::ffff:{tail}", f"64:ff9b::{tail}", f"2002:{tail}::", f"2002:{tail}:1::5"]


@pytest.mark.parametrize("address", ALWAYS_DENIED)
def test_metadata_multicast_and_nowhere_are_never_dialled_in_any_disguise(address: str) -> None:
    policy = AddressPolicy()
    assert not policy.allows(address, 80)
    assert [name for name in disguises(address) if policy.allows(name, 80)] == []


@pytest.mark.parametrize("address", ALLOWED)
def test_other_addresses_may_be_dialled_in_every_disguise(address: str) -> None:
    policy = AddressPolicy()
    assert policy.allows(address, 80)
    assert [name for name in disguises(address) if not policy.allows(name, 80)] == []


@pytest.mark.parametrize("address", ["::", "fe80::1", "fe80::1%eth0", "febf::1", "fd00:ec2::254", "ff02::1", "ff0e::1"])
def test_the_same_goes_for_ipv6(address: str) -> None:
    assert not AddressPolicy().allows(address, 80)


@pytest.mark.parametrize("address", ["2606:4700::1111", "::1", "fd00:ec2::255", "2003::1", "64:ff9b:1::1"])
def test_other_ipv6_addresses_may_be_dialled(address: str) -> None:
    assert AddressPolicy().allows(address, 443)


def test_arwd_does_not_download_from_itself() -> None:
    policy = AddressPolicy()
    policy.own = frozenset({("127.0.0.1", 8090), ("::1", 8090)})
    assert not policy.allows("127.0.0.1", 8090)
    assert not policy.allows("::ffff:127.0.0.1", 8090)
    assert not policy.allows("::1", 8090)
    assert not policy.allows("0:0:0:0:0:0:0:1", 8090)
    assert policy.allows("127.0.0.1", 8091)


def test_a_denied_address_gets_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was made"))
    entry = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("169.254.169.254", 80))
    with pytest.raises(PermissionError, match=r"forbids 169\.254\.169\.254"):
        AddressPolicy().socket(entry)


BASE = "https://h.example/dir/m.gguf?token=s3cr3t"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/x?sig=a%2Fb%20c", "https://cdn.example/x?sig=a%2Fb%20c"),
        ("/x", "https://h.example/x"),
        ("x", "https://h.example/dir/x"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("?v=2", "https://h.example/dir/m.gguf?v=2"),
    ],
)
def test_a_redirect_leads_where_it_says_byte_for_byte(location: str, target: str) -> None:
    assert net._next_hop(BASE, location) == target


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "http://h.example/x",
        "ftp://h/x",
        "https://u:s3cr3t@h/x",
        "https://h/a b",
        "https://h/\n",
        "https://h:x/",
    ],
)
def test_a_redirect_that_may_not_be_followed_is_refused_without_telling_secrets(location: str | None) -> None:
    with pytest.raises(errors.BadRedirect) as caught:
        net._next_hop(BASE, location)
    assert SECRET not in str(caught.value)


def test_from_http_to_https_is_no_downgrade() -> None:
    assert net._next_hop("http://h/x", "https://h/x") == "https://h/x"


KEY = ConnectionKey("h", 443, True, True, None, None, None)
REFUSED = OSError(111, "Connection refused")
FOREIGN = [
    (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "no name")), "dns"),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("bad")), "tls"),
    (aiohttp.ClientConnectorSSLError(KEY, OSError(1, "handshake")), "tls"),
    (aiohttp.ClientConnectorError(KEY, PermissionError(13, "forbidden")), "blocked_address"),
    (aiohttp.ClientConnectorError(KEY, REFUSED), "connect"),
    (aiohttp.ConnectionTimeoutError("late"), "connect"),
    (aiohttp.InvalidURL("x"), "invalid_response"),
    (aiohttp.ClientPayloadError("ended"), "truncated"),
    (aiohttp.ServerTimeoutError("late"), "stalled"),
    (aiohttp.ServerDisconnectedError(), "reset"),
    (aiohttp.ClientOSError(104, "reset"), "reset"),
    (TimeoutError(), "stalled"),
    (ConnectionResetError(104, "reset"), "reset"),
    (asyncio.IncompleteReadError(b"", 1), "reset"),
]


@pytest.mark.parametrize(
    ("foreign", "code"), FOREIGN, ids=[f"{type(error).__name__}-{code}" for error, code in FOREIGN]
)
def test_foreign_errors_stop_at_the_border_with_their_cause_and_without_secrets(foreign: Exception, code: str) -> None:
    with pytest.raises(errors.TransferError, match=r"^https://h\.example/dir/m\.gguf: ") as caught:
        with net.translate_errors(BASE):
            raise foreign
    assert caught.value.code == code
    assert caught.value.__cause__ is foreign
    assert SECRET not in str(caught.value)


def test_a_connection_lost_within_a_body_is_a_reset_and_not_the_body_s_end() -> None:
    foreign = aiohttp.ClientPayloadError("broken")
    foreign.__cause__ = ConnectionResetError(104, os.strerror(104))
    with pytest.raises(errors.Reset), net.translate_errors(BASE):
        raise foreign


def test_a_permission_that_the_disk_refuses_is_no_blocked_address() -> None:
    with pytest.raises(errors.Reset), net.translate_errors(BASE):
        raise PermissionError(13, "denied")

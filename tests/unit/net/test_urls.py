"""What of a URL may be shown, what cannot be fetched, and where a redirect leads."""

import contextlib
import time
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arwd import errors
from arwd.net import fault_in, redact, shown
from arwd.net.urls import Origin, next_hop, origin_of

SECRET = "s3cr3t"
# Everything RFC 3986 allows in a path or a query, and what fault_in lets pass besides.
URL_TEXT = st.text(st.sampled_from("abcXYZ019-._~!$&'()*+,;=:@/%20\"<>[]{}|\\^`"), max_size=30)


PIECES = ["https:", "//", "%3A", "%2F%2F", "%252f", "a", "u:p", "@", "%40", "?", "#", "%3F", "/", " ", "ftp://"]


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
        ("socks5://u:s3cr3t@h:1080", "socks5://h:1080"),
        ("https://a/https://u:s3cr3t@b/p", "https://a/https://b/p"),
        ("https://a/go?to=https%3A%2F%2Fb%2Fp%3Ftoken%3Ds3cr3t", "https://a/go"),
        ("https://a/https%3A%2F%2Fb%2Fp%3Ftoken%3Ds3cr3t", "https://a/https%3A%2F%2Fb%2Fp"),
        ("https://a/https%253A%252F%252Fu%253As3cr3t%2540b%252Fp", "https://a/https%253A%252F%252Fb%252Fp"),
        ("to=https%3a%2f%2fb%2f%23s3cr3t", "to=https%3a%2f%2fb%2f"),
        ("https://h/what%3F.gguf", "https://h/what%3F.gguf"),
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


@given(st.sampled_from(["https://h/", "https://h/a/", "go="]), URL_TEXT, st.integers(1, 3))
def test_no_secret_survives_in_a_url_that_another_one_carries(outside: str, path: str, depth: int) -> None:
    inside = f"https://b/{path}?token={SECRET}"
    for _ in range(depth):
        inside = quote(inside, safe="")
    assert SECRET not in redact(outside + inside)


@pytest.mark.parametrize("text", ["https://" * 40_000, "a" * 300_000, "a.b://x@" * 30_000, "%3A%2F%2F" * 30_000])
def test_no_text_takes_long(text: str) -> None:
    # Time that grows with the square of the length would be minutes.
    before = time.process_time()
    redact(text)
    assert time.process_time() - before < 5


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
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
        ("https://h:0/m", "invalid_field"),
        ("https://127.1/m", "invalid_field"),
        ("https://2130706433/m", "invalid_field"),
        ("https://0x7f.0.0.0x1/m", "invalid_field"),
        ("https://0177.0.0.1/m", "invalid_field"),
        ("https://127.0.0.1./m", "invalid_field"),
        ("https://0/m", "invalid_field"),
        ("https://h.0x/m", "invalid_field"),
        ("https://[fe80::1%25lo]/m", "invalid_field"),
        ("https://127%2e0.0.1/m", "invalid_field"),
        ("https://evil\\h/m", "invalid_field"),
        ("", "invalid_field"),
    ],
)
def test_what_cannot_be_fetched_is_refused_by_name(url: str, code: str) -> None:
    fault = fault_in(url)
    assert fault is not None
    assert fault.code == code


@pytest.mark.parametrize(
    "url", [f"https://h:{SECRET}/m", f"https://[{SECRET}]/m", f"https://{SECRET}%/m", f"x{SECRET}:m"]
)
def test_a_refusal_quotes_nothing_of_the_url(url: str) -> None:
    assert SECRET not in str(fault_in(url))


@pytest.mark.parametrize(
    ("url", "origin", "written"),
    [
        ("HTTPS://H.Example/p", ("https", "h.example", 443), "https://h.example"),
        ("https://h:443/p?q", ("https", "h", 443), "https://h"),
        ("http://h:443", ("http", "h", 443), "http://h:443"),
        ("http://[::1]:8/", ("http", "::1", 8), "http://[::1]:8"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: tuple[str, str, int], written: str) -> None:
    assert origin_of(url) == Origin(*origin)
    assert str(origin_of(url)) == written


@given(st.text(max_size=40) | URL_TEXT.map("https://".__add__))
def test_no_text_breaks_the_check_of_a_url(url: str) -> None:
    fault = fault_in(url)
    assert fault is None or fault.status == 400
    if fault is None:
        assert fault_in(shown(url)) is None


BASE = "https://h.example/dir/m.gguf?token=s3cr3t"
NAME = "https://h.example/dir/m.gguf"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/x?sig=a%2Fb%20c", "https://cdn.example/x?sig=a%2Fb%20c"),
        ("/x", "https://h.example/x"),
        ("x", "https://h.example/dir/x"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("?v=2", "https://h.example/dir/m.gguf?v=2"),
        # What many servers send although no URL may hold it.
        ("/a b.gguf", "https://h.example/a%20b.gguf"),
        ("/ü%20", "https://h.example/%C3%BC%20"),
        ("/\udce8", "https://h.example/%E8"),
        ('/x?y="<1>"', "https://h.example/x?y=%22%3C1%3E%22"),
    ],
)
def test_a_redirect_leads_where_it_says_byte_for_byte(location: str, target: str) -> None:
    assert next_hop(BASE, NAME, [location]) == target


@pytest.mark.parametrize(
    "location",
    [
        [],
        [""],
        ["https://h/x", "https://h/y"],
        ["http://h.example/s3cr3t"],
        ["ftp://h/x"],
        ["file:///s3cr3t"],
        ["javascript:s3cr3t"],
        ["https://u:s3cr3t@h/x"],
        ["https://ü.example/x"],
        ["https://h/\n"],
        ["https://h:s3cr3t/"],
        ["https://h/\x7f"],
        ["https://[s3cr3t]/"],
        ["https://127.1/s3cr3t"],
    ],
)
def test_a_redirect_that_may_not_be_followed_is_refused_without_telling_secrets(location: list[str]) -> None:
    with pytest.raises(errors.BadRedirect) as caught:
        next_hop(BASE, NAME, location)
    assert SECRET not in str(caught.value)
    assert str(caught.value).startswith(NAME)


def test_from_http_to_https_is_no_downgrade() -> None:
    assert next_hop("http://h/x", NAME, ["https://h/x"]) == "https://h/x"


@given(st.text(max_size=40) | URL_TEXT | st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_whatever_location_says_it_leads_to_a_url_that_can_be_fetched_or_nowhere(location: str) -> None:
    with contextlib.suppress(errors.BadRedirect):
        target = next_hop(BASE, NAME, [location])
        assert fault_in(target) is None
        assert urlsplit(target).scheme == "https"

"""Through whom a URL is reached: by the setting, by the variables that other programs read, or directly."""

import pytest

from arwd.errors import SettingsError
from arwd.net import proxies

SECRET = "s3cr3t"


def test_without_a_setting_there_is_no_proxy_whatever_the_environment_says() -> None:
    found = proxies.read("", {"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"})
    assert found.of("https://h/m") is None
    assert found.secrets == frozenset()


def test_a_proxy_that_is_set_serves_every_url() -> None:
    found = proxies.read("http://Proxy.example:3128/", {"NO_PROXY": "*"})
    for url in ("https://h/m", "http://h/m"):
        proxy = found.of(url)
        assert proxy is not None
        assert (proxy.url, proxy.headers) == ("http://proxy.example:3128", {})


def test_its_password_is_a_secret_in_every_form() -> None:
    found = proxies.read("https://me:s3cr3t%21@[::1]", {})
    proxy = found.of("http://h/m")
    assert proxy is not None
    assert proxy.url == "https://[::1]:443"
    assert proxy.headers == {"Proxy-Authorization": "Basic bWU6czNjcjN0IQ=="}
    assert found.secrets == {"s3cr3t%21", "s3cr3t!", "bWU6czNjcjN0IQ=="}
    assert SECRET not in repr(proxy)


@pytest.mark.parametrize(
    ("environ", "scheme", "expected"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, "https", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http", None),
        ({"HTTP_PROXY": "p:1"}, "http", "http://p:1"),
        ({"http_proxy": "http://low:1", "HTTP_PROXY": "http://up:1"}, "http", "http://low:1"),
        ({"ALL_PROXY": "http://p"}, "https", "http://p:80"),
        ({"all_proxy": "http://p:1", "https_proxy": "http://q:1"}, "https", "http://q:1"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": "http://p:1"}, "https", "http://p:1"),
        ({}, "https", None),
    ],
)
def test_the_environment_is_read_as_others_read_it(environ: dict[str, str], scheme: str, expected: str | None) -> None:
    proxy = proxies.read("environment", environ).of(f"{scheme}://h/m")
    assert (proxy and proxy.url) == expected


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("*", "https://h/m", True),
        ("", "https://h/m", False),
        ("h.example", "https://h.example/m", True),
        ("h.example", "https://a.h.example/m", True),
        ("h.example", "https://xh.example/m", False),
        (".h.example", "https://a.h.example/m", True),
        ("*.h.example", "https://a.h.example/m", True),
        ("a, H.Example b", "https://h.example/m", True),
        ("h.example:8443", "https://h.example:8443/m", True),
        ("h.example:8443", "https://h.example/m", False),
        ("10.0.0.0/8", "https://10.1.2.3/m", True),
        ("10.0.0.0/8", "https://11.1.2.3/m", False),
        ("10.1.2.3", "https://10.1.2.3/m", True),
        ("10.1.2.3:80", "http://10.1.2.3/m", True),
        ("::1", "https://[::1]/m", True),
        ("[::1]", "https://[::1]/m", True),
        ("fd00::/8", "https://[fd00::7]/m", True),
        ("fd00::/8", "https://10.0.0.1/m", False),
        (".", "https://h/m", False),
        (":", "https://h/m", False),
        ("localhost,127.0.0.1", "http://localhost:9/m", True),
        ("h.example", "https://h.example./m", True),
        ("h.example.", "https://a.h.example/m", True),
        ("[::1]:8080", "http://[::1]:8080/m", True),
        ("[::1]:8080", "http://[::1]:80/m", False),
        ("10.", "http://10.1.2.3/m", True),
        ("10.*", "http://10.1.2.3/m", True),
        ("192.168.*", "http://192.168.7.1/m", True),
        ("192.168.", "http://192.169.7.1/m", False),
        ("1.", "http://10.1.2.3/m", False),
        ("10.", "http://10.example/m", False),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]/m", True),
        ("::ffff:127.0.0.1", "http://127.0.0.1/m", True),
        ("127.0.0.0/8", "http://[::ffff:127.0.0.1]/m", True),
        ("h.example:99999", "http://h.example/m", False),
    ],
)
def test_no_proxy_names_whom_to_reach_directly(no_proxy: str, url: str, is_direct: bool) -> None:
    environ = {"HTTPS_PROXY": "http://p:1", "HTTP_PROXY": "http://p:1", "NO_PROXY": no_proxy}
    assert (proxies.read("environment", environ).of(url) is None) is is_direct


@pytest.mark.parametrize(
    "text",
    [
        "socks5://p:1", "p:1", "Environment", "http://", "http://p:x", "http://p:1/path", "http://p:1?q", "http://p 1",
        "ftp://p", "http://u:s3cr3t@", "http://u:s3cr3t@p:x", "http://[s3cr3t", "http://p:99999",
        "http://p:0", "http://a..b:1", "http://.:1",
    ],
)  # fmt: skip
def test_what_is_no_proxy_is_an_error_that_does_not_repeat_it(text: str) -> None:
    with pytest.raises(SettingsError, match=r"setting proxy is wrong \(from proxy\)") as caught:
        proxies.read(text, {})
    assert SECRET not in str(caught.value)


def test_a_variable_that_is_wrong_is_named() -> None:
    with pytest.raises(SettingsError, match="from ALL_PROXY"):
        proxies.read("environment", {"ALL_PROXY": "socks5://p:1"})

"""What aiohttp raises comes out as ours, with its cause, without secrets, and with what to do about it."""

import asyncio
import errno
import os
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from arwd import errors, net
from arwd.net import routes

URL_ASKED = "https://h.example/dir/m.gguf?token=s3cr3t"
SECRET = "s3cr3t"
KEY = ConnectionKey("h", 443, True, True, None, None, None)
PLAIN = ConnectionKey("h", 80, False, True, None, None, None)


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def mistrust(code: int) -> aiohttp.ClientConnectorCertificateError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed: s3cr3t")
    error.verify_code = code
    error.verify_message = SECRET
    return aiohttp.ClientConnectorCertificateError(KEY, error)


ABOUT = aiohttp.RequestInfo(URL(URL_ASKED), "GET", CIMultiDictProxy(CIMultiDict[str]()), URL(URL_ASKED))


def from_proxy(status: int) -> aiohttp.ClientHttpProxyError:
    return aiohttp.ClientHttpProxyError(ABOUT, (), status=status, message=SECRET)


FOREIGN: list[tuple[Exception, type[errors.TransferError], str]] = [
    (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "x")), errors.UnknownName, "no such host"),
    (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_AGAIN, "x")), errors.Dns, "looked up just now"),
    (aiohttp.ClientConnectorDNSError(KEY, OSError(None, "x")), errors.Dns, "looked up just now"),
    (UnicodeError("label too long"), errors.UnknownName, "no such host"),
    (mistrust(9), errors.Tls, "not valid yet.*clock"),
    (mistrust(10), errors.Tls, "has expired"),
    (mistrust(18), errors.Tls, "signed by itself.*ca_bundle"),
    (mistrust(19), errors.Tls, "nobody that this machine trusts.*ca_bundle"),
    (mistrust(20), errors.Tls, "nobody that this machine trusts.*ca_bundle"),
    (mistrust(62), errors.Tls, "for another name"),
    (mistrust(64), errors.Tls, "does not name this address"),
    (mistrust(23), errors.Tls, "not to be trusted.*23"),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("bad")), errors.Tls, "not to be trusted"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "s3cr3t")), errors.Tls, "speak https on this port"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLEOFError(8, "EOF")), errors.Handshake, "before it was secured"),
    (aiohttp.ClientConnectorError(KEY, os_error(errno.ECONNRESET)), errors.Handshake, "before it was secured"),
    (aiohttp.ClientConnectorError(PLAIN, os_error(errno.ECONNRESET)), errors.Connect, "reset by peer"),
    (aiohttp.ClientConnectorError(KEY, os_error(errno.ECONNREFUSED)), errors.Connect, "refused"),
    (aiohttp.ClientConnectorError(KEY, os_error(errno.EACCES)), errors.Connect, "denied"),
    (aiohttp.ClientConnectorError(KEY, os_error(errno.ENETUNREACH)), errors.Connect, "unreachable"),
    (
        aiohttp.ClientConnectorError(KEY, OSError("Multiple exceptions: s3cr3t")),
        errors.Connect,
        "none of its addresses",
    ),
    (aiohttp.ClientProxyConnectionError(KEY, os_error(errno.ECONNREFUSED)), errors.Connect, "proxy.*refused.*setting"),
    (aiohttp.ConnectionTimeoutError("late"), errors.Connect, "no connection in time"),
    (from_proxy(407), errors.ProxyRefused, "password; see the setting proxy"),
    (from_proxy(403), errors.ProxyRefused, "status 403"),
    (from_proxy(502), errors.Connect, "status 502"),
    (aiohttp.ClientResponseError(ABOUT, (), status=400, message=SECRET), errors.InvalidResponse, "not valid HTTP"),
    (aiohttp.InvalidURL("x"), errors.InvalidResponse, "not a usable URL"),
    (aiohttp.ClientPayloadError("ended"), errors.Truncated, "declared end"),
    (aiohttp.ServerTimeoutError("late"), errors.Stalled, "nothing received"),
    (aiohttp.ServerDisconnectedError(), errors.Reset, "lost"),
    (aiohttp.ClientOSError(104, "reset"), errors.Reset, "lost"),
    (TimeoutError(), errors.Stalled, "nothing received"),
    (ConnectionResetError(104, "reset"), errors.Reset, "lost"),
    (ssl.SSLError(1, "bad record mac"), errors.Reset, "lost"),
    (asyncio.IncompleteReadError(b"", 1), errors.Reset, "lost"),
]


@pytest.fixture(autouse=True)
def has_route(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Whether this machine is taken to have a route."""
    has = {"route": True}
    monkeypatch.setattr(routes, "has_any", lambda: has["route"])
    return has


def raised(foreign: Exception) -> errors.TransferError:
    with pytest.raises(errors.TransferError, match=r"^https://h\.example/dir/m\.gguf: ") as caught:
        with net.translate_errors(URL_ASKED):
            raise foreign
    assert caught.value.__cause__ is foreign
    return caught.value


@pytest.mark.parametrize(
    ("foreign", "kind", "words"), FOREIGN, ids=[f"{type(error).__name__}-{words}" for error, _, words in FOREIGN]
)
def test_foreign_errors_stop_at_the_border_with_their_cause_and_without_secrets(
    foreign: Exception, kind: type[errors.TransferError], words: str
) -> None:
    error = raised(foreign)
    assert type(error) is kind
    assert SECRET not in str(error)
    assert pytest.RaisesExc(kind, match=words).matches(error)


@pytest.mark.parametrize(
    "foreign",
    [
        aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_AGAIN, "x")),
        aiohttp.ClientConnectorError(KEY, os_error(errno.ENETUNREACH)),
        aiohttp.ClientConnectorError(PLAIN, os_error(errno.EHOSTUNREACH)),
        aiohttp.ClientConnectorError(PLAIN, os_error(errno.ENETDOWN)),
    ],
)
def test_without_any_route_it_is_no_fault_of_the_server_s(foreign: Exception, has_route: dict[str, Any]) -> None:
    has_route["route"] = False
    assert type(raised(foreign)) is errors.NoRoute


@pytest.mark.parametrize(
    ("foreign", "kind"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "x")), errors.UnknownName),
        (aiohttp.ClientConnectorError(KEY, os_error(errno.ECONNREFUSED)), errors.Connect),
    ],
)
def test_what_was_answered_was_answered_by_somebody(
    foreign: Exception, kind: type[errors.TransferError], has_route: dict[str, Any]
) -> None:
    has_route["route"] = False
    assert type(raised(foreign)) is kind


def test_a_connection_lost_within_a_body_is_a_reset_and_not_the_body_s_end() -> None:
    foreign = aiohttp.ClientPayloadError("broken")
    foreign.__cause__ = ConnectionResetError(104, os.strerror(104))
    with pytest.raises(errors.Reset), net.translate_errors(URL_ASKED):
        raise foreign


def test_a_permission_that_the_disk_refuses_is_no_blocked_address() -> None:
    with pytest.raises(errors.Reset), net.translate_errors(URL_ASKED):
        raise PermissionError(13, "denied")

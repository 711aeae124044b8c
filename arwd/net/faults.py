"""What aiohttp raises, as TransferErrors of ours. Sentences quote nothing that a server sent."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import aiohttp

from arwd import errors
from arwd.net import routes
from arwd.net.redaction import redact

_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN})
_NO_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})

_MISTRUST: Final = {  # X509_V_ERR_*, of OpenSSL's x509_vfy.h
    9: "its certificate is not valid yet; is this machine's clock right?",
    10: "its certificate has expired; whoever runs it must renew it (or this machine's clock is wrong)",
    18: "its certificate is signed by itself; to trust it, put it into a file and set ca_bundle to its path",
    62: "its certificate is for another name; use the name that the certificate has",
    64: "its certificate does not name this address; use the name that the certificate has",
}
_UNKNOWN_ISSUER: Final = frozenset({2, 19, 20, 21})
_UNKNOWN_ISSUER_TEXT: Final = (
    "nobody that this machine trusts has signed its certificate; for an authority of your own, put its certificate "
    "into a file and set ca_bundle to its path"
)


@contextlib.contextmanager
def translate_errors(url: str) -> Iterator[None]:
    """Turn what aiohttp raises into a TransferError of ours, with its cause and without secrets."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError, UnicodeError) as error:
        raise translated(error, redact(url)) from error


def translated(error: Exception, name: str) -> errors.TransferError:
    """Ours for theirs. `name`: what the URL is called in the sentence."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return _dns(error.os_error, name)
        case UnicodeError():
            return errors.UnknownName(f"{name}: no such host")
        case aiohttp.ClientConnectorError():
            return _unconnected(error, name)
        case aiohttp.ConnectionTimeoutError():
            return errors.Connect(f"{name}: no connection in time")
        case aiohttp.ClientHttpProxyError():
            return _refused_by_proxy(error.status, name)
        case aiohttp.InvalidURL():
            return errors.InvalidResponse(f"{name}: not a usable URL")
        case aiohttp.ClientPayloadError() if not isinstance(error.__cause__, OSError):
            return errors.Truncated(f"{name}: the body ended before its declared end")
        case aiohttp.ClientResponseError():
            # Not what aiohttp says of it: that quotes the server, and a server may quote our request with its query.
            return errors.InvalidResponse(f"{name}: what the server sent is not valid HTTP")
        case TimeoutError():
            return errors.Stalled(f"{name}: nothing received for the stall time-out")
        case _:
            return errors.Reset(f"{name}: the connection was lost")


def _dns(error: OSError, name: str) -> errors.TransferError:
    if error.errno in _NO_NAME:
        return errors.UnknownName(f"{name}: no such host")
    if error.errno == socket.EAI_AGAIN and not routes.has_any():
        return errors.NoRoute(f"{name}: this machine has no network just now")
    return errors.Dns(f"{name}: its name cannot be looked up just now")


def _unconnected(error: aiohttp.ClientConnectorError, name: str) -> errors.TransferError:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return errors.Tls(f"{name}: {_mistrust(error.certificate_error)}")
        case aiohttp.ClientProxyConnectionError():
            return errors.Connect(
                f"{name}: no connection to the proxy ({_reason(error.os_error)}); see the setting proxy"
            )
    match error.os_error:
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return errors.Handshake(f"{name}: the connection was lost before it was secured")
        case ssl.SSLError():
            return errors.Tls(f"{name}: no secure connection can be agreed upon; does it speak https on this port?")
        case ConnectionError() as lost if error.args[0].is_ssl and not isinstance(lost, ConnectionRefusedError):
            return errors.Handshake(f"{name}: the connection was lost before it was secured")
        case OSError(errno=number) if number in _NO_WAY and not routes.has_any():
            return errors.NoRoute(f"{name}: this machine has no network just now")
        case refused:
            return errors.Connect(f"{name}: {_reason(refused)}")


def _refused_by_proxy(status: int, name: str) -> errors.TransferError:
    if status == 407:
        return errors.ProxyRefused(f"{name}: the proxy wants a user name and a password; see the setting proxy")
    if 400 <= status < 500:
        return errors.ProxyRefused(f"{name}: the proxy does not let arwd through (status {status})")
    return errors.Connect(f"{name}: the proxy cannot reach it (status {status})")


def _mistrust(error: Exception) -> str:
    code = getattr(error, "verify_code", 0)
    if code in _UNKNOWN_ISSUER:
        return _UNKNOWN_ISSUER_TEXT
    return _MISTRUST.get(code, f"its certificate is not to be trusted (reason {code} of OpenSSL)")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else "none of its addresses answers"

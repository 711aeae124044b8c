"""The bytes did not arrive as asked for, or are not the file."""

from arwd.errors.base import ArwdError


class TransferError(ArwdError):
    """The bytes did not arrive as asked for."""

    code, status = "invalid_response", 502


class HttpStatus(TransferError):
    """The server refused with a status that has no code of its own."""

    code = "http_status"

    def __init__(self, message: str, http_status: int, retry_after: float | None = None) -> None:
        """`retry_after`: seconds that the server asks us to wait."""
        super().__init__(message)
        self.http_status = http_status
        self.retry_after = retry_after

    def details(self) -> dict[str, str | int]:
        return {"http_status": self.http_status}


class ServerBusy(HttpStatus):
    """408, 425, 500, 502, 503, 504: the server may answer later."""

    retryable = True


class OriginUnauthorized(HttpStatus):
    """401 or 403."""

    code = "unauthorized"


class LinkExpired(OriginUnauthorized):
    """400, 401 or 403 from where the asked server sent us: a signed link may have expired, a new one is asked for."""

    retryable, most_attempts = True, 3


class OriginNotFound(HttpStatus):
    """404 or 410."""

    code = "not_found"


class TooManyRequests(HttpStatus):
    """429."""

    code, retryable = "too_many_requests", True


class Dns(TransferError):
    """The name could not be looked up."""

    code, retryable = "dns", True


class UnknownName(Dns):
    """No such name: it may be misspelt, so it is not asked for much longer."""

    most_attempts = 3


class Connect(TransferError):
    """Refused, unreachable or timed out."""

    code, retryable = "connect", True


class ProxyRefused(Connect):
    """The proxy does not let arwd through: it will not do so the next time either."""

    retryable = False


class NoRoute(Connect):
    """This machine has no network just now: time without one does not count."""


class Tls(TransferError):
    """The certificate is not to be trusted."""

    code = "tls"


class Handshake(Tls):
    """The connection was lost before it was secured."""

    retryable = True


class Stalled(TransferError):
    """No byte arrived for the idle time-out."""

    code, retryable = "stalled", True


class Reset(TransferError):
    """The connection was lost."""

    code, retryable = "reset", True


class Truncated(TransferError):
    """The body ended before the length that was declared."""

    code, retryable = "truncated", True


class BadRange(TransferError):
    """The answer to a range request is not the range."""

    code = "bad_range"


class SizeMismatch(TransferError):
    """Not the size that was asked for."""

    code = "size_mismatch"


class InvalidResponse(TransferError):
    """A protocol error, an encoding nobody asked for, multipart. It may be one server of several: once more."""

    code, retryable, most_attempts = "invalid_response", True, 1


class UnsafePaths(InvalidResponse):
    """A source gives its files names that lead out of the model's directory or into one another."""

    retryable = False


class SourceUnreachable(TransferError):
    """Whoever knows the files of a model, such as the Hub, does not answer."""

    code, retryable = "hub_unreachable", True


class BadRedirect(TransferError):
    """A downgrade to http, or a missing or unusable Location."""

    code = "bad_redirect"


class TooManyRedirects(TransferError):
    """More hops than allowed."""

    code = "too_many_redirects"


class BlockedAddress(TransferError):
    """The address policy forbids the dial."""

    code = "blocked_address"


class NotAModel(TransferError):
    """Something else in place of the file: an HTML page, a Git-LFS pointer, a JSON error, another format."""

    code = "not_a_model"


class UnsafeFormat(TransferError):
    """A pickle, which runs code when it is loaded, while `allow_unsafe_formats` is off."""

    code = "unsafe_format"


class Sha256Mismatch(ArwdError):
    """The file is complete and is not the file. The sentence is the seed's."""

    code, status = "sha256_mismatch", 502

    def __init__(self, *, expected: str, actual: str) -> None:
        super().__init__("checksum mismatch")
        self.expected, self.actual = expected, actual

    def details(self) -> dict[str, str | int]:
        return {"expected": self.expected, "actual": self.actual}

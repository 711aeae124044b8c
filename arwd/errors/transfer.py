"""The bytes did not arrive as asked for, or are not the file."""

from arwd.errors.base import ArwdError


class TransferError(ArwdError):
    """The bytes did not arrive as asked for."""

    code, status = "invalid_response", 502


class HttpStatus(TransferError):
    """The server refused with a status that has no code of its own."""

    code = "http_status"

    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status

    def details(self) -> dict[str, str | int]:
        return {"http_status": self.http_status}


class ServerBusy(HttpStatus):
    """408, 425, 500, 502, 503, 504: the server may answer later."""

    retryable = True


class OriginUnauthorized(HttpStatus):
    """401 or 403."""

    code = "unauthorized"


class OriginNotFound(HttpStatus):
    """404 or 410."""

    code = "not_found"


class TooManyRequests(HttpStatus):
    """429."""

    code, retryable = "too_many_requests", True


class Dns(TransferError):
    """No such name."""

    code, retryable = "dns", True


class Connect(TransferError):
    """Refused, unreachable or timed out."""

    code, retryable = "connect", True


class Tls(TransferError):
    """Certificate or handshake."""

    code = "tls"


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
    """A protocol error, an encoding nobody asked for, multipart."""

    code = "invalid_response"


class BadRedirect(TransferError):
    """A downgrade to http, or a missing or unusable Location."""

    code = "bad_redirect"


class TooManyRedirects(TransferError):
    """More hops than allowed."""

    code = "too_many_redirects"


class BlockedAddress(TransferError):
    """The address policy forbids the dial."""

    code = "blocked_address"


class Sha256Mismatch(ArwdError):
    """The file is complete and is not the file. The sentence is the seed's."""

    code, status = "sha256_mismatch", 502

    def __init__(self, *, expected: str, actual: str) -> None:
        super().__init__("checksum mismatch")
        self.expected, self.actual = expected, actual

    def details(self) -> dict[str, str | int]:
        return {"expected": self.expected, "actual": self.actual}

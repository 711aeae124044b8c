"""The client's mistakes: answered at once, nothing was started."""

from arwd.errors.base import ArwdError


class RequestError(ArwdError):
    """The client asked for something that cannot be."""

    code, status = "invalid_field", 400

    def __init__(self, message: str, *, field: str | None = None) -> None:
        """`field`: the one of the body that is missing or wrong."""
        super().__init__(message)
        self.field = field

    def headers(self) -> dict[str, str]:
        """Response headers that belong to this refusal."""
        return {}


class InvalidJson(RequestError):
    """The body is not one JSON object."""

    code = "invalid_json"


class MissingField(RequestError):
    """A required field is absent or null."""

    code = "missing_field"


class InvalidField(RequestError):
    """A field has the wrong type or value."""

    code = "invalid_field"


class InvalidParameter(RequestError):
    """A query or path parameter has a bad value."""

    code = "invalid_parameter"


class InvalidUrlScheme(RequestError):
    """The URL is neither http nor https. The sentence is the seed's."""

    code = "invalid_url_scheme"

    def __init__(self) -> None:
        super().__init__("invalid url scheme")


class CredentialsInUrl(RequestError):
    """The URL carries a user name or password."""

    code = "credentials_in_url"


class InvalidSha256(RequestError):
    """Not 64 hexadecimal digits."""

    code = "invalid_sha256"


class UnsupportedMediaType(RequestError):
    """A body that is not `application/json`."""

    code, status = "unsupported_media_type", 415


class TooLarge(RequestError):
    """A body beyond the limit."""

    code, status = "too_large", 413


class RequestTimeout(RequestError):
    """The body did not arrive in time."""

    code, status = "request_timeout", 408

    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}


class NotFound(RequestError):
    """No such route, model or job."""

    code, status = "not_found", 404


class ModelNotFound(RequestError):
    """No source has such a model, such a quantization or such a file of it, as far as may be seen."""

    code, status = "model_not_found", 404


class ModelForbidden(RequestError):
    """The model is there, and its licence was not accepted or the token may not read it."""

    code, status = "model_forbidden", 403


class AmbiguousRef(RequestError):
    """The ref could be several models; the sentence names them."""

    code = "ambiguous_ref"


class JobNotFound(RequestError):
    """No job has this id, or none has it any more."""

    code, status = "job_not_found", 404


class MethodNotAllowed(RequestError):
    """The route exists, but not with this method."""

    code, status = "method_not_allowed", 405

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This address answers {allowed} only.")
        self.allowed = allowed

    def headers(self) -> dict[str, str]:
        return {"Allow": self.allowed}


class Unauthorized(RequestError):
    """No credential, or a wrong one."""

    code, status = "unauthorized", 401

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class TooManyFailures(RequestError):
    """Too many wrong credentials from one address."""

    code, status = "too_many_requests", 429

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many wrong tokens from this address. Try again in {seconds} s.")
        self.seconds = seconds

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.seconds)}


class HostDenied(RequestError):
    """The Host header names nobody we are (DNS rebinding)."""

    code, status = "host_denied", 421


class OriginDenied(RequestError):
    """A web page that is not ours tried to change something."""

    code, status = "origin_denied", 403


class IdInUse(RequestError):
    """The id is bound to another URL or digest while its job is unfinished."""

    code, status = "id_in_use", 409


class TooManyStreams(RequestError):
    """The subscriber limit is reached."""

    code, status = "too_many_streams", 503

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "5"}


class Stopping(RequestError):
    """The daemon is shutting down."""

    code, status = "internal", 503

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "2"}

"""Every error arwd raises on purpose. Rule: a foreign exception is translated at the border, with its cause.

ArwdError                     has a `code`, knows its HTTP `status` and whether trying again makes sense
├── RequestError              the client's mistake: answered at once, nothing was started
│   ├── InvalidJson  MissingField  InvalidField  InvalidParameter
│   ├── InvalidUrlScheme  CredentialsInUrl  InvalidSha256
│   ├── UnsupportedMediaType  TooLarge  RequestTimeout  NotFound  MethodNotAllowed
│   ├── Unauthorized  TooManyFailures  HostDenied  OriginDenied
│   └── IdInUse  TooManyStreams  Stopping
├── TransferError             the bytes did not arrive as asked: ends in a job's `error` event, the part is kept
│   ├── HttpStatus ── ServerBusy  OriginUnauthorized  OriginNotFound  TooManyRequests
│   ├── Dns  Connect  Tls
│   ├── Stalled  Reset  Truncated
│   └── BadRange  SizeMismatch  InvalidResponse  BadRedirect  TooManyRedirects  BlockedAddress
├── Sha256Mismatch            the bytes arrived and are wrong: the part is discarded
├── StorageError              the disk refused
│   └── ReadOnly  PartChanged ── NotSynced
└── StartError                the daemon cannot start; `exit_status` says why (sysexits.h)
    └── SettingsError  StateDirectoryInUse
"""

from arwd.errors.base import (
    ArwdError,
    NotSynced,
    PartChanged,
    ReadOnly,
    SettingsError,
    StartError,
    StateDirectoryInUse,
    StorageError,
)
from arwd.errors.request import (
    CredentialsInUrl,
    HostDenied,
    IdInUse,
    InvalidField,
    InvalidJson,
    InvalidParameter,
    InvalidSha256,
    InvalidUrlScheme,
    MethodNotAllowed,
    MissingField,
    NotFound,
    OriginDenied,
    RequestError,
    RequestTimeout,
    Stopping,
    TooLarge,
    TooManyFailures,
    TooManyStreams,
    Unauthorized,
    UnsupportedMediaType,
)
from arwd.errors.transfer import (
    BadRange,
    BadRedirect,
    BlockedAddress,
    Connect,
    Dns,
    HttpStatus,
    InvalidResponse,
    OriginNotFound,
    OriginUnauthorized,
    Reset,
    ServerBusy,
    Sha256Mismatch,
    SizeMismatch,
    Stalled,
    Tls,
    TooManyRedirects,
    TooManyRequests,
    TransferError,
    Truncated,
)

__all__ = [
    "ArwdError",
    "BadRange",
    "BadRedirect",
    "BlockedAddress",
    "Connect",
    "CredentialsInUrl",
    "Dns",
    "HostDenied",
    "HttpStatus",
    "IdInUse",
    "InvalidField",
    "InvalidJson",
    "InvalidParameter",
    "InvalidResponse",
    "InvalidSha256",
    "InvalidUrlScheme",
    "MethodNotAllowed",
    "MissingField",
    "NotFound",
    "NotSynced",
    "OriginDenied",
    "OriginNotFound",
    "OriginUnauthorized",
    "PartChanged",
    "ReadOnly",
    "RequestError",
    "RequestTimeout",
    "Reset",
    "ServerBusy",
    "SettingsError",
    "Sha256Mismatch",
    "SizeMismatch",
    "Stalled",
    "StartError",
    "StateDirectoryInUse",
    "Stopping",
    "StorageError",
    "Tls",
    "TooLarge",
    "TooManyFailures",
    "TooManyRedirects",
    "TooManyRequests",
    "TooManyStreams",
    "TransferError",
    "Truncated",
    "Unauthorized",
    "UnsupportedMediaType",
]

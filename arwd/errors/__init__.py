"""Every error arwd raises on purpose. Rule: a foreign exception is translated at the border, with its cause.

ArwdError                     has a `code`, knows its HTTP `status` and whether trying again makes sense
├── RequestError              the client's mistake: answered at once, nothing was started
│   ├── InvalidJson  MissingField  InvalidField  InvalidParameter
│   ├── InvalidUrlScheme  CredentialsInUrl  InvalidSha256
│   ├── UnsupportedMediaType  TooLarge  RequestTimeout  NotFound  JobNotFound  MethodNotAllowed
│   ├── Unauthorized  TooManyFailures  HostDenied  OriginDenied
│   ├── ModelNotFound  ModelForbidden  AmbiguousRef
│   └── IdInUse  TooManyStreams  Stopping
├── TransferError             the bytes did not arrive as asked: ends in a job's `error` event, the part is kept
│   ├── HttpStatus ── ServerBusy  OriginNotFound  TooManyRequests  OriginUnauthorized ── LinkExpired
│   ├── Dns ── UnknownName    Connect ── NoRoute  ProxyRefused    Tls ── Handshake
│   ├── Stalled  Reset  Truncated
│   ├── BadRange  SizeMismatch  BadRedirect  TooManyRedirects  BlockedAddress
│   ├── InvalidResponse ── UnsafePaths
│   └── NotAModel  UnsafeFormat  SourceUnreachable
├── Sha256Mismatch            the bytes arrived and are wrong: the part is discarded
├── StorageError              the disk refused
│   ├── ReadOnly  DiskFull  QuotaExceeded  SizeLimit
│   └── PartChanged ── NotSynced
└── StartError                the daemon cannot start; `exit_status` says why (sysexits.h)
    └── SettingsError  StateDirectoryInUse
"""

from arwd.errors.base import (
    ArwdError,
    DiskFull,
    NotSynced,
    PartChanged,
    QuotaExceeded,
    ReadOnly,
    SettingsError,
    SizeLimit,
    StartError,
    StateDirectoryInUse,
    StorageError,
)
from arwd.errors.request import (
    AmbiguousRef,
    CredentialsInUrl,
    HostDenied,
    IdInUse,
    InvalidField,
    InvalidJson,
    InvalidParameter,
    InvalidSha256,
    InvalidUrlScheme,
    JobNotFound,
    MethodNotAllowed,
    MissingField,
    ModelForbidden,
    ModelNotFound,
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
    Handshake,
    HttpStatus,
    InvalidResponse,
    LinkExpired,
    NoRoute,
    NotAModel,
    OriginNotFound,
    OriginUnauthorized,
    ProxyRefused,
    Reset,
    ServerBusy,
    Sha256Mismatch,
    SizeMismatch,
    SourceUnreachable,
    Stalled,
    Tls,
    TooManyRedirects,
    TooManyRequests,
    TransferError,
    Truncated,
    UnknownName,
    UnsafeFormat,
    UnsafePaths,
)

__all__ = [
    "AmbiguousRef",
    "ArwdError",
    "BadRange",
    "BadRedirect",
    "BlockedAddress",
    "Connect",
    "CredentialsInUrl",
    "DiskFull",
    "Dns",
    "Handshake",
    "HostDenied",
    "HttpStatus",
    "IdInUse",
    "InvalidField",
    "InvalidJson",
    "InvalidParameter",
    "InvalidResponse",
    "InvalidSha256",
    "InvalidUrlScheme",
    "JobNotFound",
    "LinkExpired",
    "MethodNotAllowed",
    "MissingField",
    "ModelForbidden",
    "ModelNotFound",
    "NoRoute",
    "NotAModel",
    "NotFound",
    "NotSynced",
    "OriginDenied",
    "OriginNotFound",
    "OriginUnauthorized",
    "PartChanged",
    "ProxyRefused",
    "QuotaExceeded",
    "ReadOnly",
    "RequestError",
    "RequestTimeout",
    "Reset",
    "ServerBusy",
    "SettingsError",
    "Sha256Mismatch",
    "SizeLimit",
    "SizeMismatch",
    "SourceUnreachable",
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
    "UnknownName",
    "UnsafeFormat",
    "UnsafePaths",
    "UnsupportedMediaType",
]

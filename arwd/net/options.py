"""The settings of the way out, as they were written."""

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How arwd reaches the outside."""

    connect_timeout: float = 15.0
    """Seconds until a connection must stand."""
    stall_timeout: float = 60.0
    """Seconds without a byte after which a transfer counts as stalled."""
    egress_allow: tuple[str, ...] = ()
    """Networks that may be contacted though they are private, such as `192.168.7.0/24`; a link-local or metadata
    address only by itself, as a `/32` or `/128`."""
    egress_deny: tuple[str, ...] = ()
    """Networks that may not be contacted; they win over `egress_allow`."""
    proxy: str = ""
    """`http://[user:password@]host:port`, or `environment` for `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`;
    empty means none."""
    ca_bundle: str = ""
    """A PEM file with certificates of authorities that are trusted in addition to the system's."""
    credentials: dict[str, str] = {}
    """For an exact origin, such as `"https://models.example"`, the file with the token that is sent to it and to nobody
    else."""

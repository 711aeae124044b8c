"""The way out: who may be dialled, what may be said to whom, redirects, and what of a URL may be shown."""

from arwd.net.addresses import AddressPolicy
from arwd.net.credentials import is_private
from arwd.net.egress import Egress
from arwd.net.faults import translate_errors
from arwd.net.options import Options
from arwd.net.redaction import redact, shown
from arwd.net.session import Session, paused
from arwd.net.urls import Origin, fault_in, origin_of

__all__ = [
    "AddressPolicy",
    "Egress",
    "Options",
    "Origin",
    "Session",
    "fault_in",
    "is_private",
    "origin_of",
    "paused",
    "redact",
    "shown",
    "translate_errors",
]

"""PURE: the digest of the whole file that its server declares in the head of a response.

Rules: RFC 9530 (Repr-Digest, Content-Digest); the checksums that Amazon S3 keeps of its objects. An ETag is no digest,
whatever it looks like.
"""

import base64
import re
from collections.abc import Iterator
from typing import Final

from arwd.net import fields
from arwd.transfer.head import Head, is_encoded

# A parser of structured fields should not fail where the padding is missing (RFC 9651 §4.2.7).
_SHA256: Final = re.compile(r"[A-Za-z0-9+/]{43}=?")


def declared_sha256(head: Head) -> str | None:
    """The SHA-256 of the whole file, in lower-case hexadecimal; None if none is declared, or if two contradict."""
    if head.status not in (200, 206) or is_encoded(head):
        return None
    declared = {base64.b64decode(text.rstrip("=") + "=").hex() for text in _declared(head) if _SHA256.fullmatch(text)}
    return declared.pop() if len(declared) == 1 else None


def _declared(head: Head) -> Iterator[str]:
    """What is said to be a SHA-256 of the whole file, in base64 if it is one."""
    yield from _members(head, "repr-digest")
    is_whole, kind = head.status == 200, head.headers.get("x-amz-checksum-type", "").strip().upper()
    if is_whole:
        yield from _members(head, "content-digest")
    # Of an object that came in parts it may be a digest of their digests; with a range, that of one part.
    if kind == "FULL_OBJECT" or (is_whole and not kind):
        yield from (text.strip() for text in head.headers.get("x-amz-checksum-sha256", "").split(","))


def _members(head: Head, name: str) -> Iterator[str]:
    for member in fields.members(head.headers.get(name, "")):
        if member.key == "sha-256" and member.value.startswith(":"):
            yield member.value.strip(":")

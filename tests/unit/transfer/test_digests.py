"""What a server declares of the whole file is believed; what may be of a part of it, or contradicts itself, is not."""

import base64
import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arwd.transfer.digests import declared_sha256
from arwd.transfer.head import Head

HEX = hashlib.sha256(b"the file").hexdigest()
TEXT = base64.b64encode(bytes.fromhex(HEX)).decode()
OTHER = base64.b64encode(hashlib.sha256(b"another").digest()).decode()
SHA512 = base64.b64encode(hashlib.sha512(b"the file").digest()).decode()
GOOD = f"sha-256=:{TEXT}:"
BAD = f"sha-256=:{OTHER}:"


def head(headers: Mapping[str, str], status: int = 200) -> Head:
    return Head(url="https://h.example/m.gguf", status=status, headers=headers, now=0.0)


@pytest.mark.parametrize(
    ("field", "is_believed"),
    [
        (GOOD, True),
        (f"  {GOOD}  ", True),
        (f"SHA-256=:{TEXT}:", True),
        (f"sha-256=:{TEXT.rstrip('=')}:", True),
        (f"{GOOD};a=1;b", True),
        (f"sha-512=:{SHA512}:, {GOOD}", True),
        (f"{GOOD},sha-512=:{SHA512}:", True),
        (f"md5=:AAAA:, {GOOD}, unixsum=?1", True),
        (f"{GOOD}, {GOOD}", True),
        (f"{GOOD}, {BAD}", False),
        (f"{BAD}, {GOOD}", False),
        (f"{GOOD},", False),
        (f"{GOOD} sha-512=:{SHA512}:", False),
        (f"sha-256={TEXT}", False),
        (f'sha-256="{TEXT}"', False),
        (f'sha-256="{HEX}"', False),
        (f"sha-256={HEX}", False),
        (f"sha-256=:{HEX}:", False),
        (f"sha-256=:{SHA512}:", False),
        (f"sha-512=:{TEXT}:", False),
        (f"sha-256=:{TEXT[:-4]}:", False),
        (f"sha-256=:{TEXT}", False),
        ("sha-256=::", False),
        ("sha-256", False),
        (f":{TEXT}:", False),
        (f"x;sha-256=:{TEXT}:", False),
        (f"sha-256=:{TEXT.replace(TEXT[0], '_')}:", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("name", ["repr-digest", "content-digest"])
def test_a_field_of_digests_says_one_sha256_or_nothing(name: str, field: str, is_believed: bool) -> None:
    assert declared_sha256(head({name: field})) == (HEX if is_believed else None)


@pytest.mark.parametrize(
    ("status", "headers", "is_believed"),
    [
        (200, {"repr-digest": GOOD}, True),
        (206, {"repr-digest": GOOD}, True),
        (404, {"repr-digest": GOOD}, False),
        (304, {"repr-digest": GOOD}, False),
        (200, {"repr-digest": GOOD, "content-encoding": "identity"}, True),
        (200, {"repr-digest": GOOD, "content-encoding": "gzip"}, False),
        (200, {"content-digest": GOOD}, True),
        (206, {"content-digest": GOOD}, False),
        (200, {"content-digest": GOOD, "content-encoding": "gzip"}, False),
        (206, {"repr-digest": GOOD, "content-digest": BAD}, True),
        (200, {"x-amz-checksum-sha256": TEXT}, True),
        (200, {"x-amz-checksum-sha256": f" {TEXT} "}, True),
        (200, {"x-amz-checksum-sha256": f"{TEXT}, {OTHER}"}, False),
        (200, {"x-amz-checksum-sha256": f"{TEXT}-3"}, False),
        (200, {"x-amz-checksum-sha256": TEXT, "x-amz-checksum-type": "COMPOSITE"}, False),
        (200, {"x-amz-checksum-sha256": TEXT, "x-amz-checksum-type": "FULL_OBJECT"}, True),
        (200, {"x-amz-checksum-sha256": TEXT, "x-amz-checksum-type": "SOMETHING"}, False),
        (200, {"x-amz-checksum-sha256": HEX}, False),
        (200, {"x-amz-checksum-sha256": SHA512}, False),
        (206, {"x-amz-checksum-sha256": TEXT}, False),
        (206, {"x-amz-checksum-sha256": TEXT, "x-amz-checksum-type": "COMPOSITE"}, False),
        (206, {"x-amz-checksum-sha256": TEXT, "x-amz-checksum-type": "FULL_OBJECT"}, True),
        (206, {"x-amz-checksum-sha256": f"{TEXT}-3", "x-amz-checksum-type": "FULL_OBJECT"}, False),
        (200, {"repr-digest": GOOD, "content-digest": GOOD, "x-amz-checksum-sha256": TEXT}, True),
        (200, {"repr-digest": GOOD, "content-digest": BAD}, False),
        (200, {"repr-digest": GOOD, "x-amz-checksum-sha256": OTHER}, False),
        (200, {"repr-digest": "what?", "content-digest": GOOD}, True),
        (200, {"repr-digest": GOOD, "x-amz-checksum-sha256": f"{OTHER}-3"}, True),
        (200, {"etag": f'"{HEX}"', "x-linked-etag": f'"{HEX}"'}, False),
        (200, {}, False),
    ],
)
def test_only_what_is_of_the_whole_file_and_is_not_contradicted_is_believed(
    status: int, headers: dict[str, str], is_believed: bool
) -> None:
    assert declared_sha256(head(headers, status)) == (HEX if is_believed else None)


def test_it_is_the_one_who_sends_the_bytes_that_is_believed_also_after_a_redirect() -> None:
    sent = Head(url="h", status=200, headers={"repr-digest": GOOD}, now=0.0, is_redirected=True)
    assert declared_sha256(sent) == HEX


FIELDS = (
    st.lists(
        st.sampled_from(["sha-256=:", TEXT, OTHER, SHA512, ":", ",", " ", ";", "a", "=", '"', "-2", "\udcff"]),
        max_size=8,
    ).map("".join)
    | st.text(max_size=30)
    | st.binary(min_size=30, max_size=34).map(lambda data: f"sha-256=:{base64.b64encode(data).decode()}:")
    | st.from_regex(r"[A-Za-z0-9+/]{43}=?", fullmatch=True)
)


@given(
    st.dictionaries(
        st.sampled_from(["repr-digest", "content-digest", "x-amz-checksum-sha256", "x-amz-checksum-type", "etag"]),
        FIELDS,
    ),
    st.sampled_from([200, 206, 304, 416]),
)
@example({"repr-digest": "sha-256=:" + "/" * 43 + ":"}, 200)
@example({"x-amz-checksum-sha256": "A" * 42 + "B="}, 200)
def test_no_head_breaks_it_and_what_it_finds_is_a_digest(headers: dict[str, str], status: int) -> None:
    found = declared_sha256(head(headers, status))
    assert found is None or (len(bytes.fromhex(found)) == 32 and found == found.lower() and len(found) == 64)


@given(st.binary(min_size=32, max_size=32))
def test_every_digest_comes_back_as_it_was_declared(digest: bytes) -> None:
    text = base64.b64encode(digest).decode()
    assert declared_sha256(head({"repr-digest": f"sha-256=:{text}:"}, 206)) == digest.hex()
    assert declared_sha256(head({"x-amz-checksum-sha256": text})) == digest.hex()

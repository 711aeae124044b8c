"""The digest that a server declares decides where nobody else gives one."""

import base64
import hashlib
from typing import Any

import pytest

from tests.origin import Origin, Serve
from tests.running import Running


def declared(data: bytes) -> dict[str, str]:
    return {"Repr-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


async def fetched(daemon: Running, origin: Origin, *steps: Serve, **more: Any) -> dict[str, Any]:
    origin.script(*steps)
    await daemon.download("m", origin.url("m.bin"), **more)
    return await daemon.settled("m")


async def test_a_file_that_is_what_its_server_declared_is_trusted_to_its_source(
    daemon: Running, origin: Origin, data: bytes, digest: str
) -> None:
    last = await fetched(daemon, origin, Serve(headers=declared(data)))
    assert (last["status"], last["trust"], last["sha256"]) == ("complete", "source", digest)


async def test_a_file_that_is_not_what_its_server_declared_is_refused_and_dropped(
    daemon: Running, origin: Origin, digest: str
) -> None:
    last = await fetched(daemon, origin, Serve(headers=declared(b"another")))
    assert (last["code"], last["error"], last["actual"]) == ("sha256_mismatch", "checksum mismatch", digest)
    assert last["expected"] == hashlib.sha256(b"another").hexdigest()
    assert daemon.files() == []


async def test_the_digest_of_the_request_goes_before_that_of_the_server(
    daemon: Running, origin: Origin, digest: str
) -> None:
    last = await fetched(daemon, origin, Serve(headers=declared(b"another")), sha256=digest)
    assert (last["status"], last["trust"]) == ("complete", "caller")


@pytest.mark.parametrize("says_it_again", [True, False])
async def test_a_part_goes_on_with_the_digest_that_its_first_answer_declared(
    daemon: Running, origin: Origin, data: bytes, *, says_it_again: bool
) -> None:
    again = Serve(headers=declared(data) if says_it_again else {})
    last = await fetched(daemon, origin, Serve(count=len(data) // 2, headers=declared(data)), again)
    assert (last["status"], last["trust"]) == ("complete", "source")
    assert len(origin.requests) == 2


async def test_a_digest_of_the_whole_file_may_come_with_a_range_and_is_kept_to(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    last = await fetched(
        daemon, origin, Serve(count=len(data) // 2), Serve(headers=declared(b"another")), Serve(), Serve()
    )
    # The second answer contradicts what came; from zero there is nothing that contradicts it.
    assert (last["status"], last["trust"]) == ("complete", "none")

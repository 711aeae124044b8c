"""A part outlasts every answer that is not the file, whatever the answer made us doubt before."""

import hashlib
from typing import Any

import pytest

from tests.origin import Origin, Serve, Status, Step
from tests.running import Running

HELD = 150_000


async def break_off(daemon: Running, origin: Origin, *steps: Step, **more: Any) -> dict[str, Any]:
    """Some bytes come, then these answers. The end of the job."""
    origin.script(Serve(HELD), *steps)
    await daemon.download("m", origin.url("m.gguf"), **more)
    return await daemon.settled("m")


@pytest.mark.parametrize("has_digest", [False, True])
@pytest.mark.parametrize(
    "doubtful",
    [
        Status(416, {"Content-Range": "bytes */7"}),
        Status(206),
        Status(206, {"Content-Type": "multipart/byteranges; boundary=x"}),
        Status(206, {"Content-Encoding": "gzip"}),
        Serve(is_blind=True, etag='"v2"'),
    ],
    ids=["beyond its end", "no range", "multipart", "encoded", "another version"],
)
async def test_a_doubt_costs_no_byte_until_something_better_is_there(
    daemon: Running, origin: Origin, data: bytes, doubtful: Step, has_digest: bool
) -> None:
    more = {"sha256": hashlib.sha256(data).hexdigest()} if has_digest else {}
    assert (await break_off(daemon, origin, doubtful, Status(404), **more))["code"] == "not_found"
    assert (daemon.models / "m.gguf.part").read_bytes() == data[:HELD]
    origin.script(Serve())
    await daemon.download("m", origin.url("m.gguf"), **more)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert (daemon.models / "m.gguf").read_bytes() == data
    assert origin.requests[-1].headers["Range"] == f"bytes={HELD}-"


async def test_without_a_validator_the_part_stays_until_the_new_answer_is_the_file(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    origin.script(Serve(HELD, etag=None), Status(404))
    await daemon.download("m", origin.url("m.gguf"))
    assert (await daemon.settled("m"))["code"] == "not_found"
    assert "Range" not in origin.requests[-1].headers
    # Whoever knows the digest can still use it.
    origin.script(Serve(etag=None))
    await daemon.download("m", origin.url("m.gguf"), sha256=hashlib.sha256(data).hexdigest())
    assert (await daemon.settled("m"))["status"] == "complete"
    assert origin.requests[-1].headers["Range"] == f"bytes={HELD}-"


@pytest.mark.parametrize("has_digest", [False, True])
async def test_a_text_in_place_of_a_model_takes_no_bytes_from_it(
    daemon: Running, origin: Origin, data: bytes, has_digest: bool
) -> None:
    more = {"sha256": hashlib.sha256(data).hexdigest()} if has_digest else {}
    sorry = Status(200, {"Content-Type": "text/plain"}, b"Sorry, try again later.")
    assert (await break_off(daemon, origin, sorry, **more))["code"] == "not_a_model"
    assert (daemon.models / "m.gguf.part").read_bytes() == data[:HELD]


async def test_the_rest_of_a_file_is_no_page(daemon: Running, origin: Origin, data: bytes) -> None:
    page = Serve(etag=None, headers={"Content-Type": "text/html"})
    assert (await break_off(daemon, origin, page))["code"] == "not_a_model"
    assert (daemon.models / "m.gguf.part").read_bytes() == data[:HELD]


async def test_what_the_caller_calls_it_counts(daemon: Running, origin: Origin) -> None:
    origin.script(Status(200, {}, b"Sorry, this file is gone."))
    await daemon.download("m", origin.url("download"), filename="model.safetensors")
    assert (await daemon.settled("m"))["code"] == "not_a_model"


@pytest.mark.parametrize(
    "name", ["undefined''x.bin", "idna''%ff.bin", "punycode''%ff-.bin", "utf-16-le''%00%d8.bin", "no-such''x.bin"]
)
async def test_a_name_in_no_known_script_is_none(daemon: Running, origin: Origin, name: str) -> None:
    origin.script(Serve(headers={"Content-Disposition": f"attachment; filename*={name}"}))
    await daemon.download("m", origin.url("plain.gguf"))
    assert (await daemon.settled("m"))["file"] == "plain.gguf"

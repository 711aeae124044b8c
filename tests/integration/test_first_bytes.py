"""What is no model is refused before anything is written, and what is held survives it."""

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from arwd.store.names import Claim
from tests import running
from tests.models import gguf
from tests.origin import Origin, Raw, Serve, Status
from tests.running import Running

LOGIN = b"<!DOCTYPE html>\n<html><title>Sign in</title></html>" + b" " * 2_000
SOME = 400_000


def page(body: bytes = LOGIN, kind: str = "text/html; charset=utf-8") -> Status:
    return Status(200, {"Content-Type": kind}, body)


def in_chunks_of_one(body: bytes) -> Raw:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    return Raw(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nTransfer-Encoding: chunked\r\n\r\n' + chunks + b"0\r\n\r\n")


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names that were settled: nothing is written before that."""
    settled: list[str] = []
    settle = Claim.settle

    def watched(self: Claim, suggested: str | None) -> None:
        settle(self, suggested)
        settled.append(self.settled)

    monkeypatch.setattr(Claim, "settle", watched)
    return settled


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("m.gguf", page()),
        ("m.gguf", page(kind="application/octet-stream")),
        ("m.gguf", in_chunks_of_one(LOGIN)),
        ("m.bin", page(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "text/plain")),
        ("m.bin", page(b'{"error":"Not found"}', "application/json")),
        ("m.gguf", page(b"GGML" + bytes(2_000), "application/octet-stream")),
        ("m.safetensors", page(bytes(2_000), "application/octet-stream")),
        ("m.gguf", page(b"", "application/octet-stream")),
    ],
    ids=["page", "page by its bytes", "page byte by byte", "pointer", "error", "gguf", "safetensors", "empty"],
)
async def test_what_is_no_model_is_never_written(
    daemon: Running, origin: Origin, writes: list[str], name: str, step: Status | Raw
) -> None:
    origin.script(step)
    await daemon.download("m", origin.url(name))
    last = await daemon.settled("m")
    assert (last["status"], last["code"]) == ("error", "not_a_model")
    assert (daemon.files(), writes, len(origin.requests)) == ([], [], 1)


async def test_the_part_survives_a_login_page_and_goes_on_after_it(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    origin.script(Serve(SOME), page(), Serve())
    await daemon.download("m", origin.url())
    last = await daemon.settled("m")
    assert last["code"] == "not_a_model"
    part = daemon.models / "model.gguf.part"
    assert part.read_bytes() == data[:SOME]
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("resumed"))["offset"] == SOME
        assert (await stream.status("complete", "error"))["status"] == "complete"
    assert (daemon.models / "model.gguf").read_bytes() == data


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 3_000])
async def test_a_file_of_any_length_is_taken_byte_by_byte(daemon: Running, origin: Origin, length: int) -> None:
    body = bytes(range(1, 251)) * 12
    origin.script(in_chunks_of_one(body[:length]))
    await daemon.download("m", origin.url("m.bin"))
    assert (await daemon.settled("m"))["bytes"] == length
    assert (daemon.models / "m.bin").read_bytes() == body[:length]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_file_that_is_cut_off_in_its_first_bytes_is_asked_for_again(
    daemon: Running, origin: Origin, data: bytes, framing: str
) -> None:
    origin.script(Serve(100, framing="length" if framing == "close" else framing), Serve(framing=framing))
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "complete"
    assert (daemon.models / "model.gguf").read_bytes() == data


async def test_a_digest_decides_over_what_a_name_says(daemon: Running, origin: Origin) -> None:
    origin.data = b"not what it says" * 1_000
    await daemon.download("m", origin.url("m.gguf"), sha256=hashlib.sha256(origin.data).hexdigest())
    assert (await daemon.settled("m"))["status"] == "complete"
    await daemon.download("n", origin.url("n.gguf"))
    assert (await daemon.settled("n"))["code"] == "not_a_model"


@pytest.mark.parametrize("has_digest", [False, True])
async def test_a_pickle_is_refused_unless_its_user_says_otherwise(
    daemon: Running, tmp_path: Path, origin: Origin, has_digest: bool
) -> None:
    origin.data = pickle.dumps({"weights": bytes(2_000)})
    more = {"sha256": hashlib.sha256(origin.data).hexdigest()} if has_digest else {}
    await daemon.download("m", origin.url("pytorch_model.bin"), **more)
    last = await daemon.settled("m")
    assert (last["code"], daemon.files()) == ("unsafe_format", [])
    assert "allow_unsafe_formats" in last["error"]
    async with running.daemon(tmp_path / "trusting", allow_unsafe_formats=True) as trusting:
        await trusting.download("m", origin.url("pytorch_model.bin"), **more)
        assert (await trusting.settled("m"))["status"] == "complete"
        assert trusting.files() == ["pytorch_model.bin"]


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("m.bin", pickle.dumps(bytes(9_000)), "unsafe_format"),
        ("m.bin", LOGIN, "not_a_model"),
        ("m.gguf", bytes(9_000), "not_a_model"),
    ],
)
async def test_the_part_of_another_program_is_judged_by_the_same_rules(
    daemon: Running, origin: Origin, name: str, body: bytes, code: str
) -> None:
    origin.data = body
    part = daemon.models / f"{name}.part"
    part.write_bytes(body[:1_500])
    await daemon.download("m", origin.url(name))
    assert (await daemon.settled("m"))["code"] == code
    assert (daemon.files(), part.read_bytes()) == ([part.name], body[:1_500])


async def test_where_the_server_names_the_file_that_name_counts_too(daemon: Running, origin: Origin) -> None:
    origin.data = b"GGML" + bytes(2_000)
    origin.script(Serve(headers={"Content-Disposition": 'attachment; filename="m.gguf"'}))
    await daemon.download("m", origin.url("download?id=3"))
    assert (await daemon.settled("m"))["code"] == "not_a_model"
    origin.data = gguf(bytes(2_000))
    await daemon.download("m", origin.url("download?id=3"))
    assert (await daemon.settled("m"))["file"] == "m.gguf"

"""What goes out to an origin, byte for byte, and what may come back; how the file gets its name."""

from pathlib import Path

import pytest

from arwd import fs
from tests.canary import WORD
from tests.models import gguf
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running


async def test_a_signed_url_goes_out_byte_for_byte_on_every_hop(daemon: Running, origin: Origin) -> None:
    first, second = f"/a%2fb%7e/m.gguf?sig=a%2Fb%3D+{WORD}&e=%20", f"/c%7Ed.gguf?sig=c%2F{WORD}%3d&x=~"
    origin.script(Status(302, {"Location": second}), Serve())
    await daemon.download("m", origin.url(first[1:]))
    assert (await daemon.settled("m"))["status"] == "complete"
    assert [request.target for request in origin.requests] == [first, second]
    assert daemon.files() == ["m.gguf"]


async def test_every_request_asks_for_the_bytes_as_they_are(daemon: Running, origin: Origin) -> None:
    origin.script(Status(302, {"Location": "/x"}), Serve(100_000), Serve())
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "complete"
    assert {request.headers["Accept-Encoding"] for request in origin.requests} == {"identity"}
    assert not {"Cookie", "Authorization", "Referer"} & {name for seen in origin.requests for name in seen.headers}


async def test_an_encoding_that_nobody_asked_for_is_refused_before_a_byte_is_written(
    daemon: Running, origin: Origin
) -> None:
    origin.script(Serve(headers={"Content-Encoding": "gzip"}))
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["code"] == "invalid_response"
    assert daemon.files() == []


async def test_a_download_may_take_as_long_as_it_takes(daemon: Running) -> None:
    timeout = daemon.daemon.session.timeout
    assert timeout.total is None
    assert (timeout.sock_connect, timeout.sock_read) == (15.0, 60.0)
    assert daemon.daemon.session.auto_decompress is False
    assert daemon.daemon.session.trust_env is False


async def test_a_file_is_durable_before_it_has_its_name_and_the_name_before_it_is_told(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for name in ("fsync_file", "rename_without_replacing", "fsync_directory"):

        def noted(*arguments: Path, name: str = name, real: object = getattr(fs, name)) -> object:
            if name != "fsync_directory" or steps[-1:] == ["rename_without_replacing"]:
                steps.append(name)
            return real(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(fs, name, noted)
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.status("complete")
        assert steps == ["fsync_file", "rename_without_replacing", "fsync_directory"]


async def test_a_file_that_appears_under_the_name_meanwhile_is_never_replaced(daemon: Running, origin: Origin) -> None:
    origin.script(Stall(200_000), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url("m.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == 200_000)
        (daemon.models / "m.gguf").write_bytes(b"somebody else's")
        origin.go_on.set()
        failed = await stream.status("error")
    assert (failed["code"], "File exists" in failed["error"]) == ("io", True)
    assert (daemon.models / "m.gguf").read_bytes() == b"somebody else's"
    assert "m.gguf.part" in daemon.files()


async def test_a_newer_file_of_the_same_model_replaces_the_old_one_in_one_step(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    await daemon.download("m", origin.url("m.gguf"))
    first = await daemon.settled("m")
    origin.data = gguf(data[::-1])
    origin.script(Stall(200_000), Serve(etag='"v2"'))
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url("m.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == 200_000)
        assert (daemon.models / "m.gguf").read_bytes() == data
        origin.go_on.set()
        assert (await stream.status("restarted"))["code"] == "upstream_changed"
        last = await stream.status("complete")
    assert last["sha256"] != first["sha256"]
    assert (daemon.models / "m.gguf").read_bytes() == gguf(data[::-1])
    assert daemon.files() == ["m.gguf"]

"""The settings of the way out, from the outside: what is wrong ends the start, what is secret stays in."""

import stat
from pathlib import Path

import pytest

from tests import canary, processes
from tests.origin import Origin, Raw, Serve, Status

TOKEN = canary.secret("token")
PASSWORD = canary.secret("password")


def token_file(folder: Path, mode: int = 0o600) -> Path:
    path = folder / "hub.token"
    path.write_text(TOKEN)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('egress_allow = ["10.0.0.1/8"]', ("egress_allow", "10.0.0.1/8")),
        ('egress_deny = ["inside"]', ("egress_deny", "inside")),
        (f'proxy = "socks5://u:{PASSWORD}@p:1"', ("proxy", "Other kinds")),
        ('ca_bundle = "/nowhere/ca.pem"', ("ca_bundle", "/nowhere/ca.pem")),
        ('[credentials]\n"https://h.example/path" = "/x"', ("credentials", "exact origin")),
        ('[credentials]\n"https://h.example" = "/x-that-is-not-there"', ("chmod 600", "https://h.example")),
        ("[credentials]\n\"https://h.example\" = 'FILE'", ("chmod 600", "https://h.example")),
    ],
)
async def test_a_start_with_a_wrong_setting_names_it(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    file = tmp_path / "arwd.toml"
    file.write_text(text.replace("FILE", str(token_file(tmp_path, 0o644))))
    await processes.assert_refused(tmp_path, words, "--config", str(file))


async def test_tokens_and_passwords_stay_in(tmp_path: Path, origin: Origin, data: bytes) -> None:
    base = f"http://127.0.0.1:{origin.port}"
    token = token_file(tmp_path)
    environ = {
        "ARWD_CREDENTIALS": f"{base} = {token}",
        "ARWD_PROXY": "environment",
        "HTTP_PROXY": f"http://me:{PASSWORD}@127.0.0.1:{processes.free_port()}",
        "NO_PROXY": "127.0.0.1",
        "ARWD_LOG_LEVEL": "debug",
        "ARWD_RETRY_FOR": "0",
    }
    async with processes.child(tmp_path / "state", environ=environ) as daemon, daemon.events() as stream:
        # A server that repeats what it was told wherever it can.
        faults = {
            "echo": Raw(f"HTTP/1.1 500 {TOKEN}\r\nX-Echo: {TOKEN}\r\nContent-Length: -{TOKEN}\r\n\r\n".encode()),
            "away": Status(302, {"Location": f"ftp://{TOKEN}/{TOKEN}"}),
            "path": Status(302, {"Location": f"http://127.0.0.1:{processes.free_port()}/{TOKEN}/{TOKEN}.gguf"}),
        }
        for name, step in faults.items():
            origin.script(step)
            await daemon.download(name, f"{base}/m.gguf")
            assert (await stream.status("error"))["id"] == name
        await daemon.download("proxied", "http://models.example/m.gguf")
        assert (await stream.status("error"))["code"] == "connect"
        origin.script(Serve())
        await daemon.download("m", f"{base}/m.gguf")
        await stream.status("complete")
        for path in ("/probe", "/models", "/models/jobs"):
            assert (await daemon.call("GET", path))[0] == 200
        assert await daemon.stop() == 0
        await stream.rest()
    assert {seen.headers.get("Authorization") for seen in origin.requests} == {f"Bearer {TOKEN}"}
    # All that was said and left behind has been searched for them (tests/canary.py).
    assert stat.S_IMODE(token.stat().st_mode) == 0o600

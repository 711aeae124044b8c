"""The variables of the Hub's own client, from the outside: they do what they do there, and what is secret stays in."""

from pathlib import Path

import pytest

from tests import canary, hub, processes
from tests.hub import Repo
from tests.models import gguf

TOKEN = canary.secret("hub-variable")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"HF_ENDPOINT": "huggingface.co"}, ("hf_endpoint", "such as https://huggingface.co")),
        ({"HF_ENDPOINT": f"https://u:{TOKEN}@hub.example"}, ("hf_endpoint",)),
        ({"ARWD_CATALOG": "/nowhere/catalog.toml"}, ("/nowhere/catalog.toml", "setting catalog")),
        ({"HF_TOKEN": f"{TOKEN} {TOKEN}"}, ("HF_TOKEN", "visible ASCII")),
        ({"HF_TOKEN_PATH": f"/nowhere/{TOKEN}"}, ("HF_TOKEN_PATH", "chmod 600")),
        ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://hub.example"}, ("HF_TOKEN", "http://hub.example", "unencrypted")),
    ],
)
async def test_a_start_with_a_wrong_one_is_refused(
    tmp_path: Path, environ: dict[str, str], words: tuple[str, ...]
) -> None:
    await processes.assert_refused(tmp_path, words, environ=environ)


async def test_a_private_model_is_had_with_the_token_which_stays_in(tmp_path: Path) -> None:
    weights = gguf(b"." * 300)
    repos = {name: Repo({"m-Q4_K_M.gguf": weights}, private=True) for name in ("org/private", "org/foreign")}
    async with hub.running(repos) as served:
        served.tokens[TOKEN] = frozenset({"org/private"})
        environ = {"HF_ENDPOINT": served.url, "HF_TOKEN": TOKEN}
        async with processes.child(tmp_path / "state", environ=environ) as daemon:
            for name, expected in (("org/foreign", 404), ("org/private", 200)):
                status, body = await daemon.call("POST", "/models/download", {"ref": f"hf://{name}"})
                assert status == expected, body
            assert (await daemon.settled("org/private"))["status"] == "complete"
            assert (daemon.models / "m-Q4_K_M.gguf").read_bytes() == weights
            status, probe = await daemon.call("GET", "/probe")
            assert (status, probe["settings"]["hf_endpoint"]) == (200, served.url)
            for path in ("/models", "/models/jobs", "/metrics"):
                assert (await daemon.call("GET", path))[0] == 200
            assert await daemon.stop() == 0
        # All that was said and left behind has been searched for the token (tests/canary.py).
        assert {seen.headers.get("authorization") for seen in served.requests} == {f"Bearer {TOKEN}"}
        assert {seen.headers.get("authorization") for seen in served.storage.requests} == {None}

"""Repositories whose names are traps: refused as a whole, or contained. Nothing appears outside the directory."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import hub, running
from tests.hub import Answer, Hub, Repo
from tests.models import tensors, tree
from tests.running import Running

MODEL = {"config.json": b"{}", "model.safetensors": tensors(300)}
TRAPS = [
    "../x.json", "a/../../x.json", "a/../x.json", "./x.json", "/x.json", "//x.json", "a//x.json", "a/", "..\\x.json",
    "C:\\x.json", "C:x.json", "a\0.json", "a\n.json", "a\u202e.json", "CON.json", "a/nul.json", "aux/x.json",
    "com1.json", "x.json ", "x.json.", "a /x.json", " /x.json", ".../x.json", "config.json/x.json", "CONFIG.JSON",
    "Config.json", "config.json.part.json", "model.safetensors.part.json", "x.part/x.json", ".x.json.part.json.tmp",
    ".org--m.old.part.json.tmp/x.json", "a" * 300 + ".json", "/".join(["a"] * 40) + ".json", "a" * 121 + "/x.json",
    "x?.json", "x*.json", "~/x.json\x7f",
]  # fmt: skip


@pytest.fixture
async def served() -> AsyncIterator[Hub]:
    async with hub.running({"org/m": Repo(MODEL)}) as started:
        yield started


@pytest.fixture
async def daemon(tmp_path: Path, served: Hub) -> AsyncIterator[Running]:
    async with running.daemon(tmp_path / "a" / "b" / "state", hf_endpoint=served.url) as started:
        yield started


async def ask(daemon: Running, ref: str = "hf://org/m") -> tuple[int, Any]:
    return await daemon.call("POST", "/models/download", {"id": "m", "ref": ref})


def elsewhere(tmp_path: Path, daemon: Running) -> set[str]:
    """Every file and folder that is not arwd's own and not in the directory of the model."""
    state = daemon.models.parent
    own = {"arwd.db", "arwd.db-wal", "arwd.db-shm", "lock", "models.json", "ballast", "secrets", "models"}
    inside = (daemon.models / "org--m", daemon.models / "org--m.part")
    found = {path for path in tmp_path.rglob("*") if not any(path.is_relative_to(each) for each in inside)}
    return {str(path) for path in found - {state / name for name in own} if not state.is_relative_to(path)}


def listed(served: Hub, *paths: str) -> None:
    """The repository is said to have these as well, whatever may be in a URL or in a file system."""
    repo = served.repos["org/m"]
    repo.push(MODEL | dict.fromkeys(paths, b'{"trap": 1}'))


@pytest.mark.parametrize("trap", TRAPS, ids=ascii)
async def test_a_trap_condemns_the_whole_repository(tmp_path: Path, daemon: Running, served: Hub, trap: str) -> None:
    listed(served, trap)
    status, body = await ask(daemon)
    if trap.startswith(".") and not trap.startswith(("./", "../")):
        # What begins with a dot is no part of a model, so nobody asks for it.
        assert (status, (await daemon.settled("m"))["status"]) == (200, "complete")
        assert tree(daemon.models / "org--m") == MODEL
    else:
        assert (status, body["code"]) == (502, "invalid_response"), body
        assert "refused as a whole" in body["detail"]
        assert daemon.files() == []
        assert served.targets(beginning="/org/m/resolve/") == []
        assert (await daemon.call("GET", "/models/jobs"))[1]["jobs"] == []
    assert elsewhere(tmp_path, daemon) == set()


async def test_a_name_in_another_normal_form_is_one_name(tmp_path: Path, daemon: Running, served: Hub) -> None:
    listed(served, "cafe\u0301/x.json")
    await ask(daemon)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert set(tree(daemon.models / "org--m")) == {*MODEL, "caf\u00e9/x.json"}
    listed(served, "cafe\u0301/x.json", "caf\u00e9/x.json")
    assert (await ask(daemon))[0] == 502
    assert elsewhere(tmp_path, daemon) == set()


@pytest.mark.parametrize("link", ["blob/main/../x.json", "resolve/main/%2e%2e/x.json", "blob/main/a%2f..%2fx.json"])
async def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path, daemon: Running, served: Hub, link: str) -> None:
    listed(served, "x.json")
    status, body = await ask(daemon, f"{served.url}/org/m/{link}")
    assert 400 <= status < 503, body
    assert daemon.files() == []
    assert elsewhere(tmp_path, daemon) == set()


async def test_a_name_that_the_server_suggests_for_one_of_several_counts_for_nothing(
    tmp_path: Path, daemon: Running, served: Hub
) -> None:
    named = {"Content-Disposition": 'attachment; filename="../../../x.json"', "ETag": '"x"'}
    served.faults["config.json"] = [Answer(200, named, MODEL["config.json"])]
    served.storage.faults[hashlib.sha256(MODEL["model.safetensors"]).hexdigest()] = [
        Answer(200, named, MODEL["model.safetensors"])
    ]
    await ask(daemon)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert tree(daemon.models / "org--m") == MODEL
    assert elsewhere(tmp_path, daemon) == set()


async def test_what_is_no_model_is_not_taken_for_one_of_several(tmp_path: Path, daemon: Running, served: Hub) -> None:
    """A page in the place of a file."""
    served.faults["config.json"] = [Answer(200, {"Content-Type": "text/html", "ETag": '"x"'}, b"<!")]
    await ask(daemon)
    last = await daemon.settled("m")
    assert (last["status"], last["current_file"]) == ("error", "config.json")
    assert last["code"] in ("not_a_model", "sha256_mismatch")
    assert elsewhere(tmp_path, daemon) == set()


async def test_thousands_of_files_are_one_model(tmp_path: Path, daemon: Running, served: Hub) -> None:
    many = MODEL | {f"tokenizer/{number % 50}/{number}.json": b"%d" % number for number in range(2_000)}
    served.repos["org/m"].push(many)
    await ask(daemon)
    last = await daemon.settled("m")
    assert (last["status"], last["files"], last["files_done"]) == ("complete", len(many), len(many))
    assert tree(daemon.models / "org--m") == many
    assert elsewhere(tmp_path, daemon) == set()
    await daemon.call("POST", "/models/delete", {"id": "m"})
    assert daemon.files() == []

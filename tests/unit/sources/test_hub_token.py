"""The Hub's token: which variable has it, to whom it goes, and what is wrong with it is said without it."""

from pathlib import Path

import pytest

from arwd import net
from arwd.errors import SettingsError
from arwd.sources import hub_token
from arwd.sources.base import Options
from tests.internet import egress

HUB = "https://huggingface.co"


def written(path: Path, token: str, mode: int = 0o600) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(token)
    path.chmod(mode)
    return str(path)


def token_of(way_out: net.Egress, url: str = f"{HUB}/org/m") -> str | None:
    return way_out.credentials.headers(url).get("Authorization", "").removeprefix("Bearer ") or None


def introduced(environ: dict[str, str], endpoint: str = HUB, **options: dict[str, str]) -> net.Egress:
    way_out = egress(**options)
    hub_token.introduce(way_out, Options(hf_endpoint=endpoint), environ)
    return way_out


# Each has a token; those that come later must not matter.
VARIABLES = ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME"]


def surroundings(folder: Path, names: list[str]) -> dict[str, str]:
    values = {
        "HF_TOKEN": " by-HF_TOKEN\n",
        "HF_TOKEN_PATH": written(folder / "mine", "by-HF_TOKEN_PATH\n"),
        "HF_HOME": str(Path(written(folder / "home" / "token", "by-HF_HOME\n")).parent),
    }
    return {name: values[name] for name in names}


@pytest.mark.parametrize("first", range(len(VARIABLES)))
def test_the_first_variable_that_has_a_token_wins(first: int, tmp_path: Path) -> None:
    way_out = introduced(surroundings(tmp_path, VARIABLES[first:]))
    assert token_of(way_out) == f"by-{VARIABLES[first]}"
    assert way_out.secrets == {f"by-{VARIABLES[first]}"}, "no log may hold it"


@pytest.mark.parametrize("value", ["1", "ON", "yes", "True"])
def test_no_token_is_implied_where_that_is_switched_off(value: str, tmp_path: Path) -> None:
    environ = surroundings(tmp_path, VARIABLES)
    assert token_of(introduced({**environ, hub_token.DISABLED: value})) is None
    assert token_of(introduced({**environ, hub_token.DISABLED: "0"})) == "by-HF_TOKEN"


def test_what_is_switched_off_is_not_judged_either() -> None:
    assert token_of(introduced({"HF_TOKEN": "two words", hub_token.DISABLED: "1"})) is None


def test_empty_variables_are_not_set(tmp_path: Path) -> None:
    environ = {"HF_TOKEN": " \n", "HF_TOKEN_PATH": "", **surroundings(tmp_path, ["HF_HOME"])}
    assert token_of(introduced(environ)) == "by-HF_HOME"


def test_a_hub_s_home_without_a_token_is_one_for_its_caches(tmp_path: Path) -> None:
    assert token_of(introduced({"HF_HOME": str(tmp_path)})) is None


def test_the_file_of_a_login_is_taken_only_if_it_is_pointed_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    login = tmp_path / ".cache" / "huggingface" / "token"
    login.parent.mkdir(parents=True)
    written(login, "personal")
    environ = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}
    assert token_of(introduced(environ)) is None
    assert token_of(introduced({**environ, "HF_TOKEN_PATH": "~/.cache/huggingface/token"})) == "personal"
    assert token_of(introduced({**environ, "HF_HOME": "~/.cache/huggingface"})) == "personal"


@pytest.mark.parametrize(
    ("endpoint", "told", "not_told"),
    [
        (HUB, "https://HUGGINGFACE.co:443/x", "https://hf.co/x"),
        (HUB, f"{HUB}/api/models/x", "https://cdn-lfs.huggingface.co/x"),
        (HUB, f"{HUB}/x", "http://huggingface.co/x"),
        ("https://mirror.example:8443/hf", "https://mirror.example:8443/x", f"{HUB}/x"),
        ("https://mirror.example/", "https://mirror.example/x", "https://mirror.example:8443/x"),
        ("http://127.0.0.1:81", "http://127.0.0.1:81/x", "http://127.0.0.1:82/x"),
    ],
)
def test_it_goes_to_the_endpoint_s_exact_origin(endpoint: str, told: str, not_told: str) -> None:
    way_out = introduced({"HF_TOKEN": "t0ken"}, endpoint)
    assert (token_of(way_out, told), token_of(way_out, not_told)) == ("t0ken", None)


def test_what_credentials_say_of_that_origin_wins_and_nothing_else_is_looked_at(tmp_path: Path) -> None:
    files = {f"{HUB}:443": written(tmp_path / "explicit", "explicit")}
    for implied in ("implied", "two words"):
        way_out = introduced({"HF_TOKEN": implied}, credentials=files)
        assert way_out.secrets == {"explicit"}
        assert token_of(way_out) == "explicit"


def test_what_credentials_say_of_others_is_beside_it(tmp_path: Path) -> None:
    files = {"https://mirror.example": written(tmp_path / "other", "other")}
    assert introduced({"HF_TOKEN": "t0ken"}, credentials=files).secrets == {"other", "t0ken"}


def test_a_file_that_the_service_manager_keeps_may_be_open(tmp_path: Path) -> None:
    file = written(tmp_path / "hf", "t0ken", 0o440)
    environ = {"HF_TOKEN_PATH": file, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert token_of(introduced(environ)) == "t0ken"


@pytest.mark.parametrize("token", ["s3cr3t and more", "s3cr3t\nmore", "s3cr3t\x00", "s3cr3tü", "\udcffs3cr3t"])
def test_a_token_that_cannot_be_one_is_not_shown(token: str) -> None:
    with pytest.raises(SettingsError, match=r"variable HF_TOKEN is wrong.* visible ASCII") as caught:
        introduced({"HF_TOKEN": token})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("name", ["HF_TOKEN_PATH", "HF_HOME"])
@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        ("s3cr3t and more", 0o600, "one token of visible ASCII"),
        ("", 0o600, "one token"),
        ("s3cr3t", 0o644, "chmod 600"),
    ],
)
def test_a_file_that_is_no_token_s_is_named_with_its_variable(
    name: str, content: str, mode: int, sentence: str, tmp_path: Path
) -> None:
    file = written(tmp_path / "token", content, mode)
    with pytest.raises(SettingsError, match=rf"setting {name}\).*{sentence}") as caught:
        introduced({name: file if name == "HF_TOKEN_PATH" else str(tmp_path)})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("text", ["hf_s3cr3t", "/nowhere/hf_s3cr3t", "x" * 5_000])
def test_a_path_that_leads_nowhere_may_be_the_token_itself(text: str) -> None:
    with pytest.raises(SettingsError, match=r"Cannot read the file \(setting HF_TOKEN_PATH\).*chmod 600") as caught:
        introduced({"HF_TOKEN_PATH": text})
    assert text not in str(caught.value)


@pytest.mark.parametrize("name", ["HF_TOKEN_PATH", "HF_HOME"])
def test_a_home_that_nobody_has_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"variable {name} is wrong: its ~ names no user"):
        introduced({name: "~nobody-of-that-name/x"})


@pytest.mark.parametrize("name", VARIABLES)
def test_it_does_not_travel_unencrypted(name: str, tmp_path: Path) -> None:
    environ = surroundings(tmp_path, [name])
    with pytest.raises(SettingsError, match=rf"token of {name} would be sent to http://mirror\.example unencrypted"):
        introduced(environ, "http://mirror.example/hf")
    assert token_of(introduced({**environ, hub_token.DISABLED: "1"}, "http://mirror.example/hf")) is None
    assert token_of(introduced({}, "http://mirror.example/hf")) is None

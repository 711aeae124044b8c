"""A token goes to one origin, out of a file that only its owner can read."""

import os
from pathlib import Path

import pytest

from arwd.errors import SettingsError
from arwd.net import credentials

TOKEN = "hf_s3cr3t"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "hub.token"
    made.write_text(f"{TOKEN}\n")
    made.chmod(0o600)
    return made


@pytest.mark.parametrize(
    ("url", "is_told"),
    [
        ("https://hub.example/m.gguf?x=1", True),
        ("https://HUB.example:443/", True),
        ("http://hub.example/m", False),
        ("https://hub.example:8443/m", False),
        ("https://cdn.hub.example/m", False),
        ("https://hub.example.evil.example/m", False),
        ("https://hub.example./m", False),
        ("https://xhub.example/m", False),
    ],
)
def test_a_token_is_for_its_exact_origin(file: Path, url: str, is_told: bool) -> None:
    read = credentials.read({"https://Hub.example": str(file)}, [])
    assert read.headers(url) == ({"Authorization": f"Bearer {TOKEN}"} if is_told else {})


def test_each_origin_has_its_own_and_all_are_secrets(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("t0ken-2")
    other.chmod(0o400)
    read = credentials.read({"https://a.example": str(file), "http://127.0.0.1:80/": str(other)}, [])
    assert read.headers("http://127.0.0.1/m") == {"Authorization": "Bearer t0ken-2"}
    assert read.secrets == {TOKEN, "t0ken-2"}
    assert TOKEN not in repr(read) + str(vars(type(read)))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602])
def test_a_file_that_others_can_open_is_refused_with_the_remedy(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(SettingsError, match=rf"chmod 600 {file}") as caught:
        credentials.read({"https://a.example": str(file)}, [])
    assert TOKEN not in str(caught.value)


def test_what_the_service_manager_keeps_is_its_own_affair(file: Path) -> None:
    file.chmod(0o440)
    read = credentials.read({"https://a.example": str(file)}, [file.parent])
    assert read.secrets == {TOKEN}


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"t\xc3\xbcr", b"a\nb", b"a\x00b"])
def test_a_token_is_visible_ascii(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="one token of visible ASCII"):
        credentials.read({"https://a.example": str(file)}, [])


def test_a_missing_file_a_directory_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, sentence in (("gone", "Cannot read"), ("pipe", "no regular file"), ("", "Cannot read")):
        with pytest.raises(SettingsError, match=sentence):
            credentials.read({"https://a.example": str(tmp_path / name)}, [])


@pytest.mark.parametrize(
    "text", [TOKEN, f"/{TOKEN}", "", ".", "c2Vj/cmV0Cg==", "/nowhere/hub.token", "x" * 5000 + "/x"]
)
def test_a_token_in_place_of_its_file_is_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError, match=r"credentials for https://a\.example.* chmod 600") as caught:
        credentials.read({"https://a.example": text}, [])
    assert text in ("", ".") or text not in str(caught.value)


def test_a_file_that_is_too_large_for_a_token_is_refused(file: Path) -> None:
    file.write_bytes(b"a" * 70_000)
    with pytest.raises(SettingsError, match="more than 65536 bytes"):
        credentials.read({"https://a.example": str(file)}, [])


@pytest.mark.parametrize(
    "origin",
    [
        "hub.example", "ftp://hub.example", "https://", "https://hub.example/path", "https://u@hub.example",
        "https://hub.example?x", "https://hub.example#", "https://hub.example:0", "https://hub example", "*", "",
        "https://*.example",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused(file: Path, origin: str) -> None:
    with pytest.raises(SettingsError, match="exact origin"):
        credentials.read({origin: str(file)}, [])


@pytest.mark.parametrize(
    "origin",
    [
        "http://hub.example",
        "http://10.0.0.1:8080",
        "http://[fd00::1]",
        "http://hub.localhost",
        "http://localhost.",
    ],
)
def test_no_token_travels_unencrypted(file: Path, origin: str) -> None:
    with pytest.raises(SettingsError, match="unencrypted"):
        credentials.read({origin: str(file)}, [])


@pytest.mark.parametrize("origin", ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"])
def test_but_on_this_machine(file: Path, origin: str) -> None:
    assert credentials.read({origin: str(file)}, []).headers(f"{origin}/m") != {}


def test_an_origin_can_be_named_only_once(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"names https://a\.example twice"):
        credentials.read({"https://a.example": str(file), "https://A.example:443": str(file)}, [])

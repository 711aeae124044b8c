"""One rule for what a token is, and for the file that holds one."""

import os
import re
from pathlib import Path

import pytest

from arwd import tokens
from arwd.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "is_one"), [("t", True), ("hf_~!x", True), ("", False), ("a b", False), ("t\n", False), ("tür", False)]
)
def test_a_token_is_one_word_of_visible_ascii(text: str, is_one: bool) -> None:
    assert tokens.is_token(text) is is_one


def written(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "a.token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"t0ken", b"t0ken\n", b" \tt0ken\r\n\n"])
def test_what_is_around_a_token_does_not_belong_to_it(tmp_path: Path, content: bytes) -> None:
    assert tokens.token_in("x", written(tmp_path, content), may_be_open=False) == "t0ken"


def test_a_file_that_holds_none_is_named_with_its_setting_and_not_quoted(tmp_path: Path) -> None:
    path = written(tmp_path, b"s3cr3t and more")
    with pytest.raises(SettingsError, match=rf"{re.escape(str(path))} \(setting x\) must hold one token") as caught:
        tokens.token_in("x", path, may_be_open=False)
    assert "s3cr3t" not in str(caught.value)


def test_a_file_that_others_can_read_is_refused_unless_that_is_somebody_else_s_affair(tmp_path: Path) -> None:
    path = written(tmp_path, b"t0ken", 0o640)
    with pytest.raises(SettingsError, match=rf"Others can read .* \(setting x\): run chmod 600 {re.escape(str(path))}"):
        tokens.token_in("x", path, may_be_open=False)
    assert tokens.token_in("x", path, may_be_open=True) == "t0ken"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="no regular file"):
        tokens.token_in("x", tmp_path / "pipe", may_be_open=True)


def test_the_manager_keeps_a_directory_if_it_says_so() -> None:
    assert tokens.kept_by_manager({"CREDENTIALS_DIRECTORY": "/run/c"}) == (Path("/run/c"),)
    assert tokens.kept_by_manager({"CREDENTIALS_DIRECTORY": ""}) == tokens.kept_by_manager({}) == ()

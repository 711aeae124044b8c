"""What a token is, and the file that holds one. Rule: no sentence about a token shows it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from arwd import fs
from arwd.errors import SettingsError

_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_MOST: Final = 65_536
"""Bytes of a token file: more is no token, and no header would take it."""


def is_token(text: str) -> bool:
    """Is this one word of visible ASCII? Nothing else fits into a header as it is (RFC 9110 §5.5)."""
    return bool(_VISIBLE.fullmatch(text))


def token_in(setting: str, path: Path, *, may_be_open: bool) -> str:
    """The token in the file that a setting names, without the white space around it. SettingsError.

    `may_be_open`: who else can read the file is somebody else's affair.
    """
    data, status = fs.read_setting(setting, path, _MOST, is_secret=True)
    if status.st_mode & 0o077 and not may_be_open:
        raise SettingsError(f"Others can read the token file {path} (setting {setting}): run chmod 600 {path}")
    token = data.decode("latin-1").strip()
    if not is_token(token):
        raise SettingsError(f"The token file {path} (setting {setting}) must hold one token of visible ASCII.")
    return token


def kept_by_manager(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The directories of the service manager, whose own rules say who may read there."""
    kept = environ.get("CREDENTIALS_DIRECTORY")
    return (Path(kept),) if kept else ()

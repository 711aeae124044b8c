"""The token that the Hub's own client was given, for the Hub that is asked. Rule: only one that somebody pointed to.

`HF_TOKEN`, else the file `HF_TOKEN_PATH`, else `$HF_HOME/token`. Not that client's default, the file of `hf auth login`
in the home directory: a daemon would send a personal token for whoever may start downloads, to whatever mirror is set,
and nobody had told it to. Whoever wants that says so with `HF_TOKEN_PATH=~/.cache/huggingface/token`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from arwd import net, tokens
from arwd.errors import SettingsError
from arwd.sources.base import Options

DISABLED: Final = "HF_HUB_DISABLE_IMPLICIT_TOKEN"
_YES: Final = frozenset({"1", "on", "yes", "true"})


def introduce(egress: net.Egress, options: Options, environ: Mapping[str, str]) -> None:
    """Give the way out the Hub's token, unless `[credentials]` has one for that origin already. SettingsError."""
    origin = net.origin_of(options.hf_endpoint)
    if environ.get(DISABLED, "").lower() in _YES or egress.credentials.headers(options.hf_endpoint):
        return
    found = _found(environ)
    if found is None:
        return
    name, token = found
    if not net.is_private(origin):
        raise SettingsError(
            f"The token of {name} would be sent to {origin} unencrypted. Use https in hf_endpoint, or set {DISABLED}=1 "
            "to send none."
        )
    egress.credentials.add(origin, token)


def _found(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The token, after the name of the variable that it comes from."""
    if token := environ.get("HF_TOKEN", "").strip():
        if not tokens.is_token(token):
            raise SettingsError("The variable HF_TOKEN is wrong: a token is one word of visible ASCII.")
        return "HF_TOKEN", token
    if text := environ.get("HF_TOKEN_PATH"):
        return "HF_TOKEN_PATH", _in_file("HF_TOKEN_PATH", _expanded("HF_TOKEN_PATH", text), environ)
    if text := environ.get("HF_HOME"):
        path = _expanded("HF_HOME", text) / "token"
        # Most set it for its caches, and have not logged in.
        if os.path.lexists(path):
            return "HF_HOME", _in_file("HF_HOME", path, environ)
    return None


def _expanded(name: str, text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise SettingsError(f"The variable {name} is wrong: its ~ names no user of this machine.") from error


def _in_file(name: str, path: Path, environ: Mapping[str, str]) -> str:
    return tokens.token_in(name, path, may_be_open=path.parent in tokens.kept_by_manager(environ))

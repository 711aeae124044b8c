"""One log format; secrets are cut out at the handler, so that no caller has to think of them.

Rule: every line passes `redact`. Registered secrets, queries of URLs and userinfo never reach a stream.
"""

import datetime
import logging
import os
import sys
from collections.abc import Callable
from typing import Final, Literal

import msgspec

Format = Literal["text", "json"]

_MASK: Final = "•••"
_SHORTEST_SECRET: Final = 6
"""Shorter ones would mask ordinary words."""
_PRIORITY: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_ESCAPED: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


_ESCAPED_IN_JSON: Final = {code: f"\\u{code:04x}" for code in _ESCAPED}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, and how a line looks."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is written."""
    log_format: Format = "text"
    """`text` for people, `json` for machines."""


class Formatter(logging.Formatter):
    """One line a record: no control character, no secret. Tracebacks are folded into the line."""

    def __init__(
        self, form: Format, redact: Callable[[str], str], secrets: frozenset[str], *, is_journal: bool
    ) -> None:
        super().__init__()
        self._form = form
        self._redact = redact
        self._secrets = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        """The line of this record."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        extra = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if self._form == "json":
            fields = {"time": moment, "level": record.levelname.lower(), "logger": record.name, "message": text}
            values = {name: self._clean(value) for name, value in {**fields, **extra}.items()}
            return msgspec.json.encode(values, enc_hook=str).decode().translate(_ESCAPED_IN_JSON)
        tail = "".join(f" {name}={value}" for name, value in extra.items() if name != "event")
        # The journal stamps and ranks lines itself; `<N>` is how it is told the rank (sd-daemon(3)).
        level = record.levelname
        head = f"<{_PRIORITY.get(level, 6)}>" if self._is_journal else f"{moment} {level.lower():7} "
        line = f"{head}{text}{tail}"
        return self.redact(line).translate(_ESCAPED)

    def _clean(self, value: object) -> object:
        if isinstance(value, int | float | bool | None):
            return value
        return self.redact(str(value)).encode("utf-8", "backslashreplace").decode()

    def redact(self, line: str) -> str:
        """The line without secrets."""
        line = self._redact(line)
        for secret in self._secrets:
            line = line.replace(secret, _MASK)
        return line


def configure(options: Options, redact: Callable[[str], str], secrets: frozenset[str]) -> None:
    """Send everything to standard error in one format; `redact` knows what of a URL may be shown."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(options.log_format, redact, secrets, is_journal="JOURNAL_STREAM" in os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(options.log_level.upper())
    # Requests are counted by the metrics; uvicorn's access lines would repeat every query string.
    logging.getLogger("uvicorn").setLevel(max(root.level, logging.WARNING))
    logging.getLogger("asyncio").setLevel(max(root.level, logging.WARNING))
    logging.getLogger("sse_starlette").setLevel(max(root.level, logging.WARNING))

"""A strict parser of event streams, written from WHATWG HTML §9.2.6: it refuses what the text only tolerates."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Message:
    """One dispatched event."""

    id: str
    event: str
    data: str

    @property
    def payload(self) -> dict[str, Any]:
        return json.loads(self.data)


class Malformed(Exception):
    """Legal for a lenient reader perhaps; not what arwd promises to send."""


class Parser:
    """Feed it bytes in any pieces; it returns the events they complete."""

    def __init__(self) -> None:
        self._buffer = b""
        self._fields: dict[str, str] = {}
        self.last_id = ""
        self.retry: int | None = None
        self.comments: list[str] = []

    def feed(self, data: bytes) -> list[Message]:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        found = [self._line(line.decode("utf-8", "strict")) for line in lines]
        return [message for message in found if message is not None]

    def _line(self, line: str) -> Message | None:
        if "\r" in line or "\0" in line:
            raise Malformed(f"CR or NUL in {line!r}")
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            self.comments.append(line[1:].removeprefix(" "))
            return None
        name, colon, value = line.partition(":")
        if not colon or not value.startswith(" "):
            raise Malformed(f"not `field: value`: {line!r}")
        value = value[1:]
        if name == "retry":
            self.retry = int(value)
        elif name not in ("id", "event", "data") or name in self._fields:
            raise Malformed(f"unknown or repeated field in {line!r}")
        else:
            self._fields[name] = value
        return None

    def _dispatch(self) -> Message | None:
        fields, self._fields = self._fields, {}
        if not fields:
            return None
        if "data" not in fields or "id" not in fields:
            raise Malformed(f"an event without data or id: {fields}")
        if not fields["id"].isdigit() or int(fields["id"]) >= 2**53:
            raise Malformed(f"an id that is not a whole number below 2^53: {fields['id']!r}")
        self.last_id = fields["id"]
        return Message(fields["id"], fields.get("event", "message"), fields["data"])

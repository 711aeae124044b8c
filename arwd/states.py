"""The life of a job. Rule: a job changes state only through `advance`, and the table below is the whole of it."""

import enum
from collections.abc import Mapping
from types import MappingProxyType


class State(enum.StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class Trigger(enum.StrEnum):
    """What moves a job."""

    START = "start"
    """A slot is free: the transfer begins."""
    FETCHED = "fetched"
    """Every byte is on disk."""
    VERIFIED = "verified"
    """Length and digest hold, the file is under its final name."""
    HAVE = "have"
    """The bytes were here already."""
    RESTART = "restart"
    """The digest does not hold, and some of the bytes came from an earlier answer: all are fetched anew, once."""
    UNCHANGED = "unchanged"
    """The server says that our copy is current (304)."""
    PAUSE = "pause"
    """A user asks for it, or the disk is full."""
    RESUME = "resume"
    CANCEL = "cancel"
    FAIL = "fail"
    REQUEUE = "requeue"
    """The daemon stops, or found the job unfinished at boot."""


class IllegalTransition(Exception):
    """A trigger that the table does not allow: a bug in arwd, never a client's mistake."""


_S, _T = State, Trigger

TRANSITIONS: Mapping[State, Mapping[Trigger, State]] = MappingProxyType(
    {
        _S.QUEUED: {
            _T.START: _S.DOWNLOADING,
            _T.HAVE: _S.COMPLETED,
            _T.PAUSE: _S.PAUSED,
            _T.CANCEL: _S.CANCELED,
            _T.FAIL: _S.FAILED,
        },
        _S.DOWNLOADING: {
            _T.FETCHED: _S.VERIFYING,
            _T.UNCHANGED: _S.COMPLETED,
            _T.PAUSE: _S.PAUSED,
            _T.CANCEL: _S.CANCELED,
            _T.FAIL: _S.FAILED,
            _T.REQUEUE: _S.QUEUED,
        },
        _S.VERIFYING: {
            _T.VERIFIED: _S.COMPLETED,
            _T.RESTART: _S.DOWNLOADING,
            _T.PAUSE: _S.PAUSED,
            _T.CANCEL: _S.CANCELED,
            _T.FAIL: _S.FAILED,
            _T.REQUEUE: _S.QUEUED,
        },
        _S.PAUSED: {_T.RESUME: _S.QUEUED, _T.CANCEL: _S.CANCELED},
        _S.COMPLETED: {},
        _S.FAILED: {},
        _S.CANCELED: {},
    }
)

TERMINAL = frozenset(state for state, exits in TRANSITIONS.items() if not exits)
"""States without an exit: a request after one of them makes a new job."""


def advance(state: State, trigger: Trigger) -> State:
    """The state after `trigger`; IllegalTransition if the table has no such entry."""
    try:
        return TRANSITIONS[state][trigger]
    except KeyError:
        raise IllegalTransition(f"{trigger} is not possible in state {state}") from None


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.QUEUED}"]
    for state, exits in TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {trigger}" for trigger, target in exits.items()]
    lines += [f"    {state} --> [*]" for state in TRANSITIONS if state in TERMINAL]
    return "\n".join(lines)

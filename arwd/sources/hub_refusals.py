"""What it means when the Hub refuses. PURE. Rule: no more is told apart than the Hub itself does, and every sentence
says what to do.
"""

import re
from collections.abc import Mapping
from typing import Final

from arwd import errors
from arwd.net import fields
from arwd.sources.hub_links import HubRef

_SECONDS: Final = re.compile(r"[0-9]{1,6}")
_NOT_TAKEN: Final = "Invalid credentials in Authorization header"
_DISABLED: Final = "Access to this resource is disabled."


def refusal(status: int, headers: Mapping[str, str], ref: HubRef, endpoint: str) -> errors.ArwdError:
    """The error for an answer that is not 200. `headers` are looked up without regard to case."""
    code, message = headers.get("X-Error-Code"), headers.get("X-Error-Message", "")
    page = f"{endpoint}/{ref.repository}"
    match status, code:
        case 429, _:
            return _too_many(headers, endpoint)
        case ((401 | 403), "GatedRepo"):
            return errors.ModelForbidden(
                f"{page} is gated: accept its licence there, and set HF_TOKEN to a token of the account that did. If "
                "you have asked for access already, whoever publishes it must grant it first."
            )
        case 401, _ if message.startswith(_NOT_TAKEN):
            return errors.ModelForbidden(
                f"{endpoint} does not take the token: it is wrong, or was revoked. See HF_TOKEN."
            )
        case _ if message.startswith(_DISABLED):
            return errors.ModelForbidden(f"{page} is disabled by the Hub: its page says why. Choose another model.")
        case 403, _:
            return errors.ModelForbidden(
                f"The token may not read {page}: give it the right to, or set another. See HF_TOKEN."
            )
        case _, "RevisionNotFound":
            return errors.ModelNotFound(f"{page} has no branch, tag or commit {ref.revision}: check the spelling.")
        case _, "EntryNotFound":
            return no_such_file(ref, endpoint)
        case 401, _:
            return errors.ModelNotFound(
                f"{page} is missing or private; without a token the Hub does not say which. Check the spelling, or set "
                "HF_TOKEN to a token that may read it."
            )
        case ((404 | 410), _):
            return errors.ModelNotFound(
                f"There is no {page}, or it is private and the token, if one is set, may not read it. Check the "
                "spelling and HF_TOKEN."
            )
        case _ if status >= 500:
            return errors.SourceUnreachable(f"{endpoint} is out of order just now (status {status}); try again later.")
    return errors.HttpStatus(f"{endpoint} refuses to tell of {ref.repository} (status {status}).", status)


def no_such_file(ref: HubRef, endpoint: str) -> errors.ModelNotFound:
    """The repository is there, and the file that was linked is not."""
    name = (ref.path or "").encode("unicode_escape").decode("ascii")
    return errors.ModelNotFound(
        f"{endpoint}/{ref.repository} has no file {name} at {ref.revision}: check the spelling."
    )


def _too_many(headers: Mapping[str, str], endpoint: str) -> errors.TooManyRequests:
    seconds, later = fields.limited_for(headers.get("RateLimit", "")), headers.get("Retry-After", "")
    if seconds is None and _SECONDS.fullmatch(later):
        seconds = int(later)
    when = "later" if seconds is None else f"in {seconds} s"
    return errors.TooManyRequests(
        f"{endpoint} takes no more requests for now; try again {when}. With a token (HF_TOKEN) it takes more.",
        429,
        seconds,
    )

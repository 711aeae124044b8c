"""What a disk may refuse without ending anything: it is said in the log, and the job goes its way."""

import contextlib
import logging
from collections.abc import Iterator

from arwd.errors import StorageError

log = logging.getLogger(__name__)


@contextlib.contextmanager
def tolerated(what: str, event: str) -> Iterator[None]:
    """`what` is the sentence for people, `event` its name for machines."""
    try:
        yield
    except StorageError as error:
        log.warning("%s: %s", what, error, extra={"event": event})

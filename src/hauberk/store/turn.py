"""One object's turn in a sweep over many: whatever is wrong with it, the others get theirs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from hauberk import fault
from hauberk.store.client import ApiError
from hauberk.store.storage import Stored

log = logging.getLogger(__name__)


@contextmanager
def turn(sweep: str, stored: Stored) -> Iterator[None]:
    """What fails is said, with the object's name, and left to the next sweep.

    Raises `ApiError` 503: the store cannot be written, which is no object's fault.
    """
    try:
        yield
    except ApiError as error:
        if error.code == 503:
            raise
        log.error("%s: %s: %d %s", sweep, "/".join(filter(None, stored.key)), error.code, error.reason)
    except Exception as error:  # noqa: BLE001 - docs/decisions/0006: one object does not end the daemon
        log.error("%s: %s: fault: %s", sweep, "/".join(filter(None, stored.key)), fault.described(error))

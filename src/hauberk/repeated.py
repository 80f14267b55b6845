"""A log that says the same thing over and over says it once a second."""

import logging
import time
from collections.abc import Callable


class OnceASecond(logging.Filter):
    """Drops a line that is the last one again, until a second has passed.

    asyncio says 128 times for each attempt that no descriptor is left to accept a connection with.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last = ""
        self._said_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        said, moment = record.getMessage(), self._clock()
        if said == self._last and moment - self._said_at < 1.0:
            return False
        self._last, self._said_at = said, moment
        return True

"""A line on standard error for each step, with what was found and the time gone by."""

import sys
import time


class Progress:
    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        gone = int(time.monotonic() - self._began)
        sys.stderr.write(f"{gone // 60:3}:{gone % 60:02} {text}\n")
        sys.stderr.flush()

"""The log: one line an event on standard error, for people and for grep."""

import logging
import sys
import time

from hauberk.repeated import OnceASecond


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record).replace("\n", "\\n")
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{moment}.{int(record.msecs):03d}Z {record.levelname.lower()} {record.name}: {message}"


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send everything that is logged to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("%(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("asyncio").addFilter(OnceASecond())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)

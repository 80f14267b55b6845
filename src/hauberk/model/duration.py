"""Durations as Istio and the Gateway API write them: `1.5s`, `250ms`, `1h30m`."""

import re

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
LONGEST = 9_223_372_036.0
"""Seconds: 2⁶³ ns, the longest that the programs which such objects were made for can read."""
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """`text` in seconds.

    Raises:
        ValueError: `text` is no duration, or longer than `LONGEST`.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"expected a duration such as 1.5s, 250ms or 1h30m, found {text[:60]!r}")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if seconds > LONGEST:
        raise ValueError(f"expected a duration of at most {LONGEST:.0f}s, found {text[:60]!r}")
    return seconds

"""Durations as Kubernetes objects write them (`1h30m`, `0.5s`, `250ms`) in Protocol Buffers."""

import re

from google.protobuf import duration_pb2

_UNITS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")


def nanoseconds(text: str) -> int:
    """The length of a duration.

    Raises:
        ValueError: it is not one.
    """
    position, total = 0, 0.0
    for part in _PART.finditer(text):
        if part.start() != position:
            break
        total += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if position != len(text) or not text:
        raise ValueError(f"duration: expected a number and a unit such as 1.5s or 250ms, found {text!r}")
    return round(total)


def duration(text: str) -> duration_pb2.Duration:
    """The same as a message.

    Raises:
        ValueError: it is not one.
    """
    seconds, rest = divmod(nanoseconds(text), 1_000_000_000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest)

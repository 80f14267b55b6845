"""Durations as Kubernetes objects write them (`1h30m`, `0.5s`, `250ms`) in Protocol Buffers."""

from google.protobuf import duration_pb2

from hauberk.model.duration import parse_duration


def duration(text: str) -> duration_pb2.Duration:
    """`text` as a message.

    Raises:
        ValueError: it is no duration.
    """
    seconds, rest = divmod(round(parse_duration(text) * 1e9), 1_000_000_000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest)

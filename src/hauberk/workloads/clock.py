"""RFC 3339 times as the API writes them."""

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """`2026-01-02T03:04:05Z`, as `metav1.Time`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str) -> datetime:
    """The moment that `metav1.Time` or `metav1.MicroTime` says.

    Raises:
        ValueError: it is no RFC 3339 time.
    """
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def seconds_since(text: str | None, now: datetime) -> float:
    """Seconds from `text` until `now`; 0 without a time."""
    return (now - parse(text)).total_seconds() if text else 0.0

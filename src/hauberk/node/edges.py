"""Who calls whom, how often and how fast: from the proxies' metrics at two moments (pure).

Metrics bear Istio's standard names; the inbound proxy's count (`reporter="destination"`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(?<![a-zA-Z0-9_])([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")

REQUESTS = "istio_requests_total"
DURATION = "istio_request_duration_milliseconds_bucket"
OPENED, CLOSED = "istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"
SENT, RECEIVED = "istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"
USED = frozenset({REQUESTS, DURATION, OPENED, CLOSED, SENT, RECEIVED})

LARGEST_COUNT = 2.0**64

OUTCOMES = ("success", "denied", "error")
GRPC_DENIED = frozenset({"7", "16"})
"""PERMISSION_DENIED and UNAUTHENTICATED."""
GRPC_ERRORS = frozenset({"2", "4", "8", "12", "13", "14", "15"})
"""What a server answers when it fails: UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL,
UNAVAILABLE, DATA_LOSS."""

Sample = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name and its labels, sorted."""


def parse(text: str) -> dict[Sample, float]:
    """The samples that edges are made of, from the Prometheus text format.

    Raises:
        ValueError: one of them has no count, or a bucket has no bound.
    """
    samples = {}
    for line in text.splitlines():
        matched = _LINE.match(line)
        if matched is None or matched[1] not in USED:
            continue
        labels = {name: _ESCAPE.sub(_unescape, value) for name, value in _LABEL.findall(matched[2] or "")}
        if labels.get("reporter", "destination") == "destination":
            value = float(matched[3])
            bounded = matched[1] != DURATION or float(labels.get("le") or 0) > 0
            if not 0 <= value <= LARGEST_COUNT or not bounded:
                raise ValueError(f"expected a count and, of a bucket, its bound, found {line[:200]!r}")
            samples[matched[1], tuple(sorted(labels.items()))] = value
    return samples


def _unescape(match: re.Match[str]) -> str:
    return {"n": "\n"}.get(match[1], match[1])


@dataclass
class _Edge:
    outcomes: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0.0))
    buckets: dict[float, float] = field(default_factory=dict)
    bytes: float = 0.0
    opened: float = 0.0
    open: float = 0.0
    mtls: bool = True


def edges(
    before: Mapping[Sample, float], after: Mapping[Sample, float], seconds: float
) -> list[dict[str, Any]]:
    """One object an edge: rates over `seconds`, quantiles in milliseconds, None where there was nothing."""
    found: dict[tuple[str, ...], _Edge] = {}
    for (name, labels), value in after.items():
        label = dict(labels)
        key = tuple(
            label.get(part) or ""
            for part in (
                "source_principal", "source_workload", "source_workload_namespace",
                "destination_principal", "destination_workload", "destination_workload_namespace",
            )
        )  # fmt: skip
        edge = found.setdefault(key, _Edge())
        # A counter that went back is one of a proxy that was started again.
        earlier = before.get((name, labels), 0.0)
        grown = value - earlier if value >= earlier else value
        edge.mtls &= label.get("connection_security_policy", "mutual_tls") == "mutual_tls"
        if name == REQUESTS:
            edge.outcomes[outcome(label)] += grown
        elif name == DURATION:
            bound = float(label["le"])
            edge.buckets[bound] = edge.buckets.get(bound, 0.0) + grown
        elif name in {SENT, RECEIVED}:
            edge.bytes += grown
        elif name == OPENED:
            edge.opened += grown
            edge.open += value
        elif name == CLOSED:
            edge.open -= value
    return [_object(key, edge, seconds) for key, edge in sorted(found.items())]


def outcome(label: Mapping[str, str]) -> str:
    """What became of a request, by the status of HTTP or of gRPC: one of `OUTCOMES`.

    The caller's own mistakes (404, INVALID_ARGUMENT) are answers like others.
    """
    code, grpc = label.get("response_code", ""), label.get("grpc_response_status", "")
    if code in {"401", "403"} or grpc in GRPC_DENIED:
        return "denied"
    if code.startswith("5") or code == "0" or grpc in GRPC_ERRORS:
        return "error"
    return "success"


def _object(key: tuple[str, ...], edge: _Edge, seconds: float) -> dict[str, Any]:
    requests = sum(edge.outcomes.values())
    return {
        "source": {"spiffe_id": key[0], "workload": key[1], "namespace": key[2]},
        "destination": {"spiffe_id": key[3], "workload": key[4], "namespace": key[5]},
        "requests_per_second": requests / seconds,
        "outcomes_per_second": {name: count / seconds for name, count in edge.outcomes.items()},
        "success_rate": edge.outcomes["success"] / requests if requests else None,
        "p50_ms": quantile(edge.buckets, 0.5),
        "p99_ms": quantile(edge.buckets, 0.99),
        "tcp_bytes_per_second": edge.bytes / seconds,
        "connections_per_second": edge.opened / seconds,
        "open_connections": int(max(0.0, edge.open)),
        "mtls": edge.mtls,
    }


def quantile(buckets: Mapping[float, float], part: float) -> float | None:
    """From cumulative buckets, linear within a bucket, as Prometheus does; None without observations."""
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank = part * buckets[bounds[-1]]
    lower_bound = lower_count = 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == float("inf"):
                return lower_bound
            inside = buckets[bound] - lower_count
            return lower_bound + (bound - lower_bound) * ((rank - lower_count) / inside if inside else 1.0)
        lower_bound, lower_count = bound, buckets[bound]
    return lower_bound

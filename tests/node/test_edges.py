"""Rates and quantiles from the proxies' metrics."""

import math

import pytest

from hauberk.node.edges import edges, outcome, parse, quantile

LABELS = (
    'reporter="destination",source_principal="spiffe://d/ns/a/sa/b",source_workload="b",destination_workload="c",'
    'connection_security_policy="mutual_tls"'
)


def text(requests: int, failures: int, fast: int, opened: int, closed: int) -> str:
    total = requests + failures
    return f"""# TYPE istio_requests_total counter
istio_requests_total{{{LABELS},response_code="200"}} {requests}
istio_requests_total{{{LABELS},response_code="503"}} {failures}
istio_requests_total{{reporter="source",source_workload="b",response_code="200"}} 999
istio_request_duration_milliseconds_bucket{{{LABELS},le="1"}} {fast}
istio_request_duration_milliseconds_bucket{{{LABELS},le="10"}} {total}
istio_request_duration_milliseconds_bucket{{{LABELS},le="+Inf"}} {total}
istio_tcp_connections_opened_total{{{LABELS}}} {opened}
istio_tcp_connections_closed_total{{{LABELS}}} {closed}
istio_tcp_sent_bytes_total{{{LABELS}}} {total * 100}
something_else 3
"""


def test_an_edge_has_rates_of_the_time_between() -> None:
    [edge] = edges(parse(text(100, 0, 100, 5, 5)), parse(text(190, 10, 150, 9, 6)), 10)
    assert edge["requests_per_second"] == 10
    assert edge["success_rate"] == 0.9
    assert edge["outcomes_per_second"] == {"success": 9, "denied": 0, "error": 1}
    assert edge["p50_ms"] == 1.0
    assert 9 < edge["p99_ms"] <= 10
    assert edge["open_connections"] == 3
    assert edge["connections_per_second"] == 0.4
    assert edge["tcp_bytes_per_second"] == 1000
    assert edge["mtls"] is True
    assert edge["source"] == {"spiffe_id": "spiffe://d/ns/a/sa/b", "workload": "b", "namespace": ""}


@pytest.mark.parametrize(
    ("code", "grpc", "expected"),
    [
        ("200", "", "success"),
        ("404", "", "success"),
        ("403", "", "denied"),
        ("401", "", "denied"),
        ("503", "", "error"),
        ("0", "", "error"),
        ("200", "0", "success"),
        ("200", "5", "success"),
        ("200", "7", "denied"),
        ("200", "16", "denied"),
        ("200", "14", "error"),
    ],
)
def test_the_outcome_of_a_request(code: str, grpc: str, expected: str) -> None:
    assert outcome({"response_code": code, "grpc_response_status": grpc}) == expected


def test_a_proxy_that_was_started_again_gives_no_negative_rate() -> None:
    [edge] = edges(parse(text(100, 0, 100, 0, 0)), parse(text(10, 0, 10, 0, 0)), 1)
    assert edge["requests_per_second"] == 10


def test_quantiles_of_nothing_and_of_what_lies_beyond_the_last_bound() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0, math.inf: 0}, 0.5) is None
    assert quantile({1.0: 0, math.inf: 4}, 0.5) == 1.0

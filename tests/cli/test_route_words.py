"""Routes and traffic policies in words."""

from typing import Any

import pytest

from hauberk.cli.route_words import policy_in_words, routes_in_words

WEB = {"destination": {"host": "web", "subset": "v1"}, "weight": 90}
NEW = {"destination": {"host": "web", "subset": "v2", "port": {"number": 80}}, "weight": 10}


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"route": [{"destination": {"host": "web"}}]}, "every call → web"),
        ({"match": [{}], "route": [WEB, NEW]}, "every call → 90 % web subset v1 / 10 % web:80 subset v2"),
        (
            {
                "match": [{"uri": {"prefix": "/pay"}, "method": {"exact": "POST"}}, {"headers": {"x": {}}}],
                "route": [NEW],
                "timeout": "2s",
                "retries": {"attempts": 3, "perTryTimeout": "1s", "retryOn": "5xx"},
            },
            "path /pay* and method = POST or header x → web:80 subset v2, within 2s, 3 retries, each within 1s on 5xx",
        ),
        ({"redirect": {"uri": "/new", "redirectCode": 308}}, "every call → redirect uri /new, redirectCode 308"),
        ({"directResponse": {"status": 503}}, "every call → answered 503 by the proxy itself"),
        (
            {"route": [WEB], "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 0.5}}}},
            "every call → web subset v1, abort for 0.5 %: httpStatus 500",
        ),
        (
            {"match": [{"withoutHeaders": {"a": {"regex": "b+"}}, "sourceNamespace": "bank"}], "route": [WEB],
             "mirrors": [{"destination": {"host": "copy"}}]},
            "without header a ~ b+ and from namespace bank → web subset v1, a copy to copy",
        ),
    ],
)  # fmt: skip
def test_a_route(route: dict[str, Any], said: str) -> None:
    assert list(routes_in_words({"http": [route]})) == [said]


def test_routes_of_tls_and_tcp() -> None:
    tls = {"match": [{"sniHosts": ["a.test", "b.test"], "port": 443}], "route": [WEB]}
    assert list(routes_in_words({"tls": [tls], "tcp": [{"route": [NEW]}]})) == [
        "TLS sniHosts a.test,b.test and port 443 → web subset v1",
        "TCP every call → web:80 subset v2",
    ]


def test_a_traffic_policy() -> None:
    policy = {
        "loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}},
        "connectionPool": {"http": {"http2MaxRequests": 5}, "tcp": {"maxConnections": 2}},
        "outlierDetection": {"consecutive5xxErrors": 3, "baseEjectionTime": "30s"},
        "portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}],
    }
    assert list(policy_in_words(policy)) == [
        "balanced by the hash of header x-user",
        "limits of http: http2MaxRequests 5",
        "limits of tcp: maxConnections 2",
        "endpoints that fail are left out: consecutive5xxErrors 3, baseEjectionTime 30s",
        "port 80: TLS of its callers: mode DISABLE",
    ]

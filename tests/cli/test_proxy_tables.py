"""Envoy's resources as rows for people."""

from typing import Any

from hauberk.cli.proxy_tables import port_of, rows_of


def rows(section: str, resource: dict[str, Any]) -> list[tuple[str, ...]]:
    return list(rows_of(section, resource))


def address(ip: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": ip, "port_value": port}}


def test_a_listener_is_a_row_for_each_chain() -> None:
    listener = {
        "name": "virtualInbound",
        "address": address("0.0.0.0", 15006),
        "filter_chains": [
            {
                "filter_chain_match": {
                    "destination_port": 80,
                    "transport_protocol": "tls",
                    "application_protocols": ["istio-http"],
                },
                "filters": [
                    {"name": "rbac", "typed_config": {"rules": {}}},
                    {"typed_config": {"rds": {"route_config_name": "inbound|80||"}}},
                ],
            }
        ],
        "default_filter_chain": {"filters": [{"typed_config": {"cluster": "BlackHoleCluster"}}]},
    }
    assert rows("listeners", listener) == [
        ("0.0.0.0", "15006", "port 80; tls; istio-http", "Route inbound|80||"),
        ("0.0.0.0", "15006", "ALL", "Cluster BlackHoleCluster"),
    ]
    assert port_of("listeners", listener) == 15006


def test_routes_tell_where_they_lead() -> None:
    weighted = {"clusters": [{"name": "a", "weight": 90}, {"name": "b", "weight": 10}]}
    configuration = {
        "name": "web.bank.svc.cluster.local:80",
        "virtual_hosts": [
            {
                "domains": ["web", "web.bank", "web.bank.svc"],
                "routes": [
                    {
                        "match": {
                            "prefix": "/v2",
                            "headers": [{"name": "x", "string_match": {"exact": "1"}}],
                        },
                        "route": {"weighted_clusters": weighted},
                    },
                    {"match": {"path": "/old"}, "redirect": {"path_redirect": "/new"}},
                    {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
                ],
            }
        ],
    }
    shown = rows("routes", configuration)
    assert [row[2:] for row in shown] == [
        ("/v2* header x=1", "a (90), b (10)"),
        ("/old", "redirect /new"),
        ("/*", "status 404"),
    ]
    assert shown[0][1] == "web, web.bank, +1 more" and port_of("routes", configuration) == 80


def test_clusters_and_endpoints() -> None:
    cluster = {
        "name": "outbound|80|v1|web.bank.svc.cluster.local",
        "type": "EDS",
        "transport_socket_matches": [{"transport_socket": {"name": "envoy.transport_sockets.tls"}}],
    }
    assert rows("clusters", cluster) == [
        ("web.bank.svc.cluster.local", "80", "v1", "outbound", "EDS", "mTLS")
    ]
    assert rows("clusters", {"name": "BlackHoleCluster"}) == [
        ("BlackHoleCluster", "-", "-", "-", "STATIC", "-")
    ]
    endpoint = {
        "endpoint": {"address": address("10.66.0.9", 80)},
        "health_status": "DRAINING",
        "metadata": {"filter_metadata": {"istio": {"workload": "web;bank;web;;"}}},
    }
    assignment = {"cluster_name": cluster["name"], "endpoints": [{"lb_endpoints": [endpoint]}]}
    assert rows("endpoints", assignment) == [
        ("10.66.0.9:80", "DRAINING", "1", "bank/web", str(cluster["name"]))
    ]
    assert port_of("endpoints", assignment) == 80 and port_of("clusters", {"name": "x"}) is None

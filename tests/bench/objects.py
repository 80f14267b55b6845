"""What the measured proxies are told, as the API has it: a gateway for one hop, two workloads for two."""

from typing import Any

NAMESPACE = "bank"
Object = dict[str, Any]

NO_ACCESS_LOG: Object = {
    "apiVersion": "hauberk.io/v1",
    "kind": "MeshConfig",
    "metadata": {"name": "default"},
    "spec": {"defaultProviders": {"accessLogging": []}},
}

WEB, LEDGER = "10.66.0.1", "10.66.0.2"
"""Pod addresses of the two workloads."""
LEDGER_SERVICE = "10.96.0.1"
PROGRAM_PORT = 8080
RULES_A_POLICY = 100
HTTP2: Object = {"h2UpgradePolicy": "UPGRADE"}
ONE_REQUEST_EACH: Object = {"maxRequestsPerConnection": 1}


def gateway(port: int, backend_port: int, protocol: str, *, hosts: int = 0) -> list[Object]:
    """A gateway on `port` that leads to a program on `backend_port` of the loopback, in plain text.

    `protocol` is what the program speaks: `http`, `grpc` or `tcp`. `hosts`: so many virtual hosts
    (`h0.example`, `h1.example`, …) with a route each instead of one for every name.
    """
    carried = "TCP" if protocol == "tcp" else "HTTP"
    destination = {"destination": {"host": "app", "port": {"number": 80}}}
    routes = {"tcp" if protocol == "tcp" else "http": [{"route": [destination]}]}
    server = {"port": {"number": port, "name": carried.lower(), "protocol": carried}, "hosts": ["*"]}
    names = {f"front-{number}": f"h{number}.example" for number in range(hosts)} or {"front": "*"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        service("app", "10.96.0.9", protocol, backend_port),
        endpoint_slice("app", "127.0.0.1", protocol, backend_port),
        istio("networking", "Gateway", "front", {"selector": {"app": "front"}, "servers": [server]}),
        *[
            istio("networking", "VirtualService", name, {"hosts": [host], "gateways": ["front"], **routes})
            for name, host in names.items()
        ],
    ]


def two_workloads(protocol: str = "http", *, pool: Object | None = None, rules: int = 1) -> list[Object]:
    """`web` may call `ledger`, and nobody else may.

    `protocol` is what the program speaks: `http`, `grpc` or `tcp`. `pool` is the connection pool's settings in a
    DestinationRule, such as those of HTTP/2 between the proxies. Of `rules`, spread over policies with at most
    100 each, all select `ledger` and the last one alone lets `web` in.
    """
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        service("ledger", LEDGER_SERVICE, protocol, PROGRAM_PORT),
        endpoint_slice("ledger", LEDGER, protocol, PROGRAM_PORT),
        pod("web", WEB),
        pod("ledger", LEDGER),
        istio("security", "PeerAuthentication", "strict", {"mtls": {"mode": "STRICT"}}),
    ]
    told = [allowing(name) for name in allowed(rules)]
    for first in range(0, rules, RULES_A_POLICY):
        spec = {"selector": {"matchLabels": {"app": "ledger"}}, "rules": told[first : first + RULES_A_POLICY]}
        made.append(istio("security", "AuthorizationPolicy", f"ledger-{first:05}", spec))
    if pool:
        policy = {"connectionPool": {"http": pool}}
        made.append(
            istio("networking", "DestinationRule", "ledger", {"host": "ledger", "trafficPolicy": policy})
        )
    return made


def allowed(rules: int) -> list[str]:
    """The accounts that so many rules let in, one each; the last is `web`."""
    return [*(f"caller-{number:05}" for number in range(rules - 1)), "web"]


def allowing(account: str) -> Object:
    principal = f"cluster.local/ns/{NAMESPACE}/sa/{account}"
    return {"from": [{"source": {"principals": [principal]}}]}


def service(name: str, address: str, protocol: str, target: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "clusterIP": address,
            "selector": {"app": name},
            "ports": [{"name": protocol, "port": 80, "targetPort": target}],
        },
    }


def endpoint_slice(name: str, address: str, port_name: str, port: int) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }


def pod(name: str, address: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {"serviceAccountName": name, "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "podIP": address},
    }


def istio(group: str, kind: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": f"{group}.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }

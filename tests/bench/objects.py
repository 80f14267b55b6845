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


def gateway(port: int, backend_port: int, protocol: str) -> list[Object]:
    """A gateway on `port` that leads to a program on `backend_port` of the loopback, in plain text.

    `protocol` is what the program speaks: `http`, `grpc` or `tcp`.
    """
    carried = "TCP" if protocol == "tcp" else "HTTP"
    destination = {"destination": {"host": "app", "port": {"number": 80}}}
    routes = {"tcp" if protocol == "tcp" else "http": [{"route": [destination]}]}
    server = {"port": {"number": port, "name": carried.lower(), "protocol": carried}, "hosts": ["*"]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        service("app", "10.96.0.9", protocol, backend_port),
        endpoint_slice("app", "127.0.0.1", protocol, backend_port),
        istio("networking", "Gateway", "front", {"selector": {"app": "front"}, "servers": [server]}),
        istio("networking", "VirtualService", "front", {"hosts": ["*"], "gateways": ["front"], **routes}),
    ]


def two_workloads(http2: bool) -> list[Object]:
    """`web` may call `ledger`, and nobody else may. `http2`: between the two proxies."""
    caller = f"cluster.local/ns/{NAMESPACE}/sa/web"
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        service("ledger", LEDGER_SERVICE, "http", PROGRAM_PORT),
        endpoint_slice("ledger", LEDGER, "http", PROGRAM_PORT),
        pod("web", WEB),
        pod("ledger", LEDGER),
        istio("security", "PeerAuthentication", "strict", {"mtls": {"mode": "STRICT"}}),
        istio(
            "security",
            "AuthorizationPolicy",
            "ledger",
            {
                "selector": {"matchLabels": {"app": "ledger"}},
                "rules": [{"from": [{"source": {"principals": [caller]}}]}],
            },
        ),
    ]
    if http2:
        policy = {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}
        made.append(
            istio("networking", "DestinationRule", "ledger", {"host": "ledger", "trafficPolicy": policy})
        )
    return made


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

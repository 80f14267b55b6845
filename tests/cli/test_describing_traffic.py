"""What `describe pod` says of traffic, from the objects that a control plane would derive it from."""

from typing import Any

import pytest

from hauberk.cli.describing_traffic import traffic_lines
from hauberk.mesh.pod_traffic import pod_traffic
from hauberk.mesh.registry import Registry

LABELS = {"app": "web", "version": "v1"}
POD = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "bank", "labels": LABELS},
    "spec": {"serviceAccountName": "web", "containers": [{"name": "main"}]},
    "status": {"podIP": "10.66.0.5", "phase": "Running"},
}  # fmt: skip
SERVICE = {
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "bank"},
    "spec": {
        "clusterIP": "10.96.0.5", "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
    },
}  # fmt: skip


def istio(kind: str, spec: dict[str, Any], name: str = "told", namespace: str = "bank") -> dict[str, Any]:
    group = (
        "networking" if kind in {"VirtualService", "DestinationRule", "Sidecar", "Gateway"} else "security"
    )
    return {
        "apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }  # fmt: skip


def said(*objects: dict[str, Any]) -> str:
    registry = Registry().update([POD, SERVICE, *objects])
    traffic = pod_traffic(registry, registry.workloads["bank", "web-1"])
    by_name = {each["metadata"]["name"]: each for each in objects if each["kind"] == "AuthorizationPolicy"}
    return "\n".join(traffic_lines(traffic, [by_name[one.name] for one in traffic.authorization]))


def test_a_pod_of_which_nothing_is_said() -> None:
    assert (
        said()
        == """Traffic:
  identity: spiffe://cluster.local/ns/bank/sa/web
  callers must prove who they are (mutual TLS, STRICT), by default
  no policy: every identity of the mesh may call it
  called as web.bank.svc.cluster.local at 10.96.0.5: 80 (HTTP) → 8080
  calls every service that is exported to its namespace"""
    )


@pytest.mark.parametrize(
    ("obj", "line"),
    [
        (istio("PeerAuthentication", {"mtls": {"mode": "PERMISSIVE"}}, namespace="istio-system"),
         "(PERMISSIVE): plain text is taken too (PeerAuthentication istio-system/told)"),
        (istio("PeerAuthentication", {"selector": {"matchLabels": {"app": "web"}},
                                      "portLevelMtls": {"9090": {"mode": "DISABLE"}}}),
         "    port 9090: plain text only (DISABLE)"),
        (istio("AuthorizationPolicy", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/admin"]}}]}]}),
         "    DENY   anybody → paths /admin  (bank/told)"),
        (istio("AuthorizationPolicy", {}), "    ALLOW  nobody → -  (bank/told)"),
        (istio("RequestAuthentication", {"jwtRules": [{"issuer": "https://issuer.test", "jwks": '{"keys":[]}'}]}),
         "  tokens of https://issuer.test are checked (RequestAuthentication bank/told)"),
        (istio("VirtualService", {"hosts": ["web"],
                                  "http": [{"route": [{"destination": {"host": "web"}}], "timeout": "1s"}]}),
         "      every call → web, within 1s"),
        (istio("DestinationRule", {"host": "web", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}},
                                   "subsets": [{"name": "old", "labels": {"version": "v1"}}]}),
         "      subset old: pods with version=v1, this pod's"),
        (istio("Sidecar", {"egress": [{"hosts": ["./*", "shop/*"]}]}), "  calls only ./*, shop/* (Sidecar bank/told)"),
        (istio("VirtualService", {"hosts": ["bank.test"], "gateways": ["edge"],
                                  "http": [{"route": [{"destination": {"host": "web"}}]}]}),
         "    from outside by gateway edge for bank.test"),
    ],
)  # fmt: skip
def test_what_an_object_does_is_said_with_its_name(obj: dict[str, Any], line: str) -> None:
    assert line in said(obj)


def test_what_is_for_others_is_not_said() -> None:
    other = {"selector": {"matchLabels": {"app": "ledger"}}}
    assert said() == said(
        istio("AuthorizationPolicy", other), istio("PeerAuthentication", {**other, "mtls": {"mode": "DISABLE"}}),
        istio("DestinationRule", {"host": "ledger"}), istio("Sidecar", {"workloadSelector": {"labels": {"app": "x"}}}),
        istio("VirtualService", {"hosts": ["web"], "http": []}, namespace="shop"),
    )  # fmt: skip

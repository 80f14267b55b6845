"""Objects for tests, as an API would give them."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
BANK = ROOT / "examples" / "bank"


def service(name: str, namespace: str = "default", address: str = "", **ports: int) -> dict[str, Any]:
    """`service("web", http=80)`: port names are the keyword arguments, `_` for `-`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": address or "None",
            "selector": {"app": name},
            "ports": [
                {"name": key.replace("_", "-"), "port": number, "targetPort": number}
                for key, number in ports.items()
            ],
        },
    }


def endpoint_slice(
    name: str, addresses: list[str], namespace: str = "default", suffix: str = "1", **ports: int
) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{suffix}",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": key.replace("_", "-"), "port": number, "protocol": "TCP"}
            for key, number in ports.items()
        ],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


def pod(
    name: str,
    address: str,
    namespace: str = "default",
    account: str = "default",
    ports: dict[str, int] | None = None,
    host_network: bool = False,
    **labels: str,
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "serviceAccountName": account,
            "hostNetwork": host_network,
            "containers": [
                {
                    "name": "main",
                    "ports": [
                        {"name": key, "containerPort": number} for key, number in (ports or {}).items()
                    ],
                }
            ],
        },
        "status": {"phase": "Running", "podIP": address},
    }


def configuration(
    kind: str, name: str, spec: dict[str, Any], namespace: str = "default", created: str = ""
) -> dict[str, Any]:
    group = (
        "security.istio.io"
        if kind in ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")
        else "networking.istio.io"
    )
    if kind == "Telemetry":
        group = "telemetry.istio.io"
    if kind == "MeshConfig":
        group, namespace = "hauberk.io", ""
    if kind in ("RateLimit", "ExternalProcessor"):
        group = "hauberk.io"
    if kind.endswith("Route") or kind == "ReferenceGrant":
        group = "gateway.networking.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
        "spec": spec,
    }


def read(folder: Path, namespace: str = "default") -> list[dict[str, Any]]:
    """The objects of a folder's manifests, in a namespace unless they say one."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if isinstance(document, dict) and "kind" in document:
                document["metadata"].setdefault("namespace", namespace)
                found.append(document)
    return found


def with_pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What controllers would add: service addresses, a pod for each workload, endpoint slices."""
    workloads = [one for one in objects if one["kind"] in ("Deployment", "StatefulSet")]
    pods = []
    for index, workload in enumerate(workloads):
        template, metadata = workload["spec"]["template"], workload["metadata"]
        pods.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{metadata['name']}-0",
                    "namespace": metadata["namespace"],
                    **template["metadata"],
                },
                "spec": template["spec"],
                "status": {"phase": "Running", "podIP": f"10.66.0.{index + 1}"},
            }
        )
    made = []
    services = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one
        for one in objects
        if one["kind"] == "Service"
    }
    for index, one in enumerate(services.values()):
        spec, metadata = one["spec"], one["metadata"]
        spec.setdefault("clusterIP", f"10.96.1.{index + 1}")
        backing = [
            each
            for each in pods
            if each["metadata"]["namespace"] == metadata["namespace"]
            and (spec.get("selector") or {"": ""}).items() <= each["metadata"]["labels"].items()
        ]
        if not backing:
            continue
        ports = {}
        for port in spec["ports"]:
            target = port.get("targetPort", port["port"])
            if isinstance(target, str):
                declared = backing[0]["spec"]["containers"][0]["ports"]
                target = next(each["containerPort"] for each in declared if each.get("name") == target)
            ports[port.get("name", "")] = target
        made.append(
            endpoint_slice(
                metadata["name"],
                [each["status"]["podIP"] for each in backing],
                metadata["namespace"],
                **ports,
            )
        )
    return [*objects, *pods, *made]

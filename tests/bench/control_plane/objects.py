"""A mesh that is only objects: services in ten namespaces, each with twenty pods and their slice."""

from ipaddress import IPv4Address
from typing import Any

NAMESPACES = 10
PER_SERVICE = 20
CHANGED = 7
"""The service whose pods are replaced."""
REPLACEMENTS = 200
"""Pods of that service that take one another's places."""
FIRST_SERVICE = IPv4Address("10.96.0.1")
FIRST_POD = IPv4Address("10.66.0.1")
_FIRST_REPLACEMENT = IPv4Address("10.200.0.1")


def objects(services: int) -> list[dict[str, Any]]:
    """Services, their slices and the pods behind them."""
    made: list[dict[str, Any]] = []
    for number in range(services):
        namespace = f"n{number % NAMESPACES}"
        labels = {"app": f"s{number}"}
        made.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": f"s{number}", "namespace": namespace},
                "spec": {
                    "clusterIP": str(FIRST_SERVICE + number),
                    "selector": labels,
                    "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
                },
            }
        )
        addresses = [str(FIRST_POD + number * PER_SERVICE + index) for index in range(PER_SERVICE)]
        made.append(endpoint_slice(number, addresses))
        made += [pod(number, address) for address in addresses]
    return made + [pod(CHANGED, replacement(index)) for index in range(REPLACEMENTS)]


def pod(number: int, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"s{number}-{address}",
            "namespace": f"n{number % NAMESPACES}",
            "labels": {"app": f"s{number}"},
        },
        "spec": {"serviceAccountName": f"s{number}", "containers": []},
        "status": {"podIP": address},
    }


def endpoint_slice(number: int, addresses: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"s{number}-1",
            "namespace": f"n{number % NAMESPACES}",
            "labels": {"kubernetes.io/service-name": f"s{number}"},
        },
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }


def replaced(changes: int) -> dict[str, Any]:
    """The changed service's slice after so many replacements of one pod."""
    present = [replacement((changes + index) % REPLACEMENTS) for index in range(PER_SERVICE)]
    return endpoint_slice(CHANGED, present)


def replacement(index: int) -> str:
    return str(_FIRST_REPLACEMENT + index)

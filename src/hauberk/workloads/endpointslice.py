"""EndpointSlices: where each Service's pods answer.

A change touches the slice it is in and no other: endpoints stay in the slice that has them.
"""

import copy
import itertools
from dataclasses import dataclass
from typing import Any

from hauberk.model.kind import Object
from hauberk.workloads.action import Action, Create, Delete, Update
from hauberk.workloads.ownership import is_controlled_by, is_deleting, matches, owner_reference
from hauberk.workloads.pod import is_ready, is_terminal, short_hash

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGER_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS_LABEL = "service.kubernetes.io/headless"
LIMIT = 100
"""Endpoints in a slice."""

Ports = tuple[tuple[tuple[str, Any], ...], ...]
"""A slice's ports, hashable: pods whose named ports differ go into slices of their own."""


@dataclass(frozen=True, slots=True)
class Observed:
    service: Object
    pods: list[Object]
    """Pods of the namespace: at least those that the service selects."""
    slices: list[Object]
    """All EndpointSlices of the namespace that carry the service's name."""


def reconcile(seen: Observed) -> list[Action]:
    service = seen.service
    spec = service["spec"]
    if is_deleting(service) or not spec.get("selector") or spec.get("type") == "ExternalName":
        return []
    ours = [s for s in seen.slices if _is_ours(s, service) and not is_deleting(s)]
    families = spec.get("ipFamilies") or ["IPv4"]
    actions: list[Action] = [Delete("EndpointSlice", s) for s in ours if _family_of(s) not in families]
    for family in families:
        actions += _of_family(service, family, seen.pods, [s for s in ours if _family_of(s) == family])
    return actions


def _family_of(endpoint_slice: Object) -> str:
    return str(endpoint_slice.get("addressType") or "IPv4")


def _of_family(service: Object, family: str, pods: list[Object], ours: list[Object]) -> list[Action]:
    """A service of both versions of IP has slices of each."""
    wanted = _wanted(service, family, pods)
    actions: list[Action] = []
    if not wanted and not any(not s.get("endpoints") for s in ours):
        wanted = {(): []}  # an empty slice says that the service is known and has nobody behind it
    elif not wanted:
        wanted = {_ports_of(next(s for s in ours if not s.get("endpoints"))): []}
    for ports, endpoints in wanted.items():
        actions += _place(service, family, ports, endpoints, [s for s in ours if _ports_of(s) == ports])
    actions += [Delete("EndpointSlice", s) for s in ours if _ports_of(s) not in wanted]
    return actions


def _is_ours(endpoint_slice: Object, service: Object) -> bool:
    labels = endpoint_slice["metadata"].get("labels") or {}
    return labels.get(MANAGER_LABEL) == MANAGER and is_controlled_by(endpoint_slice, service)


def _wanted(service: Object, family: str, pods: list[Object]) -> dict[Ports, list[Object]]:
    selector = {"matchLabels": service["spec"]["selector"]}
    wanted: dict[Ports, list[Object]] = {}
    for pod in sorted(pods, key=lambda p: str(p["metadata"]["name"])):
        address = _address(pod, family)
        if address is None or is_terminal(pod):
            continue
        if matches(selector, pod["metadata"].get("labels")):
            wanted.setdefault(_ports(service, pod), []).append(_endpoint(service, pod, address))
    return wanted


def _address(pod: Object, family: str) -> str | None:
    status = pod.get("status") or {}
    told = [status.get("podIP") or "", *(each["ip"] for each in status.get("podIPs") or ())]
    return next((each for each in told if each and (":" in each) == (family == "IPv6")), None)


def _endpoint(service: Object, pod: Object, address: str) -> Object:
    serving = is_ready(pod)
    terminating = is_deleting(pod)
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    meta = pod["metadata"]
    endpoint: Object = {
        "addresses": [address],
        "conditions": {
            "ready": publish or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
    }
    if node := pod["spec"].get("nodeName"):
        endpoint["nodeName"] = node
    hostname = pod["spec"].get("hostname")
    if hostname and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = hostname
    return endpoint


def _ports(service: Object, pod: Object) -> Ports:
    """The service's ports as this pod has them; a name that the pod lacks leaves its port out."""
    found: list[tuple[tuple[str, Any], ...]] = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol", "TCP")
        number = _number(port.get("targetPort") or port["port"], protocol, pod)
        if number is None:
            continue
        said = {"name": port.get("name", ""), "port": number, "protocol": protocol}
        if "appProtocol" in port:
            said["appProtocol"] = port["appProtocol"]
        found.append(tuple(sorted(said.items())))
    return tuple(found)


def _number(target: int | str, protocol: str, pod: Object) -> int | None:
    if isinstance(target, int):
        return target
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _ports_of(endpoint_slice: Object) -> Ports:
    ports = endpoint_slice.get("ports") or ()
    return tuple(tuple(sorted({"name": "", **p}.items())) for p in ports)


def _place(
    service: Object, family: str, ports: Ports, endpoints: list[Object], slices: list[Object]
) -> list[Action]:
    waiting = {_identity(endpoint): endpoint for endpoint in endpoints}
    held: list[list[Object]] = []
    for endpoint_slice in slices:
        staying = (waiting.pop(_identity(e), None) for e in endpoint_slice.get("endpoints") or ())
        held.append([endpoint for endpoint in staying if endpoint is not None])
    fresh = list(waiting.values())
    # The fullest first: few slices change, and few half-empty ones stay.
    for kept in sorted(held, key=len, reverse=True):
        room = LIMIT - len(kept)
        kept.extend(fresh[:room])
        del fresh[:room]
    actions: list[Action] = []
    spared = not endpoints
    for endpoint_slice, kept in zip(slices, held, strict=True):
        if not kept and not spared:
            actions.append(Delete("EndpointSlice", endpoint_slice))
            continue
        spared = False
        actions += _changed(service, endpoint_slice, kept)
    taken = {s["metadata"]["name"] for s in slices}
    while fresh or (not endpoints and not slices and not actions):
        actions.append(Create("EndpointSlice", _slice(service, family, ports, fresh[:LIMIT], taken)))
        del fresh[:LIMIT]
    return actions


def _changed(service: Object, endpoint_slice: Object, endpoints: list[Object]) -> list[Action]:
    labels = _labels(service)
    same_endpoints = (endpoint_slice.get("endpoints") or []) == endpoints
    if same_endpoints and (endpoint_slice["metadata"].get("labels") or {}) == labels:
        return []
    changed = copy.deepcopy(endpoint_slice)
    changed["endpoints"] = endpoints
    changed["metadata"]["labels"] = labels
    return [Update("EndpointSlice", changed)]


def _identity(endpoint: Object) -> tuple[str, str]:
    return endpoint["addresses"][0], (endpoint.get("targetRef") or {}).get("uid", "")


def _slice(service: Object, family: str, ports: Ports, endpoints: list[Object], taken: set[str]) -> Object:
    meta = service["metadata"]
    version = "" if family == "IPv4" else f"/{family}"
    seeds = (f"{meta['uid']}/{ports}/{number}{version}" for number in itertools.count())
    name = next(name for seed in seeds if (name := f"{meta['name']}-{short_hash(seed, 5)}") not in taken)
    taken.add(name)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "generateName": f"{meta['name']}-",
            "namespace": meta["namespace"],
            "labels": _labels(service),
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [dict(port) for port in ports],
    }


def _labels(service: Object) -> dict[str, str]:
    labels = dict(service["metadata"].get("labels") or {})
    labels |= {SERVICE_LABEL: service["metadata"]["name"], MANAGER_LABEL: MANAGER}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS_LABEL] = ""
    return labels

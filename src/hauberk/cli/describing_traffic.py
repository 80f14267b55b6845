"""What traffic policy does to a pod, in words: who may call it and how, and how calls find it."""

from collections.abc import Iterator, Sequence

from hauberk.cli.policy_words import rows
from hauberk.cli.route_words import policy_in_words, routes_in_words
from hauberk.mesh.peer_authentication import Mode
from hauberk.mesh.pod_traffic import PodTraffic, ServedHost
from hauberk.mesh.protocol import Protocol
from hauberk.mesh.registry import Configuration
from hauberk.model.kind import Object

_MODES = {
    Mode.STRICT: "callers must prove who they are (mutual TLS, STRICT)",
    Mode.PERMISSIVE: "callers may prove who they are (PERMISSIVE): plain text is taken too",
    Mode.DISABLE: "plain text only (DISABLE): nobody can prove who he is",
}
_PROTOCOLS = {Protocol.DETECT: "HTTP or TCP, as detected"}


def traffic_lines(traffic: PodTraffic, policies: Sequence[Object]) -> Iterator[str]:
    """The lines below `Traffic:`; `policies` are the objects of `traffic.authorization`."""
    yield "Traffic:"
    if not traffic.workload.meshed and not traffic.workload.gateway:
        yield "  none: the pod has no proxy"
        return
    yield f"  identity: {traffic.spiffe_id}"
    yield from _peers(traffic)
    yield from _policies(traffic, policies)
    for one in traffic.request_authentications:
        for rule in one.spec.get("jwtRules") or ():
            yield f"  tokens of {rule.get('issuer')} are checked ({_name(one)}); a bad one is refused, none is not"
    for host in traffic.hosts:
        yield from _host(host, traffic)
    if not traffic.hosts:
        yield "  no service selects it: nobody can call it by a name"
    yield from _sees(traffic.sidecar)
    for one in traffic.telemetries:
        yield f"  observed as {_name(one)} says"


def _peers(traffic: PodTraffic) -> Iterator[str]:
    if traffic.workload.gateway:
        return
    by = f" ({', '.join(map(_name, traffic.peer_policies))})" if traffic.peer_policies else ", by default"
    yield f"  {_MODES[traffic.peers.mode]}{by}"
    for port, mode in traffic.peers.ports:
        yield f"    port {port}: {_MODES[mode]}"


def _policies(traffic: PodTraffic, policies: Sequence[Object]) -> Iterator[str]:
    if not policies:
        yield "  no policy: every identity of the mesh may call it"
        return
    allow = any((policy.get("spec") or {}).get("action", "ALLOW") == "ALLOW" for policy in policies)
    rest = "whatever no ALLOW policy names is refused" if allow else "whatever no policy refuses is allowed"
    yield f"  who may call ({rest}; `hauberk authz` shows the same as a table):"
    order = {"CUSTOM": 0, "DENY": 1, "ALLOW": 2, "AUDIT": 3}
    found = sorted((row for policy in policies for row in rows(policy)), key=lambda row: order.get(row[1], 4))
    for name, action, callers, calls in found:
        yield f"    {action:<6} {callers} → {calls}  ({name})"


def _host(host: ServedHost, traffic: PodTraffic) -> Iterator[str]:
    service = host.service
    ports = ", ".join(
        f"{port.number} ({_PROTOCOLS.get(port.protocol, port.protocol.value)}) → {port.target}"
        for port in service.ports
    )
    yield f"  called as {service.host} at {', '.join(service.addresses) or 'its own address'}: {ports}"
    if host.virtual_service is not None:
        yield f"    routes, the first that matches ({_name(host.virtual_service)}):"
        yield from (f"      {line}" for line in routes_in_words(host.virtual_service.spec))
    for gateway, virtual in host.gateways:
        names = ", ".join(virtual.spec.get("hosts") or ())
        yield f"    from outside by gateway {gateway.partition('~')[0]} for {names}"
        yield f"      as {_name(virtual)} says:"
        yield from (f"      {line}" for line in routes_in_words(virtual.spec))
    if host.rules:
        yield f"    callers go by {', '.join(map(_name, host.rules))}:"
        yield from (f"      {line}" for line in policy_in_words(host.rule.traffic_policy))
        for subset in host.rule.subsets:
            mine = ", this pod's" if subset.labels.matches(traffic.workload.labels) else ""
            labels = ",".join(f"{name}={value}" for name, value in sorted(subset.labels.items))
            yield f"      subset {subset.name}: pods with {labels}{mine}"
            yield from (f"        {line}" for line in policy_in_words(subset.traffic_policy))


def _sees(sidecar: Configuration | None) -> Iterator[str]:
    egress = None if sidecar is None else sidecar.spec.get("egress")
    if sidecar is None or egress is None:
        yield "  calls every service that is exported to its namespace"
        return
    hosts = [str(host) for listener in egress for host in listener.get("hosts") or ()]
    yield f"  calls only {', '.join(hosts) or 'nothing'} ({_name(sidecar)})"


def _name(one: Configuration) -> str:
    """As its owner knows it; what was derived from the Gateway API carries its origin in its name."""
    name, *origin = one.name.split("~")
    kind = {
        "httproute": "HTTPRoute",
        "grpcroute": "GRPCRoute",
        "tlsroute": "TLSRoute",
        "tcproute": "TCPRoute",
    }
    return f"{kind.get(origin[0], one.kind) if origin else one.kind} {one.namespace}/{name}"
